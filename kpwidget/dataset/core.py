"""`Dataset`: images with categories and instances, looked up and edited.

Every edit, whoever makes it, is a step of the history (`kpwidget.history`) and reaches the columns
(`kpwidget.dataset.table`) through one function, `Dataset._apply`, which undo and redo use as well.
"""

from __future__ import annotations

import html
import math
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget.dataset import combine, decisions, findings, migrate
from kpwidget.dataset.decisions import Decision, Decisions
from kpwidget.dataset.findings import Problem
from kpwidget.dataset.image_files import ImageData, ImageRoots, find_images
from kpwidget.dataset.passes import (
    Opinion,
    Passes,
    PassReport,
    add_pass,
    remove_pass,
    start_pass,
)
from kpwidget.dataset.table import InstanceRecord, InstanceTable, Point
from kpwidget.dataset.text import FileText, RecordsAt
from kpwidget.dataset.values import as_float, as_int, checked_bbox, checked_points
from kpwidget.dataset.views import (
    ImageInfo,
    ImageList,
    Instance,
    InstanceList,
    Selection,
    rows_of_mask,
    to_pandas,
)
from kpwidget.history import (
    ANY,
    AnyOrigin,
    Change,
    History,
    PrimitiveChange,
    Step,
    Transaction,
)
from kpwidget.images import ImageSource
from kpwidget.schema import Category, Schema

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset.combine import MergeReport

__all__ = ["Dataset", "FileLayout", "FileStat", "ImageState", "PointFields"]


_N_KEYPOINTS_SHOWN: Final = 40  # with more, a dataset's table in a notebook has none

PointFields = tuple[tuple[str, int], ...]
"""The fields of a record in which an instance's keypoints stand, each with how many."""


@dataclass(slots=True, eq=False)
class ImageState:
    """What is known of one image; `ImageInfo` is the public view."""

    id: int | str
    file_name: str
    data: ImageData | ImageRoots | None
    recorded_size: tuple[int, int] | None = None
    orientation: Literal["upright", "stored"] | None = None
    is_done: bool = False
    extra: Mapping[str, Any] | None = None  # of an image that came from no text
    text: FileText | None = None  # where its record stands, and which it is
    position: int = -1
    is_renamed: bool = False  # its id or name is no longer that of the record
    source: ImageSource | None = None

    @property
    def record(self) -> Mapping[str, Any]:
        """The record as read, in its order; else the fields without a place of their own."""
        if self.text is not None:
            return cast("dict[str, Any]", self.text.record("images", self.position))
        return self.extra or {}


@dataclass(frozen=True)
class FileStat:
    """By what it is told whether a file is still the one that was read or written.

    Attributes
    ----------
    size : int
        In bytes.
    mtime_ns, inode : int
        As the system gives them.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileStat:
        """Return what is of use of a file's status."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


@dataclass
class FileLayout:
    """The file that a dataset was read from, and what of it is no image, category or instance.

    Attributes
    ----------
    text : FileText or None
        Its bytes: what is not edited is written as it was.
    top : dict
        The top level as read, its lists of records left out.
    images, categories, annotations : mapping of int to record
        Records that are neither image, category nor instance (repeated images, categories
        without keypoints, their annotations, bad records that were skipped), by their position
        in the file's list.
    categories_read : dict of int to (FileText, int, Category)
        The text that each of our categories was read from, its position in the list there, and
        what it was, by category id.
    point_fields : dict of int to PointFields
        Where the keypoints stand, by category id, for categories that were read.
    stat : FileStat or None
        Of the file, when it was read or written last.
    results : tuple of (FileText, dict of str to int), or None
        The results file that predictions were read from, and where each stands there, by uid.
    written : sequence of bytes or memoryview, or None
        The content written last, in pieces, most of them parts of `text`; None when that is `text`.
    """

    text: FileText | None = None
    top: dict[str, Any] = field(default_factory=dict)
    images: Mapping[int, Any] = field(default_factory=dict)
    categories: Mapping[int, Any] = field(default_factory=dict)
    annotations: Mapping[int, Any] = field(default_factory=dict)
    categories_read: dict[int, tuple[FileText, int, Category]] = field(default_factory=dict)
    point_fields: dict[int, PointFields] = field(default_factory=dict)
    stat: FileStat | None = None
    results: tuple[FileText, dict[str, int]] | None = None
    written: Sequence[bytes | memoryview] | None = None

    def fields_of(self, category: Category) -> PointFields:
        """Where the keypoints of a category stand in a record."""
        return self.point_fields.get(category.id, (("keypoints", category.n_keypoints),))


