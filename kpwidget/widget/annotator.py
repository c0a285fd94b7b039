"""The annotator: a dataset in, edits out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from ..dataset import Change, Dataset, ImageInfo, Instance, UndoError
from ..store import ConflictError, attach_journal
from .anchors import Anchors
from .board import Board
from .pace import Pace, measure_pace
from .wire import (
    AGAIN,
    Cursor,
    Refused,
    conflict_to_wire,
    finding_to_wire,
    is_index,
    key_of,
    number_of,
    sendable,
    shown,
    step_to_wire,
    template_to_wire,
    text_of,
    whole_of,
    words,
)

if TYPE_CHECKING:
    from ..quality import Finding

logger = logging.getLogger(__name__)

#: Labels files up to this size, in bytes, are saved without being asked.
AUTOSAVED_BYTES = 20_000_000
#: What can be done to all points of an instance at once, and what undo calls it.
_POSES = {
    "swap": "swap left and right",
    "mirror": "mirror instance",
    "move": "move instance",
    "paste": "paste instance",
    "template": "drop template",
}
#: The mean pose is that of the last so many instances of a category, looked for among the last so
#: many of all: enough, and soon computed in a dataset of any size.
_POSES_IN_MEAN, _POSES_LOOKED_AT = 1000, 20_000
#: How many conflicts, and findings of an image, are shown at once.
_SHOWN_CONFLICTS, _SHOWN_FINDINGS = 3, 40


#: Conflicts about what no labels file has: code decides these.
_BESIDE = ("pass", "decision")
#: Annotators with anchors, by dataset: they draw on one sheet.
_SHARING: WeakKeyDictionary[Dataset, WeakSet[Annotator]] = WeakKeyDictionary()


class _Again(NamedTuple):
    """An image that is shown again, blind: the one that was asked for, and whose steps undo has."""

    asked: int
    origin: tuple[str, ...]


class Annotator(Board):
    """An annotator for the images of a dataset, as a widget.

    Display it as the last line of a notebook cell. Every edit is at once in `dataset`.

    Parameters
    ----------
    dataset : Dataset
        Holds the images and what is labeled. Edits made by code show in the widget as well.
    image : int or str
        The image to start with: its position or its file name.
    category : str or int, optional
        The category that new instances get: its name or id. The first one by default.
    height : int
        Height of the picture in CSS px.
    journal : bool
        Whether edits are kept on disk as they are made, beside the labels file or, for a dataset
        without one, in ``./.kpwidget``. What the journal has from before is put in place, and a
        line says so. The environment variable ``KPWIDGET_JOURNAL=off`` means False.
    anchors : float
        How many finished images come again, blind, for each that is finished, from 0 to 1: with
        0.05 one in twenty. What is drawn then goes into ``dataset.passes`` as "anchor", for
        `kpwidget.quality.drift`. None by default.
    rng : numpy.random.Generator or int, optional
        Which images these are, and when they come; by default another time each time.

    Raises
    ------
    ConflictError
        If the journal has edits that were made on another version of the labels file.
    TypeError
        If a keyword is not known.
    ValueError
        If the dataset has no images or no category with keypoints; if `anchors` is no share, or
        several images have one file name, by which passes find them.
    KeyError
        If there is no such image or category.
    """

    def __init__(
        self,
        dataset: Dataset,
        image: int | str = 0,
        category: str | int | None = None,
        height: int = 600,
        journal: bool = True,
        anchors: float = 0.0,
        rng: np.random.Generator | int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"Annotator got unknown keywords {sorted(unknown)}; "
                "it takes dataset, image, category, height, journal, anchors and rng"
            )
        if not isinstance(dataset, Dataset):
            raise TypeError(f"dataset: expected a kpwidget.Dataset, got {type(dataset).__name__}")
        if len(dataset.images) == 0:
            raise ValueError(
                "the dataset has no images: make one with kpwidget.Dataset.from_images(...)"
            )
        if not dataset.categories:
            raise ValueError("the dataset has no category with keypoints to label")
        said = ""
        if journal and os.environ.get("KPWIDGET_JOURNAL") != "off":
            said = attach_journal(dataset)
            if said:
                print(said)
        #: Edits by others that the journal has and the dataset has not, and who made them.
        self._others: tuple[int, list[str]] = (0, [])
        self._conflicts: list[int] = []
        self._told_of_saving = ""
        self._pace = ""
        #: The image that was looked at last, None until the checks are loaded; what is suspected
        #: of its instances, with their keypoints as they were.
        self._looked_at: ImageInfo | None = None
        self._suspected: dict[str, tuple[bytes, list[Finding]]] = {}
        #: Why swapped sides are not told, if they are not.
        self._untold = ""
        #: By image, what was under way when it was left.
        self._left: dict[int, Cursor] = {}
        self._again: _Again | None = None
        self._anchors = Anchors(dataset, anchors, rng) if anchors else None
        index = dataset.images[image].index
        first = 0
        if category is not None:
            first = list(dataset.categories).index(dataset.category(category))
        cursor = Cursor(category=first)
        super().__init__(dataset, index, (said and _under_way(dataset, index)) or cursor, height)
        if self._anchors is not None:
            _SHARING.setdefault(dataset, WeakSet()).add(self)
            self._watch_sheet(self._anchors)

    @property
    def instance(self) -> Instance | None:
        """The active instance, or None."""
        with self._dataset.lock:
            uid = self._cursor.instance
            return None if uid is None else self._sheet.instance(uid)

    @property
    def pace(self) -> Pace:
        """How fast this person labels, and how long the images left may take."""
        return measure_pace(self._dataset, _origin_of(self._dataset))

    def __repr__(self) -> str:
        image = self.image
        return (
            f"Annotator(image {image.index + 1} of {len(self._dataset.images)} "
            f"{image.file_name!r}, {len(image.instances)} instances)"
        )

    def close(self) -> None:
        """End the widget on both sides. What is labeled stays in the dataset.

        An image that is shown again is left: what is drawn there becomes a pass.
        """
        if not self._is_closed and self._again is not None:
            with self._callbacks_after(), self._dataset.lock:
                self._show(self._again.asked)
        super().close()

    # -- the edits ------------------------------------------------------------------------------

    def _step(self, label: str, edit: dict[str, Any], token: tuple[str, int], after: Cursor) -> Any:
        image = self._image_of(edit).index
        return self._sheet.transaction(
            label,
            origin=self._origin,
            token=token,
            image=image,
            context={"before": self._cursor, "after": after},
            keep_empty=True,
        )

    @property
    def _origin(self) -> tuple[str, ...]:
        """Whose steps undo takes back: this person's by widget, before a rerun of the cell too."""
        blind = self._blind
        return _origin_of(self._dataset) if blind is None else blind.origin

    @property
    def _blind(self) -> _Again | None:
        """The image that is shown again, unless the edit is a late one of a label."""
        return None if self._sheet is self._dataset else self._again

    def _apply_point(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        after = self._next(edit)
        visibility = edit.get("visibility")
        if visibility not in (0, 1, 2) or isinstance(visibility, bool):
            raise Refused(f"visibility: expected 0, 1 or 2, got {shown(visibility)}")
        image = self._image_of(edit)
        keypoint = whole_of(edit, "keypoint")
        is_new = edit.get("new") is True
        category = self._sheet.categories[after.category]
        instance = None if is_new else self._instance_of(edit)
        schema = (instance.category if instance else category).schema
        if keypoint >= schema.n_keypoints:
            raise Refused(f"there is no keypoint number {keypoint}")
        name = schema.keypoints[keypoint]
        x, y = number_of(edit, "x"), number_of(edit, "y")
        if visibility:
            self._check_inside(image, x, y)
        label = f"place {name}" if visibility else f"unlabel {name}"
        with self._step(label, edit, token, after):
            if instance is None:
                instance = self._sheet.add_instance(
                    image, category, uid=text_of(edit, "instance"), is_finished=False
                )
            if visibility:
                instance.set_keypoint(keypoint, x, y, visibility=visibility)
            else:
                instance.clear_keypoint(keypoint)
            if edit.get("finish") is True:
                instance.set_finished(True)
                self._publisher.plan_prefetch()  # one more for the mean pose
        # What is placed is seen.
        self._hidden.discard(instance.uid)
        self._settle(after, image.index)

    @staticmethod
    def _check_inside(image: ImageInfo, x: float, y: float, slack: float = 0.0) -> None:
        width, height = image.size
        if not (0 <= x <= width + slack and 0 <= y <= height + slack):
            raise Refused(f"({x:g}, {y:g}) is outside the image of {width}x{height} pixels.")

    def _apply_box(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        after = self._next(edit)
        bbox = _bbox_of(edit)
        image = self._image_of(edit)
        if bbox is not None:
            x, y, width, height = bbox
            self._check_inside(image, x, y)
            # Corner and size are rounded apart: their sum may lie an ulp outside.
            self._check_inside(image, x + width, y + height, slack=1e-6)
        is_new = edit.get("new") is True
        instance = None if is_new else self._instance_of(edit)
        with self._step("draw box", edit, token, after):
            if instance is None:
                instance = self._sheet.add_instance(
                    image,
                    self._sheet.categories[after.category],
                    uid=text_of(edit, "instance"),
                    is_finished=False,
                )
            instance.set_bbox(bbox)
        self._settle(after, image.index)

    def _apply_pose(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        """Give an instance all of its points at once: mirrored, moved, pasted, from a template."""
        after = self._next(edit)
        how = edit.get("how")
        if not isinstance(how, str) or how not in _POSES:
            raise Refused(f"how: expected one of {', '.join(_POSES)}, got {shown(how)}")
        image = self._image_of(edit)
        is_new = edit.get("new") is True
        instance = None if is_new else self._instance_of(edit)
        category = instance.category if instance else self._sheet.categories[after.category]
        points = _points_of(edit, category.schema.n_keypoints)
        for x, y, visibility in points:
            if visibility:
                self._check_inside(image, x, y, slack=1e-6)
        bbox = _bbox_of(edit)
        with self._step(_POSES[how], edit, token, after):
            if instance is None:
                instance = self._sheet.add_instance(
                    image, category, uid=text_of(edit, "instance"), is_finished=True
                )
            now = instance.keypoints
            for k, (x, y, visibility) in enumerate(points):
                if visibility:
                    if (x, y, visibility) != tuple(now[k]):
                        instance.set_keypoint(k, x, y, visibility=visibility)
                elif now[k, 2]:
                    instance.clear_keypoint(k)
            if bbox is not None and bbox != instance.bbox:
                instance.set_bbox(bbox)
        self._hidden.discard(instance.uid)
        self._settle(after, image.index)

    def _apply_repeat(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        """Put copies of the instances of the image before into this one."""
        image = self._image_of(edit)
        place = image.index if self._blind is None else self._blind.asked
        if place == 0:
            raise Refused("This is the first image: there is none before it.")
        before = self._dataset.images[place - 1]
        if not before.instances:
            raise Refused("The image before this one has no instance.")
        width, height = image.size
        after = Cursor(self._cursor.category)
        with self._step("repeat instances", edit, token, after):
            for instance in before.instances:
                points = instance.keypoints
                is_in = ((points[:, :2] >= 0) & (points[:, :2] <= (width, height))).all(axis=1)
                points = np.where((is_in & (points[:, 2] > 0))[:, None], points, 0.0)
                bbox = instance.bbox if instance.bbox_source == "given" else None
                self._sheet.add_instance(
                    image, instance.category, points, bbox, track_id=instance.track_id
                )
        self._settle(after, image.index)

    def _apply_remove(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        after = self._next(edit)
        instance = self._instance_of(edit)
        with self._step("remove instance", edit, token, after):
            instance.remove()
        self._settle(after, self._image_of(edit).index)

    def _apply_finish(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        after = self._next(edit)
        instance = self._instance_of(edit)
        with self._step("finish instance", edit, token, after):
            instance.set_finished(True)
        self._settle(after, self._image_of(edit).index)

    def _apply_skip(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        after = self._next(edit)
        with self._step("skip", edit, token, after):
            pass
        self._settle(after, self._image_of(edit).index)

    def _apply_status(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        is_done = edit.get("done")
        if not isinstance(is_done, bool):
            raise Refused(f"done: expected true or false, got {shown(is_done)}")
        image = self._image_of(edit)
        status = "done" if is_done else ("started" if len(image.instances) else "unlabeled")
        with self._step("image done" if is_done else "image not done", edit, token, self._cursor):
            image.set_status(status)

    def _apply_undo(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        self._take_back(self._sheet.undo, "before", "There is nothing to undo.")

    def _apply_redo(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        self._take_back(self._sheet.redo, "after", "There is nothing to redo.")

    def _take_back(self, act: Callable[..., Any], which: str, nothing: str) -> None:
        try:
            step = act(origin=self._origin)
        except UndoError as error:
            raise Refused(words(error)) from error
        if step is None:
            raise Refused(nothing)
        if step.image is not None and step.image != self._index:
            self._show(step.image)
        self._dirty |= {"skeletons", "active"}
        self._settle(Cursor.of(step.context.get(which)), self._index)

    def _apply_save(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        if self._dataset.path is None:
            self._notify(
                "info",
                "These labels have no file yet: write them in a cell with "
                'kpwidget.write(annotator.dataset, "labels.json", format="coco").',
            )
            return
        try:
            self._dataset.save()
        except (ConflictError, UndoError) as error:
            raise Refused(words(error)) from error
        self._outgoing.append(
            {"kind": "notice", "level": "info", "text": sendable(f"Saved to {self._dataset.path}.")}
        )

    def _on_dataset_change(self, change: Change) -> None:
        with self._dataset.lock:
            is_other = any(part.what in ("schema", "category") for part in change.step.changes)
            if is_other and self._anchors is not None and self._anchors.fit():
                self._watch_sheet(self._anchors)  # what was drawn under the other one is given up
                if self._again is not None:
                    self._show(self._again.asked)
            self._publisher.plan_save()
            self._publisher.plan_check()
            super()._on_dataset_change(change)

    def _receive_hello(self, content: dict[str, Any]) -> None:
        self._publisher.plan_save()  # of what was restored from the journal
        self._publisher.plan_check()
        super()._receive_hello(content)

    def _autosave(self) -> None:
        """Save a small labels file, if it is clear that it is to be this dataset's.

        Nothing is under way then: a drag is no edit before it ends. What others have edited is
        not taken in unasked.
        """
        dataset = self._dataset
        if dataset.path is None or dataset.recorder is None or not dataset._saves_itself:
            return
        # One about what the file has not, is shown nowhere here and must not keep it from being
        # saved: the mark of the file keeps it.
        in_file = [one for one in dataset.conflicts if one.what not in _BESIDE]
        if dataset.is_saved or in_file or dataset.recorder.journal.error is not None:
            return
        try:
            if dataset.path.exists() and dataset.path.stat().st_size > AUTOSAVED_BYTES:
                return
            self._look_for_others()
            if self._others[0]:
                return
            dataset.save()
            self._told_of_saving = ""
        except (ConflictError, UndoError, OSError, ValueError) as error:
            text = f"The labels file was not saved: {words(error)} The journal has every edit."
            if text != self._told_of_saving:  # said once
                self._told_of_saving = text
                self._notify("error", text)
            return
        with dataset.lock:
            self._dirty.add("scene")
        self._publisher.wake()

    def _apply_refresh(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        if self._dataset.recorder is None:
            raise Refused("This dataset has no journal that others could have written to.")
        self._dataset.refresh()
        self._look_for_others()

    def _apply_resolve(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        key = whole_of(edit, "conflict")
        conflict = next((one for one in self._dataset.conflicts if one.key == key), None)
        if conflict is None:
            raise Refused("This has been decided already.")
        take: Literal["kept", "other"] = "other" if edit.get("take") is True else "kept"
        self._dataset.resolve(conflict, take)

    def _look_for_others(self) -> None:
        """See whether others have appended to the journal what is not in the dataset."""
        recorder = self._dataset.recorder
        if recorder is None:
            return
        recorder.news()  # reads files, on a network maybe: nobody is to wait for it
        with self._dataset.lock:
            found = recorder.counted()
            conflicts = [one.key for one in self._dataset.conflicts]
            if (found, conflicts) == (self._others, self._conflicts):
                return
            self._others, self._conflicts = found, conflicts
            self._dirty.add("scene")
        self._publisher.wake()

    def _show(self, index: int) -> None:
        """Go to another image; what was begun there before goes on."""
        if self._anchors is not None:
            left = None if self._again is None else self._index
            try:
                self._anchors.bring_in(left, self._held())
            except (ValueError, OSError) as error:  # the image must be left all the same
                self._notify("error", f"What was drawn last is not a pass yet: {words(error)}")
            if left is not None:  # every image is another one, also the same
                self._sheet, self._again = self._dataset, None
                self._index, self._cursor = -1, Cursor(self._cursor.category)
        if index == self._index:
            return
        if self._cursor.instance is not None and self._cursor.keypoint is not None:
            self._left[self._index] = self._cursor
        super()._show(index)
        begun = self._left.pop(index, None)
        if begun is not None and begun.instance in self._dataset:
            instance = self._dataset.instance(str(begun.instance))
            if instance.image.index == index and not instance.is_finished:
                self._cursor = begun

    # -- images that come again -----------------------------------------------------------------

    def _held(self) -> set[int]:
        """Images that are drawn on in other annotators of the dataset, as far as one sees these."""
        return {
            one._index
            for one in _SHARING.get(self._dataset, ())
            if one is not self and one._again is not None and one._clients.keys() - one._gone
        }

    def _watch_sheet(self, anchors: Anchors) -> None:
        self._unsubscribe.append(anchors.sheet._history.watch(self._on_dataset_change))
        for client, seq in anchors.sheet._tokens.items():
            self._applied[client] = max(seq, self._applied.get(client, 0))

    @contextmanager
    def _callbacks_after(self) -> Iterator[None]:
        # The journal of the labels is written first: a kernel that ends in between leaves a pass
        # and what was drawn for it, and not neither.
        sheet = self._dataset if self._anchors is None else self._anchors.sheet
        with sheet._history.callbacks_after(), super()._callbacks_after():
            yield

    def _apply(self, client: str, seq: int, edit: dict[str, Any]) -> None:
        """Apply an edit to what it was made on: the dataset, or what is drawn blind."""
        index = edit.get("image")
        if not is_index(index, 2 * AGAIN) or edit.get("op") == "goto":  # from where one is
            return super()._apply(client, seq, edit)
        assert isinstance(index, int)
        is_again = index >= AGAIN
        index %= AGAIN
        edit = {**edit, "image": index}
        if is_again == (self._again is not None) and (not is_again or index == self._index):
            return super()._apply(client, seq, edit)
        # Made on what is not shown any more: before a restart of the kernel, or in another view.
        if not is_again and edit.get("op") in ("undo", "redo") and self._again is not None:
            self._show(self._again.asked)
            return super()._apply(client, seq, edit)
        sheet = self._dataset
        if is_again:
            anchors = self._anchors
            if (
                anchors is None
                or edit.get("op") in ("undo", "redo", "repeat")  # of what, is not known any more
                or not is_index(index, len(anchors.sheet))
                or not anchors.takes(index)
            ):
                raise Refused(
                    "The image it was made on is no longer shown: this edit was not made."
                )
            sheet = anchors.sheet
        shown = self._sheet, self._index, self._cursor
        self._sheet, self._index, self._cursor = sheet, -1, Cursor(self._cursor.category)
        try:
            super()._apply(client, seq, edit)
        finally:
            self._sheet, self._index, self._cursor = shown

    def _find_image(self, to: Any) -> int:
        if self._again is None:
            return super()._find_image(to)
        if to in ("next", "unlabeled"):
            return self._again.asked
        shown = self._index
        self._index = self._again.asked
        try:
            return super()._find_image(to)
        finally:
            self._index = shown

    def _apply_goto(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        left, is_first_time = self._index, self._again is None
        super()._apply_goto(edit, token)
        if self._anchors is None or not is_first_time or self._index == left:
            return
        if edit.get("to") not in ("next", "unlabeled"):
            return
        if self._anchors.fit():
            self._watch_sheet(self._anchors)
        again = self._anchors.pick(left, self._index, self._held())
        if again is None:
            return
        asked = self._index
        if self._cursor.instance is not None:
            self._left[asked] = self._cursor
        super()._show(again)
        self._again = _Again(asked, (*_origin_of(self._dataset), str(time.time_ns())))
        self._sheet = self._anchors.sheet

    def _move_cursors(self, category: int, sources: Sequence[int]) -> None:
        super()._move_cursors(category, sources)
        self._left = {
            index: cursor.moved(category, sources) for index, cursor in self._left.items()
        }

    def _settle(self, cursor: Cursor, image: int) -> None:
        before = self._cursor.category
        super()._settle(cursor, image)
        if self._cursor.category != before:
            self._publisher.plan_check()  # what is not told is of this category

    def _check(self) -> None:
        """Look again at what takes longer than an edit may: the pace, and what may be wrong."""
        from ..quality import suspect_image
        from ..quality.live import untold_sides

        pace = str(self.pace)
        with self._dataset.lock:
            image = self.image
            # Of all the instances, also where an image comes again: that is not to be seen.
            untold = untold_sides(self._dataset, self._cursor.category)
            suspected: dict[str, tuple[bytes, list[Finding]]] = {}
            for finding in suspect_image(image):
                uid = str(finding.instance)
                seen = image.dataset.instance(uid).keypoints.tobytes()
                suspected.setdefault(uid, (seen, []))[1].append(finding)
            looked = (pace, image, suspected, untold)
            if looked != (self._pace, self._looked_at, self._suspected, self._untold):
                self._pace, self._looked_at, self._suspected, self._untold = looked
                self._dirty.add("scene")
        self._publisher.wake()

    def _findings(self) -> list[Finding]:
        """Contradictions in this image as it is; what is suspected, as long as it is as it was."""
        if self._looked_at is None:
            return []
        from ..quality import check_image
        from ..quality.findings import SEVERITIES, undecided

        image = self.image
        found = check_image(image)
        instances = {instance.uid: instance for instance in image.instances}
        if self._looked_at == image:
            for uid, (seen, suspicions) in self._suspected.items():
                if uid in instances and instances[uid].keypoints.tobytes() == seen:
                    found += undecided(image.dataset, suspicions)
        else:
            self._publisher.plan_check()
        places = list(instances)
        by_key = {key_of(one): one for one in found if one.instance in instances}
        return sorted(
            by_key.values(),
            key=lambda one: (SEVERITIES.index(one.severity), places.index(str(one.instance))),
        )

    def _finding_of(self, edit: dict[str, Any]) -> Finding:
        """The finding that an edit is about, looked for anew."""
        from ..quality import check_image, suspect_image

        image, key = self._image_of(edit), text_of(edit, "finding")
        for finding in (*check_image(image), *suspect_image(image)):
            if key_of(finding) == key and finding.instance is not None:
                if finding.instance in self._locked:
                    raise Refused("This instance is locked.")
                return finding
        raise Refused("This is not found any more: the labels have been changed meanwhile.")

    def _apply_decide(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        finding = self._finding_of(edit)
        with self._step("fine as it is", edit, token, self._cursor):
            self._image_of(edit).dataset.decide(finding, "fine")

    def _apply_repair(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        from ..quality.flags import remedy

        found = remedy(self._image_of(edit).dataset, self._finding_of(edit))
        if found is None:
            raise Refused("Only a person can put this right.")
        with self._step(found.words, edit, token, self._cursor):
            found.apply()

    def _prefetch(self) -> None:
        super()._prefetch()
        self._learn_templates()

    def _learn_templates(self) -> None:
        """Tell the browser the mean pose of each category, for the next box that is dragged."""
        dataset = self._dataset
        with dataset.lock:
            last = dataset._table.live_rows()[-_POSES_LOOKED_AT:]
            rows = np.asarray(last, dtype=np.int64)
            of_row = dataset._table.column("category", rows)
            of_categories = [
                dataset._table.keypoints_of(i, rows[of_row == i][-_POSES_IN_MEAN:])
                for i in range(len(dataset.categories))
            ]
            categories = dataset.categories
        made = [
            template_to_wire(category, keypoints)
            for category, keypoints in zip(categories, of_categories, strict=True)
        ]
        told = made if any(made) else []
        if told != self.templates and not self._is_closed:
            self.templates = told

    # -- what the browser is told ---------------------------------------------------------------

    def _scene(self) -> dict[str, Any]:
        dataset, sheet = self._dataset, self._sheet
        undo, redo = sheet.undo_top(origin=self._origin), sheet.redo_top(origin=self._origin)
        aside = ("category", *_BESIDE)
        shown_conflicts = [one for one in dataset.conflicts if one.what not in aside]
        scene = super()._scene()
        if self._again is not None:  # nothing tells that it is not the one that was asked for
            asked = dataset.images[self._again.asked]
            scene["image"] |= {
                "index": AGAIN + self._index,
                "position": asked.index,
                "name": sendable(asked.file_name),
            }
            scene["done"] += sheet.n_done
        return scene | {
            "undo": step_to_wire(undo),
            "redo": step_to_wire(redo),
            "saved": self._saved(),
            "pace": self._pace,
            **self._findings_to_wire(),
            "others": {"edits": self._others[0], "who": sendable(", ".join(self._others[1][:3]))},
            "conflicts": [conflict_to_wire(one) for one in shown_conflicts[:_SHOWN_CONFLICTS]],
        }

    def _findings_to_wire(self) -> dict[str, Any]:
        try:
            findings = self._findings()
            rows = [self._finding_to_wire(one) for one in findings[:_SHOWN_FINDINGS]]
        except Exception:
            # A defect of a check must not keep the scene from the browser.
            logger.exception("the checks of %s failed", self.image.file_name)
            return {"findings": [], "unlisted": 0, "untold": ""}
        return {"findings": rows, "unlisted": len(findings) - len(rows), "untold": self._untold}

    def _finding_to_wire(self, finding: Finding) -> dict[str, Any]:
        from ..quality.flags import remedy

        dataset, keypoint = self.image.dataset, None
        if finding.keypoint is not None:
            schema = dataset.instance(str(finding.instance)).category.schema
            keypoint = schema.index(finding.keypoint)
        found = remedy(dataset, finding)
        return finding_to_wire(finding, keypoint, found.words if found else "")

    def _saved(self) -> dict[str, str]:
        recorder = self._dataset.recorder
        if recorder is not None and recorder.journal.error is not None:
            return {"state": "failed", "text": "in memory only"}
        is_saved = self._dataset.is_saved and (self._again is None or not self._sheet.instances)
        if recorder is not None and not is_saved:
            return {"state": "kept", "text": "kept in the journal"}
        if self._dataset.path is None:
            return {"state": "memory", "text": "in memory"}
        if not is_saved:
            return {"state": "changed", "text": "not saved"}
        return {"state": "saved", "text": "saved"}


def _bbox_of(edit: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """The bbox of an edit; Refused if it is something else than four numbers or null."""
    bbox = edit.get("bbox")
    if bbox is None:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise Refused(f"bbox: expected [x, y, width, height], got {shown(bbox)}")
    sides = ("x", "y", "width", "height")
    x, y, width, height = (number_of(dict(zip(sides, bbox, strict=True)), side) for side in sides)
    return x, y, width, height


def _points_of(edit: dict[str, Any], n_keypoints: int) -> list[tuple[float, float, int]]:
    """The points of an edit, as many as the schema has; Refused if they are something else."""
    flat = edit.get("points")
    if not isinstance(flat, list) or len(flat) != 3 * n_keypoints:
        raise Refused(f"points: expected {3 * n_keypoints} numbers, got {shown(flat)}")
    points = []
    for x, y, visibility in zip(flat[0::3], flat[1::3], flat[2::3], strict=True):
        if visibility not in (0, 1, 2) or isinstance(visibility, bool):
            raise Refused(f"points: expected a visibility of 0, 1 or 2, got {shown(visibility)}")
        place = {"x": x, "y": y}
        points.append((number_of(place, "x"), number_of(place, "y"), int(visibility)))
    return points


def _origin_of(dataset: Dataset) -> tuple[str, str]:
    return ("widget", dataset.annotator)


def _under_way(dataset: Dataset, index: int) -> Cursor | None:
    """Where the person was when the kernel ended, if that is in this image."""
    step = dataset.undo_top(origin=_origin_of(dataset))
    if step is None or step.image != index:
        return None
    cursor = Cursor.of(step.context.get("after"))
    uid = cursor.instance
    is_here = uid in dataset and dataset.instance(str(uid)).image.index == index
    return cursor if is_here else None
