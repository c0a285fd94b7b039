"""The viewer: look through the images of a dataset, find some, pick some. It changes no label."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ..dataset import Change, Dataset, ImageInfo, Instance, UndoError
from ..dataset.decisions import WHOLE
from ..dataset.views import Selection
from ..images import ImageError
from .board import Board
from .listing import FLAGS, SORTS, Listing, Query
from .review import Filter, Review
from .wire import (
    Cursor,
    Refused,
    flag_of,
    is_index,
    sendable,
    shown,
    text_of,
    whole_of,
    words,
)

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

#: Longest side of a thumbnail and about how many bytes it may have.
_THUMB_SIDE, _THUMB_BYTES = 224, 7_000
#: Thumbnails kept, some 20 MB of them.
_KEPT_THUMBS = 4_000
#: Thumbnails sent in one message, and the most that may be asked for at once.
_AT_ONCE, _MAX_WANTED = 6, 600
#: Names of annotators offered as a filter.
_MAX_ANNOTATORS: Final = 200


@dataclass(frozen=True)
class _Thumb:
    """A small picture, or why there is none."""

    data: bytes = b""
    mime: str = ""
    error: str = ""


class Viewer(Board):
    """Look at the images of a dataset with their instances, as a widget.

    Display it as the last line of a notebook cell. Below the picture is a strip of thumbnails;
    above it what to look for: part of a file name, category, keypoint and its visibility, number of
    instances and of labeled keypoints, size, annotator, score. No label is changed. Edits of the
    dataset by code, or in an `Annotator`, show at once.

    With `findings` it walks through these: each opens at its place, and is called fine as it is, or
    fixed, by a button or the keys ``A`` and ``D``. What is said is recorded as by
    `Dataset.decide`, and undone by ``Ctrl+Z``.

    Parameters
    ----------
    data : Dataset or Selection
        Of a selection only its images and its instances are shown, for instance
        ``Viewer(ds.select(where=ds.to_pandas()["area"] > 5000))``.
    image : int or str, optional
        The image to start with: its position in the dataset or its file name. The first by
        default.
    height : int
        Height of the picture in CSS px.
    findings : pandas.DataFrame, optional
        Of `kpwidget.quality.check`, all or a choice of it, in the order of the walk; or one of your
        own with the columns check and image, and, where known, instance (uid), keypoint (name),
        kind, severity ('error', 'warning', 'note'), reason and suggestion. Findings about an image,
        instance or keypoint that is not there are counted and left out.

    Raises
    ------
    TypeError
        If `data` or `findings` is something else, or a keyword is not known.
    ValueError
        If there is no image to show, or columns of `findings` are missing.
    KeyError
        If `image` is none of them.

    See Also
    --------
    compare : Two label sets of the same images.
    """

    def __init__(
        self,
        data: Dataset | Selection,
        image: int | str | None = None,
        height: int = 600,
        findings: pd.DataFrame | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"Viewer got unknown keywords {sorted(unknown)}; it takes data, image, height and "
                "findings"
            )
        if not isinstance(data, Dataset | Selection):
            raise TypeError(
                "data: expected a kpwidget.Dataset or a selection of one (ds.select(...)), got "
                f"{type(data).__name__}; kpwidget.read(path) reads a labels file"
            )
        dataset = data if isinstance(data, Dataset) else data.dataset
        self._data = data
        self._query = Query()
        self._rev = -1
        self._picked: set[int] = set()
        self._asked: dict[str, int] = {}
        self._wanted: dict[str, int] = {}
        self._thumbs: OrderedDict[int, _Thumb] = OrderedDict()
        self._thumb_pool = ThreadPoolExecutor(1, "kpwidget-thumbnails")
        self._listed_version = 0
        self._dataset = dataset
        with dataset.lock:
            self._look_up()
            if not len(self._listing.images):
                raise ValueError(
                    "there is no image to show: "
                    + ("the dataset has none" if data is dataset else "the selection has none")
                )
            index = int(self._order[0]) if image is None else self._known(image)
            cursor = Cursor()
            self._review: Review | None = None
            self._review_start = 0
            self._reviewed: dict[str, int] = {}
            if findings is not None:
                self._review = review = Review(dataset, findings, self._known_images)
                if image is None and review.order:
                    place = review.open(review.order[0])
                    index = index if place.image == WHOLE else place.image
                    cursor = _cursor_at(dataset, place.uid) or cursor
            traits = {"browse": self._browse(index), "review": self._review_to_wire()}
            super().__init__(dataset, index, cursor, height, **traits)
            if self._review is not None and self._review.gone:
                self._notify("info", self._review.gone_in_words())

    # -- what a person's code sees ------------------------------------------------------------

    @property
    def data(self) -> Dataset | Selection:
        """What is looked at."""
        return self._data

    @property
    def selection(self) -> Selection:
        """What is picked: a live view of the dataset with these images, ``.copy()`` detaches it.

        Images are picked with the mark of their thumbnail, or the key ``S``. Of a viewer of a
        selection it holds the instances that are in both.
        """
        with self._dataset.lock:
            self._look_up()
            return self._part(sorted(self._picked))

    @property
    def listed(self) -> Selection:
        """What the filters leave, in the order of the dataset."""
        with self._dataset.lock:
            self._look_up()
            return self._part(sorted(self._order.tolist()))

    @property
    def findings(self) -> pd.DataFrame | None:
        """The findings that are walked through, with what was decided; None without any.

        A copy of the table, all of it, with the columns verdict ('fine', 'fixed'; None while it is
        open), decided_by and decided_at (UTC).
        """
        with self._dataset.lock:
            return None if self._review is None else self._review.decided()

    def _part(self, images: list[int]) -> Selection:
        data = self._data
        if isinstance(data, Dataset):
            return Selection(data, images, None, None)
        return Selection(data.dataset, images, data._category, data._where)

    def goto(self, image: int | str) -> None:
        """Show another image, also one that the filters leave out.

        Parameters
        ----------
        image : int or str
            Its position in the dataset or its file name.

        Raises
        ------
        KeyError
            If it is none of those that are looked at.
        IndexError
            If there is no such position.
        """
        with self._dataset.lock:
            self._show(self._known(image))
        self._publisher.wake()

    def pick(self, *images: int | str | ImageInfo) -> None:
        """Pick images; see `selection`.

        Parameters
        ----------
        *images : int, str or ImageInfo
            Positions in the dataset, file names or images.
        """
        with self._dataset.lock:
            self._picked |= {self._known(image) for image in images}
            self._relist()
        self._publisher.wake()

    def clear_selection(self) -> None:
        """Pick nothing."""
        with self._dataset.lock:
            self._picked.clear()
            self._relist()
        self._publisher.wake()

    def _known(self, image: int | str | ImageInfo) -> int:
        """Position of an image that is looked at. The lock is held."""
        self._look_up()
        index = self._dataset.image(image).index
        if index not in self._known_images:
            name = self._dataset.images[index].file_name
            raise KeyError(f"image {name!r} is not in the selection that is shown")
        return index

    def __repr__(self) -> str:
        """Return what is shown."""
        image = self.image
        n = len(self._listing.images)
        return f"Viewer(image {image.index} {image.file_name!r} of {n}, {len(self._order)} listed)"

    def close(self) -> None:
        """End the widget on both sides."""
        is_open = not self._is_closed
        super().close()
        if is_open:  # one whose making was refused has no pool
            self._thumb_pool.shutdown(wait=False, cancel_futures=True)

    # -- what is listed -------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Find out what is listed, if that is not known any more. The lock is held."""
        revision = self._dataset._revision
        if self._rev == revision:
            return
        data = self._data
        table = self._dataset._table
        rows = table.live_rows() if isinstance(data, Dataset) else data._rows(table)
        self._listing = Listing(self._dataset, [image.index for image in data.images], rows)
        self._known_images = set(self._listing.images.tolist())
        self._picked &= self._known_images
        self._rows = None if isinstance(data, Dataset) else set(self._listing.rows.tolist())
        self._rev = revision
        self._find()

    def _find(self) -> None:
        distances = self._distances() if self._query.sort == "distance" else None
        self._order: NDArray[np.int64] = self._listing.find(
            self._query, frozenset(self._picked), distances
        )
        self._place = {index: at for at, index in enumerate(self._order.tolist())}
        self._listed_version += 1  # the thumbnails that are there are not sure any more

    #: Whether images can be sorted by `_distances`.
    _has_distances = False

    def _distances(self) -> NDArray[np.float64] | None:
        """For each image how far apart two label sets are; only a comparison knows."""
        return None

    def _relist(self) -> None:
        """What is picked or asked for has changed."""
        self._look_up()
        self._find()
        self._dirty.add("scene")

    def _browse(self, index: int) -> dict[str, Any]:
        """What the browser must know of the list: never as much as the list is long."""
        scores = self._scores()
        return {
            "version": self._listed_version,
            "total": len(self._listing.images),
            "count": len(self._order),
            "position": self._place.get(index, -1),
            "isPicked": index in self._picked,
            "picked": len(self._picked),
            "query": self._query.to_wire(),
            "sorts": [s for s in SORTS if s != "distance" or self._has_distances],
            "flags": list(FLAGS),
            "annotators": [sendable(a) for a in self._listing.annotators[:_MAX_ANNOTATORS]],
            "scores": None if scores is None else list(scores),
        }

    def _scores(self) -> tuple[float, float] | None:
        """Lowest and highest score of the instances; None if none has one."""
        return self._listing.scores

    def _publish(self) -> None:
        with self._dataset.lock:
            if self._rev != self._dataset._revision:
                # Images that came without an instance are no edit, and nobody was told of them.
                self._dirty.add("scene")
            super()._publish()

    def _publish_scene(self) -> None:
        self._look_up()
        browse, review = self._browse(self._index), self._review_to_wire()
        with self.hold_sync():  # one message
            if browse != self.browse:
                self.browse = browse
            if review is not None and review != self.review:
                self.review = review
            super()._publish_scene()

    def _scene(self) -> dict[str, Any]:
        scene = super()._scene()
        scene["dataset"] += "/view"  # what a viewer left unsent is not for an annotator
        if self._review is not None:
            scene["focus"] = self._review.focus(self._index)
        for shown_one, (_, instance) in zip(scene["instances"], self._instances(), strict=True):
            shown_one["note"] = sendable(_note(instance))
        return scene

    def _instances(self) -> list[tuple[int, Instance]]:
        least = self._query.score
        rows = self._rows
        found = []
        for ordinal, instance in super()._instances():
            if rows is not None and self._dataset._table.row(instance.uid) not in rows:
                continue
            if instance.score is None or not instance.score < least:
                found.append((ordinal, instance))
        return found

    def _near(self) -> list[int]:
        at = self._place.get(self._index)
        if at is None:
            return []
        return [int(self._order[i]) for i in (at + 1, at - 1) if 0 <= i < len(self._order)]

    def _find_image(self, to: Any) -> int:
        """Index of the image asked for: a position in the list, a word, or part of a file name."""
        self._look_up()
        n = len(self._order)
        if is_index(to, len(self._dataset.images)) and to in self._known_images:
            return int(to)
        if n == 0:
            raise Refused("No image fits: clear the filters.")
        if to in ("next", "previous"):
            step = 1 if to == "next" else -1
            at = self._place.get(self._index, -1 if step > 0 else n) + step
            if not 0 <= at < n:
                raise Refused(f"This is the {'last' if step > 0 else 'first'} image of the list.")
            return int(self._order[at])
        if isinstance(to, str) and to.strip():
            wanted = to.strip().casefold()
            if wanted.isdecimal() and len(wanted) < 20 and 1 <= int(wanted) <= n:
                return int(self._order[int(wanted) - 1])
            images = self._dataset._images
            hits = [i for i in self._order.tolist() if wanted in images[i].file_name.casefold()]
            at = self._place.get(self._index, -1)
            later = [i for i in hits if self._place[i] > at]
            if hits:
                return int((later or hits)[0])
            raise Refused(f"No image of the list has {shown(to.strip())} in its name.")
        raise Refused(f"There is no image {shown(to)} in the list.")

    # -- messages from the browser --------------------------------------------------------------

    def _receive_other(self, kind: Any, content: dict[str, Any]) -> None:
        if kind == "query":
            self._receive_query(content)
        elif kind == "want":
            self._receive_want(content)
        elif kind == "pick":
            self._receive_pick(content)
        elif kind == "review" and self._review is not None:
            self._receive_review(content, self._review)
        else:
            super()._receive_other(kind, content)

    def _receive_query(self, content: dict[str, Any]) -> None:
        query = Query.of(content.get("query"))
        client, rev = text_of(content, "client"), whole_of(content, "rev")
        with self._dataset.lock:
            if rev < self._asked.get(client, 0):
                return  # a newer one has overtaken it
            if query.sort == "distance" and not self._has_distances:
                raise Refused("sort: distance is for a comparison of two label sets")
            self._asked[client] = rev
            if query.score != self._query.score:
                self._dirty |= {"skeletons", "active"}
            self._query = query
            self._relist()
            # The picture follows the list, so that what is looked for is seen.
            if len(self._order) and self._index not in self._place:
                self._show(int(self._order[0]))

    def _receive_pick(self, content: dict[str, Any]) -> None:
        images = content.get("images")
        is_picked = flag_of(content, "picked")
        with self._dataset.lock:
            self._look_up()
            if images is None:  # all that are listed, or none at all
                self._picked = set(self._order.tolist()) if is_picked else set()
            elif isinstance(images, list) and all(
                is_index(index, len(self._dataset.images)) for index in images
            ):
                known = self._known_images.intersection(images)
                self._picked = self._picked | known if is_picked else self._picked - known
                # The view that it comes from has marked them already, others have not.
                is_only_view = len(self._clients.keys() - self._gone) < 2
                if is_only_view and not self._query.picked:
                    self._dirty.add("scene")
                    return
            else:
                raise Refused(f"pick: expected numbers of images, got {shown(images)}")
            self._relist()

    # -- findings -------------------------------------------------------------------------------

    @property
    def _origin(self) -> tuple[str, str]:
        """Whose decisions undo takes back."""
        return ("review", self._dataset.annotator)

    def _review_to_wire(self) -> dict[str, Any] | None:
        review = self._review
        if review is None:
            return None
        undo, redo = (top(origin=self._origin) for top in (
            self._dataset.undo_top, self._dataset.redo_top
        ))  # fmt: skip
        wire = review.to_wire(self._review_start)
        self._review_start = wire["start"]
        return {**wire, "undo": "" if undo is None else sendable(undo.label),
                "redo": "" if redo is None else sendable(redo.label)}  # fmt: skip

    def _receive_review(self, content: dict[str, Any], review: Review) -> None:
        """Open a finding, decide about it, take that back, or list others."""
        do, finding = content.get("do"), content.get("finding")
        client, rev = text_of(content, "client"), whole_of(content, "rev")
        with self._dataset._history.callbacks_after(), self._dataset.lock:
            self._dirty.add("scene")
            try:
                if do == "list":
                    if rev < self._reviewed.get(client, 0):
                        return  # a newer one has overtaken it
                    self._reviewed[client] = rev
                    wanted = Filter.of(content.get("filter"))
                    self._review_start = whole_of(content, "start")
                    if wanted != review.filter:
                        review.ask(wanted)
                        self._review_start = 0
                        if review.order and review.current not in review.order:
                            self._open_finding(review.order[0])
                        self._review_start = review.window_of(review.current, 0)
                elif do in ("next", "previous"):
                    self._open_finding(review.after(1 if do == "next" else -1))
                elif do == "open":
                    self._open_finding(whole_of(content, "finding"))
                elif do in ("fine", "fixed", "again"):
                    self._decide(review, whole_of(content, "finding"), do)
                elif do in ("undo", "redo"):
                    self._take_back(review, do)
                else:
                    raise Refused(f"review: there is no {shown(do)} of {shown(finding)}")
            except Refused as refusal:
                if do not in ("next", "previous", "undo", "redo"):
                    raise
                self._notify("info", words(refusal))  # not a failure: the last has no next one

    def _open_finding(self, finding: int) -> None:
        assert self._review is not None
        place = self._review.open(finding)
        self._review_start = self._review.window_of(finding, self._review_start)
        if place.image == WHOLE:
            return
        self._show(place.image)
        cursor = _cursor_at(self._dataset, place.uid)
        if cursor is not None:
            self._settle(cursor, place.image)

    def _decide(self, review: Review, finding: int, verdict: str) -> None:
        """Record what is said of a finding, and go on to the next one that is listed."""
        place, row = review.place(finding), review.row(finding)
        was = None if verdict == "again" else verdict
        label = f"{was or 'open again'}: {place.check}"
        index = None if place.image == WHOLE else place.image
        with self._dataset.transaction(label, origin=self._origin, image=index):
            self._dataset.decide(row, was)  # type: ignore[arg-type]
        review.update([place.image])
        if finding == review.current and was is not None and review.order:
            try:
                following = review.after(1)
            except Refused:
                following = review.order[-1]
            self._open_finding(following)

    def _take_back(self, review: Review, do: str) -> None:
        try:
            act = self._dataset.undo if do == "undo" else self._dataset.redo
            step = act(origin=self._origin)
        except UndoError as error:
            raise Refused(words(error)) from error
        if step is None:
            raise Refused(f"There is nothing to {do}.")
        for part in step.changes:
            finding = review.finding_of(part.owner, str(part.keypoint))
            review.update([part.image])
            if finding is not None:
                self._open_finding(finding)

    def _on_dataset_change(self, change: Change) -> None:
        with self._dataset.lock:
            if self._review is not None:
                parts = change.step.changes
                images = {*change.images, *(p.image for p in parts if p.what == "decision")}
                self._review.update(images)
        super()._on_dataset_change(change)

    # -- thumbnails -----------------------------------------------------------------------------

    def _receive_want(self, content: dict[str, Any]) -> None:
        """Have thumbnails made; a later request of the same view takes the place of this one."""
        client = text_of(content, "client")
        version, rev = whole_of(content, "version"), whole_of(content, "rev")
        places = content.get("places")
        if not isinstance(places, list) or len(places) > _MAX_WANTED:
            raise Refused(f"want: expected at most {_MAX_WANTED} places, got {shown(places)}")
        with self._dataset.lock:
            if self._is_closed or version != self._listed_version:
                return  # the list has changed meanwhile: the browser asks again
            if rev < self._wanted.get(client, -1):
                return
            self._wanted[client] = rev
            if not all(is_index(place, len(self._order)) for place in places):
                raise Refused(f"want: expected places in the list, got {shown(places)}")
            wanted = [(place, int(self._order[place])) for place in places]
            self._thumb_pool.submit(self._make_tiles, client, rev, version, wanted)

    def _make_tiles(
        self, client: str, rev: int, version: int, wanted: Sequence[tuple[int, int]]
    ) -> None:
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            made = []
            for place, index in some:
                if not self._is_wanted(client, rev, version):
                    return
                made.append((place, index, self._thumb(index)))
            with self._dataset.lock:
                if not self._is_wanted(client, rev, version):
                    return
                tiles = []
                for place, index, thumb in made:
                    instances = self._listing_count(index)
                    tiles.append(
                        {
                            "place": place,
                            "index": index,
                            "name": sendable(self._dataset._images[index].file_name),
                            "instances": instances,
                            "picked": index in self._picked,
                            "mime": thumb.mime,
                            "error": thumb.error,
                        }
                    )
                self._outgoing.append(
                    {
                        "kind": "tiles",
                        "version": version,
                        "tiles": tiles,
                        "buffers": [thumb.data for _, _, thumb in made],
                    }
                )
            self._publisher.wake()

    def _is_wanted(self, client: str, rev: int, version: int) -> bool:
        """Whether a request for thumbnails still stands."""
        is_latest = self._wanted.get(client) == rev and version == self._listed_version
        return is_latest and not self._is_closed and client not in self._gone

    def _listing_count(self, index: int) -> int:
        rows = self._dataset._table.rows_of_image[index]
        return len(rows) if self._rows is None else len(self._rows.intersection(rows))

    def _thumb(self, index: int) -> _Thumb:
        known = self._thumbs.get(index)
        if known is not None:
            self._thumbs.move_to_end(index)
            return known
        image = self._dataset.images[index]
        try:
            encoded = image.source.preview(_THUMB_SIDE, _THUMB_BYTES, max_file_bytes=0)
            thumb = _Thumb(encoded.data, encoded.mime)
        except (ImageError, OSError, MemoryError) as error:
            return _Thumb(error=words(error))  # a file that is missing may be there the next time
        except Exception as error:
            # A defect of ours or of a decoder: without an answer the tile would wait for ever.
            logger.exception("no thumbnail of %s", image.file_name)
            return _Thumb(error=f"no thumbnail: {words(error)}")
        self._thumbs[index] = thumb
        while len(self._thumbs) > _KEPT_THUMBS:
            self._thumbs.popitem(last=False)
        return thumb


def _cursor_at(dataset: Dataset, uid: str | None) -> Cursor | None:
    """The cursor with which an instance is chosen; None without one."""
    if uid is None:
        return None
    return Cursor(dataset._table.category(dataset._table.row(uid)), uid, None)


def _note(instance: Instance) -> str:
    """What a person may want to know of an instance, beside its points."""
    parts = [] if instance.id is None else [f"id {instance.id}"]
    if instance.score is not None:
        parts.append(f"score {instance.score:.3g}")
    if instance.track_id is not None:
        parts.append(f"track {instance.track_id}"[:40])
    if instance.iscrowd:
        parts.append("crowd")
    if instance.annotator:
        parts.append(f"by {instance.annotator}"[:60])
    return ", ".join(parts)