class Dataset:
    """Images with categories and instances, and the history of what was done to them.

    Parameters
    ----------
    categories : sequence of Category or Schema, or one of them
        A schema becomes a category of its name, with the next free id.
    annotator : str, optional
        The person in whose name edits are made. Default: JUPYTERHUB_USER or the login name.

    Attributes
    ----------
    uid : str
        Random, new for every dataset made.
    lock : threading.RLock
        Held during every edit. Take it to read several values that must belong together.
    annotator : str
    path : Path or None
        The file it was opened from.
    info, licenses, extra : dict, list, dict
        COCO's ``info`` and ``licenses``, and the top-level fields nobody here knows.
    layout : FileLayout
        Records of the file that are kept for writing and are not images, categories or instances.
    skipped : tuple of str
        What was wrong with the records that a reader left out because it was told to.
    conflicts : list of kpwidget.journal.Conflict
        Values that two people have changed from the same one, as the journal has them.
    journal_problems : tuple of str
        Lines of the journal that are damaged or could not be put in place.
    """

    def __init__(
        self,
        categories: Sequence[Category | Schema] | Category | Schema = (),
        *,
        annotator: str | None = None,
    ) -> None:
        self.uid = secrets.token_hex(8)
        self.lock = threading.RLock()
        self.annotator = annotator if annotator is not None else _default_annotator()
        self.path: Path | None = None
        self.info: Any = None
        self.licenses: Any = None
        self.extra: dict[str, Any] = {}
        self.layout = FileLayout()
        self.skipped: tuple[str, ...] = ()
        self._categories = _checked_categories(categories)
        self._category_of_id = {c.id: i for i, c in enumerate(self._categories)}
        self._images: list[ImageState] = []
        self._index_of_image_id: dict[int | str, int] = {}
        self._indices_by_name: dict[str, list[int]] | None = None
        self._n_done = 0
        # How often a value was put in place, and how often when the file last held everything.
        self._revision = 0
        self._saved_revision: int | None = None
        #: Second opinions by instance (uid) and name of the pass.
        self._passes: dict[str, dict[str, Opinion]] = {}
        #: What was said of findings, by instance (uid), image (index) or -1, and `Decision.key`.
        self._decisions: dict[str | int, dict[str, Decision]] = {}
        #: Of a dataset that `start_pass` has made: the pass, and the file of the whole.
        self._pass_of: tuple[str, str | None] | None = None
        #: Whether an annotator may write the labels file unasked: `kpwidget.open` says so.
        self._saves_itself = False
        #: What keeps the journal, and the edit of a view that is being applied, for it.
        self.recorder: Any = None
        self._token: tuple[str, int] | None = None
        #: For each view in a browser the number of its last edit that is in the journal.
        self._tokens: dict[str, int] = {}
        self.conflicts: list[Any] = []
        self.journal_problems: tuple[str, ...] = ()
        #: What names schemas without a step that has changed them; see `migrate.SchemaState`.
        self._schema_tokens: dict[int, str] = {}
        self._table = InstanceTable(self._categories)
        self._history = History(self._apply, self._describe, self.lock, self._basis_of)

    @classmethod
    def from_images(
        cls,
        images: Any,
        schema: Schema | Category | Sequence[Schema | Category],
        *,
        annotator: str | None = None,
        orientation: Literal["upright", "stored"] | None = None,
    ) -> Dataset:
        """Dataset of images without labels.

        Parameters
        ----------
        images : path, glob, folder, list of these, or mapping
            A folder stands for the image files directly in it, in natural order (``frame_2``
            before ``frame_10``); a str with ``*``, ``?`` or ``[`` is a glob. A mapping goes from
            file name to array of shape (height, width) or (height, width, channels), encoded
            bytes or path.
        schema : Schema or Category, or a list of them
            What is to be labeled.
        annotator : str, optional
            See `Dataset`.
        orientation : {'upright', 'stored'}, optional
            How to show photographs whose EXIF data says they are turned; upright by default.

        Returns
        -------
        Dataset
            File names are relative to the folder that all files have in common.

        Raises
        ------
        FileNotFoundError
            If nothing is found, saying what was looked for and what is there.
        ValueError
            If a file is given twice.
        """
        dataset = cls(schema, annotator=annotator)
        if not dataset._categories:
            raise ValueError("give at least one schema: there is nothing to label without it")
        for position, (file_name, data) in enumerate(find_images(images).items()):
            dataset._add_image(ImageState(position + 1, file_name, data, orientation=orientation))
        return dataset

    # Looking up

    @property
    def images(self) -> ImageList:
        """The images: by position, file name or slice."""
        return ImageList(self)

    @property
    def instances(self) -> InstanceList:
        """The instances, in order: by position, uid or slice."""
        return InstanceList(self)

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories, in order."""
        return tuple(self._categories)

    @property
    def n_done(self) -> int:
        """Number of images marked done."""
        return self._n_done

    @property
    def is_saved(self) -> bool:
        """Whether it is in the file `path` as it is: read from it or saved, not edited since."""
        return self.path is not None and self._saved_revision == self._revision

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def __contains__(self, key: object) -> bool:
        """Whether there is this instance, by uid or itself, or this image."""
        if isinstance(key, ImageInfo):
            return key.dataset is self
        if isinstance(key, str):
            return self._table.has(key)
        return key in self.instances

    def image(self, key: int | str | ImageInfo) -> ImageInfo:
        """Image by position, file name or itself.

        Parameters
        ----------
        key : int, str or ImageInfo

        Returns
        -------
        ImageInfo
        """
        if isinstance(key, ImageInfo):
            if key.dataset is not self:
                raise ValueError(f"{key!r} belongs to another dataset")
            return key
        return self.images[key]

    def category(self, key: str | int | Category) -> Category:
        """Category by name, id or itself.

        Parameters
        ----------
        key : str, int or Category

        Returns
        -------
        Category

        Raises
        ------
        KeyError
            If there is none, or several of this name.
        """
        return self._categories[self._category_index(key)]

    def instance(self, uid: str) -> Instance:
        """Instance by uid; KeyError if there is none or it was removed.

        Parameters
        ----------
        uid : str

        Returns
        -------
        Instance
        """
        with self.lock:
            self._table.row(uid)
        return Instance(self, uid)

    def keypoints(self, category: str | int | Category | None = None) -> NDArray[np.float64]:
        """Keypoints of all instances of a category.

        Parameters
        ----------
        category : str, int or Category, optional
            Name or id. May be left out if there is one category only.

        Returns
        -------
        ndarray of shape (n_instances, n_keypoints, 3)
            (x, y, visibility), x and y in image pixels, unlabeled (NaN, NaN, 0); in the order of
            the instances. A read-only copy.
        """
        with self.lock:
            index = self._category_index(category)
            keypoints = self._table.keypoints_of(index, self._table.live_rows())
        keypoints.flags.writeable = False
        return keypoints

    def select(
        self,
        image: int | str | ImageInfo | Iterable[int | str | ImageInfo] | None = None,
        category: str | int | Category | None = None,
        where: Callable[[Instance], object] | Any | None = None,
    ) -> Selection:
        """Live view of a part of the dataset.

        Parameters
        ----------
        image : image, or several, optional
            Positions, file names or `ImageInfo`.
        category : str, int or Category, optional
        where : callable, or mask of shape (n_instances,), optional
            Called with each instance that fits otherwise; a true result keeps it. Or one bool per
            instance of the dataset (a sequence, array or pandas Series) in the order of
            `to_pandas`, ``ds.select(where=ds.to_pandas()["score"] > 0.5)``: it says which of the
            instances there are now are meant, also when others come or go later.

        Returns
        -------
        Selection
            Edits of its instances go to this dataset; ``.copy()`` detaches.

        Raises
        ------
        KeyError
            If there is no such image or category.
        ValueError
            If a mask has another length or index than `to_pandas`.
        TypeError
            If `where` is something else.
        """
        indices: list[int] | None = None
        if image is not None:
            keys = [image] if isinstance(image, int | str | ImageInfo | np.integer) else list(image)
            indices = sorted({self.image(key).index for key in keys})
        index = None if category is None else self._category_index(category)
        if where is None or callable(where):
            return Selection(self, indices, index, where)
        with self.lock:
            return Selection(self, indices, index, rows_of_mask(self, where))

    # Editing

    def add_instance(
        self,
        image: int | str | ImageInfo,
        category: str | int | Category | None = None,
        keypoints: ArrayLike | Mapping[str, Sequence[float] | None] | None = None,
        bbox: Sequence[float] | NDArray[Any] | None = None,
        *,
        uid: str | None = None,
        is_finished: bool = True,
        source: str = "human",
        annotator: str | None = None,
        track_id: Any = None,
        score: float | None = None,
    ) -> Instance:
        """Add an instance, after all others.

        Parameters
        ----------
        image : int, str or ImageInfo
            Position, file name or the image itself.
        category : str, int or Category, optional
            Name or id. May be left out if there is one category only.
        keypoints : array_like of shape (n_keypoints, 3) or (n_keypoints, 2), or mapping, optional
            Image pixels. Rows ``(x, y, visibility)``; a row ``(x, y)`` is visible. Visibility 0, or
            NaN without a visibility, is unlabeled. A mapping goes from name to ``(x, y)`` or
            ``(x, y, visibility)``. Nothing is labeled by default.
        bbox : (x, y, width, height), optional
            Image pixels. Derived from the keypoints by default, and then follows them.
        uid : str, optional
            Random by default.
        is_finished : bool, default True
        source : str, default 'human'
            'human', 'model:<name>', 'interpolated' or 'imported'.
        annotator : str, optional
            The dataset's by default.
        track_id : int or str, optional
            Identity of the object across images.
        score : float, optional
            Confidence of a prediction, finite.

        Returns
        -------
        Instance

        Raises
        ------
        ValueError
            If a value is not as described or the uid is taken.
        KeyError
            If there is no such image or category.
        """
        info = self.image(image)
        index = self._category_index(category)
        points = checked_points(self._categories[index], keypoints)
        given_bbox = None if bbox is None else checked_bbox(bbox)
        if uid is None:
            uid = secrets.token_hex(6)
        if not isinstance(uid, str) or not uid:
            raise ValueError(f"uid is a non-empty str, not {uid!r}")
        checked_score = None if score is None else as_float(score)
        if score is not None and (checked_score is None or not math.isfinite(checked_score)):
            raise ValueError(f"score is a finite number or None, not {score!r}")
        track_number = as_int(track_id)
        if not (track_id is None or track_number is not None or isinstance(track_id, str)):
            raise ValueError(f"track_id is an integer, text or None, not {track_id!r}")
        with self.transaction(f"add {self._categories[index].name}"):
            if self._table.has(uid):
                raise ValueError(f"uid {uid!r} is taken by {self.instance(uid)!r}")
            record = InstanceRecord(
                uid=uid,
                image=info.index,
                category=index,
                keypoints=points,
                bbox=given_bbox,
                track_id=track_id if track_number is None else track_number,
                score=checked_score,
                annotator=self.annotator if annotator is None else str(annotator),
                source=str(source),
                is_finished=bool(is_finished),
                row=self._table.n_rows,
            )
            self._history.do(PrimitiveChange("instance", uid, info.index, None, record))
        return Instance(self, uid)

    def transaction(
        self,
        label: str,
        *,
        origin: Hashable = None,
        token: Any = None,
        image: int | str | ImageInfo | None = None,
        context: Mapping[str, Any] | None = None,
        keep_empty: bool = False,
    ) -> Transaction:
        """Context manager that makes all edits inside it one undo step.

        It holds the dataset's lock. An exception that leaves it takes back all that was done inside
        it. A transaction inside another joins it: label and origin are those of the outer one, and
        an exception caught between the two takes back the inner part alone.

        Parameters
        ----------
        label : str
            What is done, for people.
        origin : hashable, optional
            Who does it; `undo` can be limited to an origin.
        token : optional
            Kept with the step.
        image : int, str or ImageInfo, optional
            The image to go to on undo. By default the first one changed.
        context : mapping, optional
            Copied into ``step.context``.
        keep_empty : bool, default False
            Keep the step although nothing was changed.

        Returns
        -------
        context manager
            Gives the `Step`.

        Examples
        --------
        >>> from kpwidget import schemas
        >>> import numpy as np
        >>> ds = Dataset.from_images({"a": np.zeros((4, 4))}, schemas.get("four_point"))
        >>> with ds.transaction("two at once"):
        ...     _ = ds.add_instance(0)
        ...     _ = ds.add_instance(0)
        >>> ds.undo().label, len(ds.instances)
        ('two at once', 0)
        """
        return self._history.transaction(
            label,
            origin=origin,
            token=token,
            image=None if image is None else self.image(image).index,
            context=context,
            keep_empty=keep_empty,
            annotator=self.annotator,
        )

    def undo(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Undo the last step that is in force.

        Parameters
        ----------
        origin : hashable, optional
            Only steps of this origin (None is one: the edits made from code). All by default.

        Returns
        -------
        Step or None
            What was undone; None if there was nothing to undo.

        Raises
        ------
        UndoError
            If a value it would restore was changed since by another step that is in force.
            Nothing is changed then.
        """
        return self._history.undo(origin)

    def redo(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Redo the step that was undone last. A new step of an origin clears its redo.

        Parameters
        ----------
        origin : hashable, optional
            Only steps of this origin. All by default.

        Returns
        -------
        Step or None
            What was redone; None if there was nothing to redo.

        Raises
        ------
        UndoError
            If a value it would set was changed since. Nothing is changed then.
        """
        return self._history.redo(origin)

    def undo_top(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Step that `undo` would undo, or None."""
        return self._history.undo_top(origin)

    def redo_top(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Step that `redo` would redo, or None."""
        return self._history.redo_top(origin)

    def on_change(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Call `callback` after every step, undo and redo.

        Parameters
        ----------
        callback : callable
            Called with a `Change`, in the thread that made the edit, when the edit is complete and
            the lock released. An exception in it neither stops other callbacks nor takes back the
            edit: it goes to the handlers of `on_callback_error`, or, if there are none, is raised
            where the edit was made, after all callbacks have run.

        Returns
        -------
        callable
            Call it to unsubscribe.
        """
        return self._history.on_change(callback)

    def on_callback_error(self, handler: Callable[[Exception], object]) -> Callable[[], None]:
        """Give exceptions of `on_change` callbacks to `handler`.

        Parameters
        ----------
        handler : callable
            Called with each exception.

        Returns
        -------
        callable
            Call it to unsubscribe.
        """
        return self._history.on_callback_error(handler)

    # Tables and checks

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row per instance.

        Returns
        -------
        pandas.DataFrame
            uid, id, image (file name), category (name), n_labeled, bbox_x, bbox_y, bbox_width,
            bbox_height (image pixels, NaN where there is none), bbox_source, area, score, track_id,
            iscrowd, is_finished, annotator, source.
        """
        with self.lock:
            return to_pandas(self, self._table.live_rows())

    def validate(self) -> list[Problem]:
        """Look for contradictions; change nothing.

        Returns
        -------
        list of Problem
            Keypoints and boxes outside the image by more than 0.01 px, boxes without a size,
            keypoints that a file calls unlabeled and gives a location (or calls labeled and puts at
            (0, 0)), images whose size cannot be known. Of level 'note': instances without a labeled
            keypoint.

        Examples
        --------
        ``pandas.DataFrame(ds.validate())`` shows them as a table.
        """
        with self.lock:
            return findings.problems(self)

    # Together and apart

    def merge(
        self,
        other: Dataset,
        *,
        match: Literal["name", "hash"] = "name",
        rename: Mapping[str, str] | None = None,
        on_duplicate: Literal["report", "add"] = "report",
        on_conflict: Literal["ours", "both"] = "ours",
        tolerance: float = 1e-3,
    ) -> MergeReport:
        """Take over what another dataset has.

        Parameters
        ----------
        other : Dataset
            It is not changed.
        match : {'name', 'hash'}
            Images are the same if they have the same file name, exactly; with ``'hash'``, those
            without a match also if their files have the same bytes.
        rename : mapping of str to str, optional
            Other names for categories of `other`.
        on_duplicate : {'report', 'add'}
            What to do with an instance that is here already: in the same image, of the same
            category, with the same visibilities and labeled keypoints (where none is labeled, the
            same bbox). ``'report'`` names it in the report and leaves it out.
        on_conflict : {'ours', 'both'}
            What to do with an instance whose uid is that of one in the same image and category here
            with other values: keep ours, or add theirs beside it with a uid of its own. Both are
            named in the report.
        tolerance : float, default 1e-3
            How far, in image pixels, each coordinate of two equal instances may differ. A format
            that divides by the size of the image moves points by some 1e-8 px. 0: not at all.

        Returns
        -------
        MergeReport
            What was matched, added, left out and given a new id. ``print`` shows it in words.

        Raises
        ------
        ValueError
            If categories of one name have other keypoints, or the same in another order, or images
            of one name another size, naming each. Nothing was changed.

        Notes
        -----
        Categories are the same if they have the same name. Instances are added in one step of the
        history, which `undo` takes back. Images and categories that came with them stay then: that
        they are there is not an edit. An exception takes back all of it.

        Ids of images, categories and annotations stay as they are where they are free here. A new
        annotation id is given at the next save; an instance whose uid is taken, or tells an id that
        is, gets a new uid. Unknown fields of images and instances come with them. Records that are
        none of these (annotations of categories without keypoints, for instance) do not; the report
        says how many there are.

        Examples
        --------
        >>> from kpwidget import schemas
        >>> import numpy as np
        >>> one, two = (
        ...     Dataset.from_images({"a": np.zeros((4, 4))}, schemas.get("four_point"))
        ...     for _ in range(2)
        ... )
        >>> _ = two.add_instance("a", keypoints=[(0, 0), (4, 0), (4, 4), (0, 4)])
        >>> print(one.merge(two))
        images: 1 matched, 0 added
        categories: 1 matched, 0 added
        instances: 1 added
        """
        return combine.merge(
            self,
            other,
            match=match,
            rename=rename,
            on_duplicate=on_duplicate,
            on_conflict=on_conflict,
            tolerance=tolerance,
        )

    def split(
        self, parts: combine.Parts, seed: int = 0, group: combine.Group = None
    ) -> dict[str, Dataset]:
        """Datasets of parts of the images.

        Parameters
        ----------
        parts : mapping of str to float, or of str to images
            Ratios with the sum 1, ``{"train": 0.8, "val": 0.2}``; or for each part the file names,
            positions or `ImageInfo` of its images, and for at most one part the word ``'rest'``.
        seed : int, default 0
            The same seed gives the same parts, whatever the order of parts and images.
        group : {'folder', 'clip'}, mapping or callable, optional
            What must not be torn apart: the images of one folder; those of one folder whose names
            differ in the number at their end only; those with the same value in a mapping from file
            name, or by a callable that is given an `ImageInfo`.

        Returns
        -------
        dict of str to Dataset
            In the order given. Each is detached, with the same uids, ids and unknown fields, and
            without a file of its own; its records are written as they were read.

        Raises
        ------
        ValueError
            Naming everything that is wrong with the parts or the groups.

        Notes
        -----
        How sizes are rounded, and groups are dealt out, is described in
        `kpwidget.dataset.combine.split_images`.
        """
        return combine.split(self, parts, seed, group)

    # Second opinions

    @property
    def passes(self) -> Passes:
        """Second opinions on the instances: from `add_pass`, in the journal, in no labels file."""
        return Passes(self)

    def start_pass(self, name: str, annotator: str | None = None) -> Dataset:
        """Empty dataset of the same images and categories, to label everything a second time.

        It shows nothing of the labels there are, nor which images are done. Label it in an
        `Annotator`, then bring it back with `add_pass`. It has a journal of its own: after a
        restart of the kernel the same two cells go on where it was.

        Parameters
        ----------
        name : str
            Of the pass, such as 'second'.
        annotator : str, optional
            Who labels it. The dataset's by default: one person twice, which measures the scatter of
            that person and not what two people disagree about.

        Returns
        -------
        Dataset

        Raises
        ------
        ValueError
            If the name is empty, longer than 100 characters or not printable.
        """
        return start_pass(self, name, annotator)

    def add_pass(self, other: Dataset, name: str, annotator: str | None = None) -> PassReport:
        """Keep the labels of another dataset as second opinions on the instances here.

        Parameters
        ----------
        other : Dataset
            From `start_pass`, or somebody else's labels of the same images. It is not changed.
        name : str
            Of the pass. Instances that have an opinion of this pass by the same person get the new
            one; so a pass can be brought back again and again.
        annotator : str, optional
            Who made it. By default what each instance says.

        Returns
        -------
        PassReport
            What was added, and which instances of either have no counterpart; ``print`` shows it.

        Raises
        ------
        ValueError
            If categories have other keypoints, naming them (another order is no matter), if it is
            not known who made the labels, or if the pass has labels of somebody else on the same
            instances. Nothing was changed.

        Notes
        -----
        Images are matched by file name, categories and keypoints by name, instances by
        `kpwidget.metrics.match_labels`. It is one step of the history, which `undo` takes back.

        Opinions are in the journal (`kpwidget.open`, or an `Annotator`); a dataset without one has
        them in memory only. They are in no labels file: ``kp.write(ds.passes.labels(name), path)``
        writes one. An opinion keeps the names of the keypoints it was made with: after a change of
        the schema it shows those that are still there, by name.

        Examples
        --------
        >>> from kpwidget import schemas
        >>> import numpy as np
        >>> ds = Dataset.from_images({"a": np.zeros((9, 9))}, schemas.get("four_point"))
        >>> square = np.array([(0, 0), (8, 0), (8, 8), (0, 8)])
        >>> _ = ds.add_instance("a", keypoints=square)
        >>> again = ds.start_pass("second", annotator="ben")
        >>> _ = again.add_instance("a", keypoints=square + 1)
        >>> print(ds.add_pass(again, "second"))
        pass 'second': 1 added
        >>> ds.passes[0].annotator, ds.passes[0].keypoints()[0].tolist()
        ('ben', [1.0, 1.0, 2.0])
        """
        return add_pass(self, other, name, annotator)

    def remove_pass(self, name: str) -> int:
        """Take all opinions of a pass away; undo brings them back.

        Parameters
        ----------
        name : str

        Returns
        -------
        int
            How many there were.

        Raises
        ------
        KeyError
            If there is no such pass.
        """
        return remove_pass(self, name)

    # Findings

    @property
    def decisions(self) -> Decisions:
        """What was said of findings: from `decide`, in the journal, in no labels file."""
        return Decisions(self)

    def decide(
        self,
        finding: Any,
        verdict: Literal["fine", "fixed"] | None,
        annotator: str | None = None,
    ) -> Decision | None:
        """Record what somebody says about a finding of the quality checks.

        Parameters
        ----------
        finding : Finding, row of `kpwidget.quality.check`, or mapping
            With check, kind, image (file name), instance (uid) and keypoint (name); what is left
            out is None. Neither its place in a table nor its numbers and reason are looked at.
        verdict : {'fine', 'fixed'} or None
            'fine': it is right as it is, and checks do not tell it again until the labels of the
            place are changed. 'fixed': it was put right; if it is found all the same, checks tell
            it and who called it fixed. None takes a decision back.
        annotator : str, optional
            Who says so. The dataset's by default.

        Returns
        -------
        Decision or None
            As it is recorded now.

        Raises
        ------
        KeyError
            If its image, its instance or the keypoint of that is not there.
        ValueError
            If the verdict is another, or it is no finding.

        Notes
        -----
        It is one step of the history, which `undo` takes back. Decisions are in the journal
        (`kpwidget.open`, or an `Annotator`); a dataset without one has them in memory only.

        The labels of the place are those of the keypoint and of its twin on the other side, of the
        instance if the finding names no keypoint, or of all instances if it names an image only. A
        decision about the whole dataset holds until it is taken back.

        Examples
        --------
        >>> from kpwidget import schemas
        >>> import numpy as np
        >>> ds = Dataset.from_images({"a": np.zeros((9, 9))}, schemas.get("four_point"))
        >>> finding = {"check": "drift", "image": "a"}
        >>> ds.decide(finding, "fine", annotator="anna").verdict
        'fine'
        >>> ds.decisions
        <1 decision: 1 fine>
        """
        return decisions.decide(self, finding, verdict, annotator)

    def rename_category(self, category: str | int | Category, name: str) -> Category:
        """Give a category another name; undo gives it back.

        Parameters
        ----------
        category : str, int or Category
            Name, id or itself.
        name : str
            One that no other category has.

        Returns
        -------
        Category
            As it is now: a `Category` does not change, so those handed out before keep the old
            name. In a file only the name changes.

        Raises
        ------
        ValueError
            If the name is empty or taken.
        KeyError
            If there is no such category.
        """
        index = self._category_index(category)
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a category is a non-empty str, not {name!r}")
        with self.transaction(f"rename category to {name}"):
            before = self._categories[index]
            taken = [c.id for c in self._categories if c.name == name and c.id != before.id]
            if taken:
                raise ValueError(f"the category with the id {taken[0]} has the name {name!r}")
            if name != before.name:
                after = replace(before, name=name)
                self._history.do(PrimitiveChange("category", None, -1 - index, before, after))
            return self._categories[index]

    def migrate_schema(
        self,
        category: str | int | Category,
        schema: Schema,
        mapping: migrate.Mapped | None = None,
        *,
        remove: bool = False,
        dry_run: bool = False,
    ) -> migrate.Migration:
        """Give a category another schema, and its instances the keypoints of that.

        Parameters
        ----------
        category : str, int or Category
            Name, id or itself.
        schema : Schema
            What its keypoints are from now on. The name of the category stays.
        mapping : mapping of str to str, list of str or None, optional
            What becomes of keypoints: their new name; None to remove one; several names for a
            split, each of which takes the value. One that is not in it and has the same name in
            both schemas is kept, and one whose new name is an alias of the old, or the other way
            round, is renamed (`Schema.match`).
        remove : bool, default False
            Whether labels may be removed with the keypoints that the new schema has not.
        dry_run : bool, default False
            Change nothing, and say what would be done.

        Returns
        -------
        Migration
            What became of each keypoint, and of how many labels; ``print`` shows it in words.

        Raises
        ------
        ValueError
            If names are gone and others are new and `mapping` does not say what became of them: a
            rename is never guessed. If labels would be removed without ``remove=True``, saying
            how many. Nothing was changed.
        UndoError
            If a transaction is open.

        Warns
        -----
        UserWarning
            If edges were much shorter with the keypoints in another order that is known for these
            names: they are then in the wrong one, most likely.

        Notes
        -----
        It is one step of the history, for all instances, and undo gives all of it back, removed
        labels as well. Keypoints that are added are unlabeled. Steps from before it are undone
        after it was. If the category has this schema already, nothing is done.

        Examples
        --------
        >>> import numpy as np
        >>> arrow, bolt = Schema("bolt", ["head", "tip"]), Schema("bolt", ["tip", "cap", "nut"])
        >>> ds = Dataset.from_images({"a": np.zeros((4, 4))}, arrow)
        >>> _ = ds.add_instance("a", keypoints={"head": (1, 2), "tip": (3, 4)})
        >>> print(ds.migrate_schema("bolt", bolt, {"head": "cap"}))
        category 'bolt', 1 instance:
          'tip' moved from place 2 to 1, 1 label
          'head' renamed 'cap', 1 label, moved from place 1 to 2
          'nut' added, unlabeled
        >>> ds.keypoints("bolt")[0].tolist()
        [[3.0, 4.0, 2.0], [1.0, 2.0, 2.0], [nan, nan, 0.0]]
        """
        return migrate.migrate(self, category, schema, mapping, remove=remove, dry_run=dry_run)

    # Files

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the dataset as COCO JSON.

        Parameters
        ----------
        path : path, optional
            By default the file it was opened from; a path given becomes that file.

        Raises
        ------
        ValueError
            If no path is given and it was not opened from a file.
        """
        from kpwidget import store

        store.save(self, path)

    def history(self) -> pd.DataFrame:
        """Table of what was done, as the journal has it: who, when, what.

        Returns
        -------
        pandas.DataFrame
            One row a value, in order: time (UTC), annotator, client (the view in a browser, None
            for code), kind ('edit', 'undo', 'redo'), label, image (file name), instance (uid),
            keypoint (name), what ('instance', 'keypoint', 'bbox', 'finished', 'status',
            'category', 'schema', 'pass', 'decision'), before, after, source, seconds (since the
            edit of the same annotator before it; NaN after a pause of more than two minutes),
            schema (changes with the categories), writer and order (the log and the place in it).

        Raises
        ------
        ValueError
            If the dataset has no journal.

        Examples
        --------
        ``ds.history().groupby("instance").seconds.sum()`` is the time that each instance took.
        """
        from kpwidget import store

        return cast("pd.DataFrame", store.history(self))

    def refresh(self) -> str:
        """Put in place what others have done to the same labels file meanwhile.

        Where two have changed the same value, the later one is in force, and both are in
        `conflicts`.

        Returns
        -------
        str
            What was done, for people; empty if there was nothing.

        Raises
        ------
        ValueError
            If the dataset has no journal.
        """
        from kpwidget import store

        return store.refresh(self)

    def compact_journal(self) -> str:
        """Pack the logs of sessions that are over into one file: opening has fewer to read.

        Nothing of what the journal says is changed by it. Logs that were touched within a day and
        damaged ones stay as they are. Opening does the same by itself when more than 32 logs were
        not touched for a day.

        Returns
        -------
        str
            What was done, for people.

        Raises
        ------
        OSError
            If the packed file cannot be written. Nothing is changed then.
        ValueError
            If the dataset has no journal.
        """
        from kpwidget import store

        return store.compact_journal(self)

    def resolve(self, conflict: Any, take: Literal["kept", "other"]) -> None:
        """Decide about a value that two people have changed.

        Parameters
        ----------
        conflict : kpwidget.journal.Conflict
            One of `conflicts`, which it leaves for good: the journal remembers the decision.
        take : {'kept', 'other'}
            Leave the value that is in force, or put the other one in its place: an edit like any.

        Raises
        ------
        KeyError
            If the instance is gone.
        ValueError
            If it is none of `conflicts`.
        """
        from kpwidget import store

        store.resolve(self, conflict, take)

    def equals(self, other: Dataset) -> bool:
        """Whether both datasets say the same.

        Parameters
        ----------
        other : Dataset

        Returns
        -------
        bool
            Compared are images (file name, id, size, extra), categories (but for the name of their
            schema), instances in order (image, category, keypoints, raw, bbox, area, iscrowd,
            track_id, score, extra, and id and uid where both are known), info, licenses, extra and
            the records kept for writing. Not compared: history, annotators, whether instances are
            finished and images done, all of which a COCO file does not hold.
        """
        return not self.differences(other)

    def differences(self, other: Dataset) -> list[str]:
        """What `equals` finds different, each in words.

        Parameters
        ----------
        other : Dataset

        Returns
        -------
        list of str
            If the same images or instances stand in another order, the first line says so, and
            they are compared by file name and by uid or annotation id; else by position.
        """
        with self.lock, other.lock:
            return findings.differences(self, other)

    def __repr__(self) -> str:
        """Return the counts."""
        names = ", ".join(f"{c.name}: {c.n_keypoints} keypoints" for c in self._categories[:4])
        if len(self._categories) > 4:
            names += f", ... ({len(self._categories)} categories)"
        return (
            f"Dataset(images={len(self._images)}, instances={self._table.n_instances}, "
            f"categories={{{names}}})"
        )

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        with self.lock:
            n_started = sum(
                bool(rows) and not state.is_done
                for rows, state in zip(self._table.rows_of_image, self._images, strict=True)
            )
            counts = self._table.n_of_categories()
            shown = [i for i, n in enumerate(counts) if n]
            is_small = sum(self._categories[i].n_keypoints for i in shown) <= _N_KEYPOINTS_SHOWN
            visibilities = [
                (self._categories[i], self._table.visibility_counts(i)[:, ::-1].tolist())
                for i in shown
                if is_small
            ]
        listed = sorted(enumerate(self._categories), key=lambda place: counts[place[0]] == 0)
        rows = [
            ("images", f"{len(self._images)} ({self._n_done} done, {n_started} started)"),
            ("instances", str(self._table.n_instances)),
        ]
        rows += [
            (f"category {c.name}", f"{counts[i]} × {c.n_keypoints} keypoints")
            for i, c in listed[:10]
        ]
        if len(listed) > 10:
            rows.append(("more categories", str(len(listed) - 10)))
        if self.layout.annotations:
            rows.append(("kept for writing", f"{len(self.layout.annotations)} other records"))
        if self.path is not None:
            rows.append(("file", str(self.path)))
        body = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        return f"<table>{body}</table>" + "".join(
            _visibility_table(category.name, category.keypoints, of_keypoints)
            for category, of_keypoints in visibilities
        )

    # Internals. Everything below runs under the lock.

    def _add_image(self, state: ImageState) -> int:
        self._add_images([state])
        return len(self._images) - 1

    def _add_images(self, states: Sequence[ImageState]) -> None:
        start = len(self._images)
        self._images.extend(states)
        numbers = range(start, len(self._images))
        self._index_of_image_id.update(zip([state.id for state in states], numbers, strict=True))
        self._indices_by_name = None
        self._table.rows_of_image.extend([[] for _ in states])

    @property
    def _indices_of_file_name(self) -> dict[str, list[int]]:
        """Positions of images by file name, found out when first asked for."""
        if self._indices_by_name is None:
            self._indices_by_name = {}
            for index, state in enumerate(self._images):
                self._indices_by_name.setdefault(state.file_name, []).append(index)
        return self._indices_by_name

    def _add_category(self, category: Category) -> int:
        index = len(self._categories)
        self._categories.append(category)
        self._category_of_id[category.id] = index
        self._table.add_category(category.n_keypoints)
        return index

    def _forget_added(self, n_images: int, n_categories: int) -> None:
        """Take back the images and categories after the first ones; they have no instances."""
        self._indices_by_name = None
        for state in self._images[n_images:]:
            del self._index_of_image_id[state.id]
            self._n_done -= state.is_done
        for category in self._categories[n_categories:]:
            del self._category_of_id[category.id]
            self.layout.point_fields.pop(category.id, None)
            self.layout.categories_read.pop(category.id, None)
        del self._images[n_images:], self._categories[n_categories:]
        self._table.forget_added(n_images, n_categories)

    def _instances_at(
        self, rows: Callable[[InstanceTable], Sequence[int] | NDArray[np.int64]]
    ) -> list[Instance]:
        """Views of the instances in the rows that a function picks, under the lock."""
        with self.lock:
            return [Instance(self, uid) for uid in self._table.uids(rows(self._table))]

    def _image_named(self, file_name: str) -> int:
        found = self._indices_of_file_name.get(file_name, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise KeyError(
                f"{len(found)} images have the file name {file_name!r}: use their positions "
                f"{found[:10]} or images.by_id"
            )
        names = [state.file_name for state in self._images[:3]]
        listed = ", ".join(repr(name) for name in names) + (", ..." if len(self) > 3 else "")
        same = [n for n in self._indices_of_file_name if n.rsplit("/", 1)[-1] == file_name][:3]
        hint = f"did you mean {' or '.join(map(repr, same))}?" if same else f"there are {listed}"
        raise KeyError(f"no image has the file name {file_name!r}; {hint}")

    def _category_index(self, key: str | int | Category | None) -> int:
        if key is None:
            if len(self._categories) == 1:
                return 0
            raise ValueError(f"say which category: {self._category_names()}; category=...")
        if isinstance(key, Category):
            index = self._category_of_id.get(key.id)
            if index is not None and self._categories[index] == key:
                return index
            raise KeyError(f"{key!r} is not of this dataset, which has {self._category_names()}")
        if isinstance(key, str):
            found = [i for i, category in enumerate(self._categories) if category.name == key]
            if len(found) == 1:
                return found[0]
            if found:
                ids = [self._categories[i].id for i in found]
                raise KeyError(f"{len(found)} categories have the name {key!r}: use an id of {ids}")
            raise KeyError(f"no category has the name {key!r}; there are {self._category_names()}")
        number = as_int(key)
        index = None if number is None else self._category_of_id.get(number)
        if index is None:
            raise KeyError(f"no category has the id {key!r}; there are {self._category_names()}")
        return index

    def _category_names(self) -> str:
        # Those that there are instances of come first.
        counts = self._table.n_of_categories()
        order = sorted(range(len(counts)), key=lambda i: counts[i] == 0)
        named = [f"{c.name!r} (id {c.id})" for c in (self._categories[i] for i in order[:10])]
        more = [f"and {len(order) - 10} more"] if len(order) > 10 else []
        return ", ".join([*named, *more]) or "none"

    def _set_points(self, uid: str, points: Mapping[int, Point]) -> None:
        """Record the keypoints that differ from what they are, inside an open transaction."""
        row = self._table.row(uid)
        image = self._table.value(row, "image")
        for k, after in points.items():
            before = self._table.point(row, k)
            if before != after:
                self._history.do(PrimitiveChange("keypoint", uid, image, before, after, k))

    def _apply(self, change: PrimitiveChange, value: Any) -> None:
        """Put a value in place: the one path of edits, undo, redo and rollback."""
        self._revision += 1
        if change.what == "status":
            self._images[change.image].is_done = value
            self._n_done += 1 if value else -1
            return
        if change.what == "category":
            now = self._categories[-1 - change.image]
            is_whole = value.schema is now.schema  # else its schema was changed meanwhile
            self._categories[-1 - change.image] = (
                value if is_whole else replace(now, name=value.name)
            )
            return
        if change.what == "decision":
            of_owner = self._decisions.setdefault(change.owner, {})
            of_owner[str(change.keypoint)] = value
            if value is None:
                del of_owner[str(change.keypoint)]
            return
        if change.what == "schema":
            is_forth = value is change.after
            other = change.before if is_forth else change.after
            migrate.apply_state(self, -1 - change.image, value, other, is_forth=is_forth)
            return
        uid = cast("str", change.uid)
        if change.what == "instance":
            if value is None:
                self._table.take_out(uid)
            else:
                self._table.insert(value)
            return
        if change.what == "pass":
            of_uid = self._passes.setdefault(uid, {})
            of_uid[str(change.keypoint)] = value
            if value is None:
                del of_uid[str(change.keypoint)]
            return
        row = self._table.row(uid)
        if change.what == "keypoint":
            self._table.put_point(row, cast("int", change.keypoint), value)
        elif change.what == "bbox":
            self._table.put_bbox(row, value)
        else:
            self._table.put_finished(row, value)

    def _value_of(self, change: PrimitiveChange) -> Any:
        """What the value that a change is about is now; KeyError if its instance is not there."""
        if change.what == "status":
            return self._images[change.image].is_done
        if change.what == "category":
            return self._categories[-1 - change.image]
        if change.what == "schema":
            return self._categories[-1 - change.image].schema
        if change.what == "decision":
            return self._decisions.get(change.owner, {}).get(str(change.keypoint))
        uid = cast("str", change.uid)
        if change.what == "instance":
            return self._table.record(uid) if self._table.has(uid) else None
        if change.what == "pass":
            return self._passes.get(uid, {}).get(str(change.keypoint))
        row = self._table.row(uid)
        if change.what == "keypoint":
            return self._table.point(row, cast("int", change.keypoint))
        if change.what == "bbox":
            return self._table.bbox(row)
        return bool(self._table.value(row, "is_finished"))

    def _basis_of(self, change: PrimitiveChange) -> int | None:
        """Category, below 0, whose schema gives a change its meaning; None if it needs none."""
        if change.what == "schema":
            return change.image
        if change.what == "instance":
            return -1 - int((change.after or change.before).category)
        row = None if change.what != "keypoint" else self._table.last_row(str(change.uid))
        return None if row is None else -1 - self._table.category(row)

    def _describe(self, change: PrimitiveChange) -> str:
        if change.what == "schema":
            return f"the schema of category {self._categories[-1 - change.image].name!r}"
        if change.what == "category":
            return f"the name of category {self._categories[-1 - change.image].name!r}"
        if change.what == "decision":
            return f"the decision on a finding of {(change.after or change.before).check!r}"
        image = repr(self._images[change.image].file_name)
        if change.uid is None:
            return f"the status of image {image}"
        row = self._table.last_row(change.uid)
        category = None if row is None else self._categories[self._table.category(row)]
        owner = f"{category.name if category else 'instance'} {change.uid!r} in image {image}"
        if change.what == "keypoint" and category is not None and change.keypoint is not None:
            k = cast("int", change.keypoint)
            if k >= category.n_keypoints:  # of another schema
                return f"a keypoint of {owner}"
            return f"keypoint {category.keypoints[k]!r} of {owner}"
        if change.what == "pass":
            return f"pass {change.keypoint!r} of {owner}"
        return owner if change.what == "instance" else f"{change.what} of {owner}"

    def _give_ids(self) -> int:
        """Give every instance without an annotation id the next free one; return how many.

        Not an edit: an id, once given, stays with the instance through undo and redo.
        """
        taken = set()
        for record in self.layout.annotations.values():
            number = as_int(record.get("id")) if isinstance(record, Mapping) else None
            if number is not None:
                taken.add(number)
        return self._table.give_ids(taken)

    def _without_instances(self) -> Dataset:
        """Return a dataset of the same images and categories, without a file."""
        copy = self._copy(range(len(self._images)), (), keep_others=False)
        copy.layout = FileLayout()
        return copy

    def _copy(
        self,
        images: Sequence[int],
        rows: Sequence[int] | NDArray[np.int64],
        *,
        keep_others: bool,
    ) -> Dataset:
        """Return a detached dataset of these images and of the instances in these rows."""
        copy = Dataset(self.categories, annotator=self.annotator)
        copy.info, copy.licenses, copy.extra = deepcopy((self.info, self.licenses, self.extra))
        for index in images:
            copy._add_image(replace(self._images[index], source=None))
        layout = self.layout
        copy.layout = FileLayout(
            text=layout.text,
            top=layout.top,
            categories=layout.categories,
            categories_read=dict(layout.categories_read),
            point_fields=dict(layout.point_fields),
        )
        if keep_others:
            ids = {self._images[index].id for index in images}
            if len(ids) == len(self._images):
                copy.layout.images = layout.images
                copy.layout.annotations = layout.annotations
            elif layout.text is not None:
                kept = [
                    position
                    for position, record in layout.annotations.items()
                    if isinstance(record, Mapping)
                    and isinstance(record.get("image_id"), int | str)
                    and record["image_id"] in ids
                ]
                copy.layout.annotations = RecordsAt(
                    layout.text, "annotations", np.array(kept, np.int64)
                )
        copy._n_done = sum(state.is_done for state in copy._images)
        new_index = np.full(len(self._images), -1, np.int64)
        new_index[list(images)] = np.arange(len(images))
        copy._table.take(self._table, rows, new_index[self._table.column("image", rows)])
        if self._passes:
            uids = copy._table.uids(copy._table.live_rows())
            copy._passes = {u: dict(self._passes[u]) for u in uids if self._passes.get(u)}
        if self._decisions:
            uids = copy._table.uids(copy._table.live_rows())
            new: dict[str | int, str | int] = {}
            if keep_others:
                new = {index: i for i, index in enumerate(images)}
            is_whole = len(new) == len(self._images)
            copy._decisions = decisions.kept_decisions(self, uids, new, is_whole=is_whole)
        return copy


def _visibility_table(
    category: str, keypoints: Sequence[str], counts: Sequence[Sequence[int]]
) -> str:
    """HTML of how often each keypoint is visible, occluded and unlabeled, folded in."""
    body = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        + "".join(f"<td>{n}</td>" for n in of_keypoint)
        + "</tr>"
        for name, of_keypoint in zip(keypoints, counts, strict=True)
    )
    head = "".join(f"<th>{name}</th>" for name in ("", "visible", "occluded", "unlabeled"))
    return (
        f"<details><summary>keypoints of {html.escape(category)}</summary>"
        f"<table><tr>{head}</tr>{body}</table></details>"
    )


def _checked_categories(
    categories: Sequence[Category | Schema] | Category | Schema,
) -> list[Category]:
    if isinstance(categories, str):
        raise TypeError(
            f"categories are Schema or Category objects, not {categories!r}; a built-in schema is "
            f"kpwidget.schemas.get({categories!r})"
        )
    given = [categories] if isinstance(categories, Category | Schema) else list(categories)
    wrong = [repr(item) for item in given if not isinstance(item, Category | Schema)]
    if wrong:
        raise TypeError(f"categories are Schema or Category objects, not {', '.join(wrong)}")
    ids = Counter(item.id for item in given if isinstance(item, Category))
    repeated = [str(number) for number, n in ids.items() if n > 1]
    if repeated:
        raise ValueError(f"category id {', '.join(repeated)} is given more than once")
    checked: list[Category] = []
    following = 1
    for item in given:
        if isinstance(item, Schema):
            while following in ids:
                following += 1
            item = Category(following, item, item.name)
            following += 1
        checked.append(item)
    return checked


def _default_annotator() -> str:
    """Name of the person: the hub's, else the login name; 'unknown' if neither is known."""
    import getpass

    name = os.environ.get("JUPYTERHUB_USER")
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user id has no name
        return "unknown"
