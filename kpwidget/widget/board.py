"""What an annotator and a viewer have in common: an image of a dataset on the stage.

Three things run here. Messages from the browser are applied where they arrive: the main thread, or
a kernel subshell. One thread per board (`Publisher`) tells the browser what has changed, so that a
burst of edits costs one repaint and everything that is sent is in one order. One more thread loads
and encodes pictures. The dataset's lock is the only lock.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..dataset import Change, Dataset, ImageInfo, Instance
from ..dataset.migrate import schema_token
from ..images import EncodedImage, ImageError
from .painter import LAYERS, LOOK, LayerName, Painter, View, draw_poster, figures
from .pictures import Detail, Picture, PictureQueue, encode_preview
from .publisher import Publisher
from .stage import OPS, Stage
from .wire import (
    AGAIN,
    Cursor,
    Refused,
    category_to_wire,
    flat_points,
    given_box,
    is_index,
    number_of,
    sendable,
    shown,
    text_of,
    whole_of,
    words,
)

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


logger = logging.getLogger(__name__)

#: Space left around a fitted image, in CSS px; `fit` in js/src/viewport.ts uses the same.
FIT_MARGIN: Final = 8.0
#: Longest side and size of the poster.
_POSTER_SIDE, _POSTER_BYTES = 960, 60_000
#: Encoded previews kept, for going back and forth.
_KEPT_PREVIEWS = 6
#: How many edits may wait for an earlier one before the sender is told that something is wrong.
MAX_HELD: Final = 10_000
#: Number of the last edit applied, of every view there was. By dataset, not by board: what a view
#: left unanswered when its cell ran again is sent to the next one after a page reload.
_APPLIED: WeakKeyDictionary[Dataset, dict[str, int]] = WeakKeyDictionary()


@dataclass
class _Client:
    """What is known of one view in a browser: the edits applied, and those that came too early.

    `durable` are those of the applied ones that the journal has.
    """

    applied: int = 0
    durable: int = 0
    acknowledged: int = 0
    held: dict[int, dict[str, Any]] = field(default_factory=dict)


class Board(Stage):
    """One image of a dataset with its instances: shown, painted, zoomed, left for another one.

    Parameters
    ----------
    dataset : Dataset
    index : int
        Position of the image to start with.
    cursor : Cursor
    height : int
        Height of the picture in CSS px.
    **traits
        Further traits that the first message to the browser carries.
    """

    #: Until there is something to close: ipywidgets closes a widget that is collected, also one
    #: whose making was refused.
    _is_closed = True

    def __init__(
        self, dataset: Dataset, index: int, cursor: Cursor, height: int, **traits: Any
    ) -> None:
        self._dataset = dataset
        #: What is shown and edited: the dataset, or in an annotator what is labeled blind.
        self._sheet = dataset
        self._index = index
        self._cursor = self._in_schema(cursor)
        self._hidden: set[str] = set()
        self._locked: set[str] = set()
        self._clients: dict[str, _Client] = {}
        self._applied = _APPLIED.setdefault(dataset, dict(dataset._tokens))
        #: The clients whose views were closed; a page that was left without a word counts as there.
        self._gone: set[str] = set()
        self._greeted: set[str] = set()
        self._leader = ""
        self._leader_rev = 0
        self._view: View | None = None
        self._view_index = -1
        self._version = 0
        self._paint = 0
        self._dirty: set[str] = {"scene", *LAYERS}
        self._outgoing: list[dict[str, Any]] = []
        self._picture: Picture | None = None
        self._detail: Detail | None = None
        self._has_detail = False
        self._previews: OrderedDict[int, Picture] = OrderedDict()
        self._is_closed = False
        self._unsubscribe: list[Callable[[], None]] = []
        self._painter = Painter()
        self._publisher = Publisher(self)
        self._pictures = PictureQueue()
        with dataset.lock:  # what another thread edits is told from here on
            self._told_categories = dataset.categories
            self._dirty.discard("scene")
            self._version += 1
            # All in the message that makes the widget: each further one holds up the picture.
            super().__init__(
                height=height,
                look=LOOK,
                categories=[category_to_wire(c) for c in dataset.categories],
                scene=self._scene(),
                layout=ipywidgets.Layout(width="100%"),
                **traits,
            )
            self.on_msg(self._receive)
            self._unsubscribe = [
                dataset._history.watch(self._on_dataset_change),
                dataset.on_callback_error(self._on_callback_error),
            ]
            # Encoded while the browser makes the view, which then has something to show at once.
            self._load_picture(self._index)

    @property
    def dataset(self) -> Dataset:
        """The dataset whose images are shown."""
        return self._dataset

    @property
    def image(self) -> ImageInfo:
        """The image that is shown."""
        return self._sheet.images[self._index]

    def goto(self, image: int | str) -> None:
        """Show another image.

        Parameters
        ----------
        image : int or str
            Its position or its file name.
        """
        with self._callbacks_after(), self._dataset.lock:
            self._show(self._dataset.images[image].index)
        self._publisher.wake()

    def snapshot(self, max_side: int = 960) -> PILImage:
        """The current image with its instances, as a still picture.

        As the last line of a cell it stays in the notebook where a widget would not.

        Parameters
        ----------
        max_side : int
            Longest side of the picture, in pixels.
        """
        with self._dataset.lock:
            index = self._index
            parts = self._poster_parts()
        return self._draw_still(index, parts, max_side)

    def close(self) -> None:
        """End the widget on both sides. What is labeled stays in the dataset."""
        if self._is_closed:
            return
        with self._dataset.lock:  # not while the publisher is sending
            self._is_closed = True
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._publisher.stop()
        self._pictures.stop()
        self._painter.close()
        super().close()

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        try:
            kind = content.get("kind") if isinstance(content, dict) else None
            if kind == "edits":
                self._receive_edits(content)
            elif kind == "viewport":
                self._receive_viewport(content)
            elif kind == "open":
                self._open_layers()
            elif kind == "hello":
                self._receive_hello(content)
            elif kind == "bye":
                self._receive_bye(content)
            elif kind == "anywidget-command":
                return  # anywidget's own; it has a handler of its own
            else:
                self._receive_other(kind, content)
        except (ValueError, TypeError, KeyError) as error:
            self._notify("error", f"A message from the browser was refused: {words(error)}")
        self._publisher.wake()

    def _receive_other(self, kind: Any, content: dict[str, Any]) -> None:
        """Take a message that only some boards know."""
        raise Refused(f"unknown message {shown(kind)} from the browser")

    def _open_layers(self) -> None:
        with self._dataset.lock:
            if not self._painter.canvases and not self._is_closed:
                self._painter.open()
                self.canvases = list(self._painter.canvases)

    def _receive_hello(self, content: dict[str, Any]) -> None:
        client = text_of(content, "client")
        first = content.get("first")
        if first is not None and not isinstance(first, dict):
            raise Refused(f"hello: expected a viewport message or null, got {shown(first)}")
        self._open_layers()
        self._publisher.start()
        with self._dataset.lock:
            self._outgoing.append({"kind": "welcome", "client": client})
            self._gone.discard(client)
            if client in self._greeted:
                return  # said again, as the answer was long in coming
            self._greeted.add(client)
            self._clients.setdefault(client, _Client())
            if content.get("blank", True):
                self._dirty |= {"scene", *LAYERS}
                self._has_detail = False
                # The browser that had the viewport may be gone with its page. If it is this one,
                # its viewport has overtaken its hello: they may come by different shells.
                if self._leader != client:
                    self._view = None
            else:
                self._dirty |= {"scene", "skeletons", "active"}
            if first is not None:
                self._receive_viewport(first)

    def _receive_bye(self, content: dict[str, Any]) -> None:
        """A view was closed, as when its cell is run again: nothing need be painted for it."""
        with self._dataset.lock:
            self._gone.add(text_of(content, "client"))

    def _receive_viewport(self, content: dict[str, Any]) -> None:
        client = text_of(content, "client")
        rev = whole_of(content, "rev")
        wire = content.get("viewport")
        if not isinstance(wire, list) or len(wire) != 3:
            raise Refused(f"viewport: expected [scale, tx, ty], got {shown(wire)}")
        names = ("scale", "tx", "ty")
        scale, tx, ty = (number_of(dict(zip(names, wire, strict=True)), name) for name in names)
        view = View(
            scale,
            tx,
            ty,
            number_of(content, "dpr"),
            number_of(content, "w"),
            number_of(content, "h"),
        )
        image = whole_of(content, "image") % AGAIN
        with self._dataset.lock:
            if client == self._leader and rev < self._leader_rev:
                return  # a newer one has overtaken it: they may come by different shells
            self._leader, self._leader_rev = client, rev
            self._view, self._view_index = view, image
            self._dirty |= {"skeletons", "active", "detail"}

    def _receive_edits(self, content: dict[str, Any]) -> None:
        """Apply edits in the order of their numbers, each once.

        A view's messages may overtake one another (its first ones go to the main shell of the
        kernel, later ones to a subshell), so an edit waits until all before it are applied.
        """
        name = text_of(content, "client")
        base = whole_of(content, "base")
        edits = content.get("edits")
        if not isinstance(edits, list):
            raise Refused(f"edits: expected a list, got {type(edits).__name__}")
        # What a person's callback does, wait for another thread perhaps, it does without the lock;
        # and so is the journal written, once for all of the edits.
        try:
            self._take_edits(name, base, edits)
        finally:
            with self._dataset.lock:
                client = self._clients[name]
                client.durable = max(client.durable, client.applied)

    def _callbacks_after(self) -> AbstractContextManager[None]:
        """Hold back callbacks of edits, and the writing of the journal, until the body is over."""
        return self._dataset._history.callbacks_after()

    def _take_edits(self, name: str, base: int, edits: list[Any]) -> None:
        with self._callbacks_after(), self._dataset.lock:
            client = self._clients.setdefault(name, _Client())
            self._gone.discard(name)
            # Everything up to `base` was acknowledged; a restarted kernel has forgotten that.
            client.applied = max(client.applied, base, self._applied.get(name, 0))
            malformed: Refused | None = None
            for edit in edits:
                try:
                    if not isinstance(edit, dict):
                        raise Refused(f"edit: expected an object, got {type(edit).__name__}")
                    seq = whole_of(edit, "seq")
                except Refused as error:
                    malformed = malformed or error  # the others are applied all the same
                    continue
                if seq > client.applied:
                    client.held[seq] = edit
                else:
                    # Sent again: the answer to it was lost, with its page for instance.
                    client.acknowledged = min(client.acknowledged, seq - 1)
            while (edit := client.held.pop(client.applied + 1, None)) is not None:
                seq = client.applied + 1
                try:
                    self._apply(name, seq, edit)
                except (ValueError, TypeError, KeyError, OSError) as error:
                    self._outgoing.append(
                        {"kind": "rejected", "client": name, "seq": seq, "why": words(error)}
                    )
                except Exception as error:
                    # A defect of ours must not stop the edits behind this one.
                    logger.exception("edit %s of %s failed", seq, name)
                    self._outgoing.append(
                        {
                            "kind": "rejected",
                            "client": name,
                            "seq": seq,
                            "why": f"Internal error: {words(error)}",
                        }
                    )
                client.applied = self._applied[name] = seq
            self._dirty.add("scene")
            if len(client.held) > MAX_HELD:
                n_held = len(client.held)
                client.held.clear()  # not acknowledged: the browser sends them again
                raise Refused(f"{n_held} edits wait for edit {client.applied + 1}")
            if malformed is not None:
                raise malformed

    def _apply(self, client: str, seq: int, edit: dict[str, Any]) -> None:
        op = edit.get("op")
        if op not in OPS or not hasattr(self, f"_apply_{op}"):
            raise Refused(f"unknown edit {shown(op)}")
        edit = self._by_schemas_of_now(edit)
        sheet = self._sheet
        sheet._token = (client, seq)  # undo and redo have it from here
        try:
            getattr(self, f"_apply_{op}")(edit, (client, seq))
        finally:
            sheet._token = None

    def _schemas(self) -> str:
        """What names the meaning of keypoint indices; empty until a schema is changed."""
        indices = range(len(self._dataset.categories))
        tokens = ((index, schema_token(self._dataset, index)) for index in indices)
        return ",".join(f"{index}:{token}" for index, token in tokens if token)

    def _by_schemas_of_now(self, edit: dict[str, Any]) -> dict[str, Any]:
        """An edit that was made before a schema was changed, without its keypoint indices."""
        if edit.get("schemas", "") == self._schemas():
            return edit
        if edit.get("op") in ("point", "pose"):
            raise Refused(
                "The keypoints of this dataset were changed meanwhile: this edit was not made."
            )
        wire = edit.get("next")
        if isinstance(wire, list) and len(wire) == 3 and wire[2] is not None:
            return {**edit, "next": [*wire[:2], 0]}
        return edit

    def _next(self, edit: dict[str, Any]) -> Cursor:
        wire = edit.get("next")
        if not isinstance(wire, list) or len(wire) != 3:
            raise Refused(f"next: expected [category, instance, keypoint], got {shown(wire)}")
        category, instance, keypoint = wire
        if not is_index(category, len(self._dataset.categories)):
            raise Refused(f"next: there is no category number {shown(category)}")
        n_keypoints = self._dataset.categories[category].schema.n_keypoints
        if keypoint is not None and not is_index(keypoint, n_keypoints):
            raise Refused(f"next: there is no keypoint number {shown(keypoint)}")
        if instance is not None and not isinstance(instance, str):
            raise Refused(f"next: expected the uid of an instance, got {shown(instance)}")
        return Cursor(category, instance, keypoint)

    def _image_of(self, edit: dict[str, Any]) -> ImageInfo:
        index = edit.get("image")
        if not is_index(index, len(self._sheet.images)):
            raise Refused(f"there is no image number {shown(index)}")
        assert isinstance(index, int)
        return self._sheet.images[index]

    def _instance_of(self, edit: dict[str, Any]) -> Any:
        uid = text_of(edit, "instance")
        try:
            instance = self._instance(uid)
        except KeyError:
            raise Refused("This instance has been removed meanwhile.") from None
        if instance.image.index != self._image_of(edit).index:
            raise Refused(f"instance {uid!r} is not in image number {edit['image']!r}")
        if uid in self._locked and edit["op"] != "flags":
            raise Refused("This instance is locked.")
        return instance

    def _instance(self, uid: str) -> Any:
        """The instance of this uid, of those that can be shown; KeyError if there is none."""
        return self._sheet.instance(uid)

    def _in_schema(self, cursor: Cursor) -> Cursor:
        """A cursor of a step, which may be from before a change of the schema."""
        n_keypoints = self._dataset.categories[cursor.category].n_keypoints
        is_there = cursor.keypoint is None or cursor.keypoint < n_keypoints
        return cursor if is_there else replace(cursor, keypoint=0)

    def _settle(self, cursor: Cursor, image: int) -> None:
        """Take the cursor of an edit of an image, unless another is shown or its instance gone."""
        if image != self._index:
            return
        cursor = self._in_schema(cursor)
        if cursor.instance is not None:
            try:
                instance = self._instance(cursor.instance)
            except KeyError:
                cursor = Cursor(cursor.category, None, cursor.keypoint or 0)
            else:
                if instance.image.index != self._index:
                    return
        if cursor.instance != self._cursor.instance:
            self._dirty |= {"skeletons", "active"}
        self._cursor = cursor
        self._dirty.add("scene")

    def _apply_cursor(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        self._settle(self._next(edit), self._image_of(edit).index)

    def _apply_flags(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        uid = self._instance_of(edit).uid
        for name, where in (("hidden", self._hidden), ("locked", self._locked)):
            value = edit.get(name)
            if value is True:
                where.add(uid)
            elif value is False:
                where.discard(uid)
            elif value is not None:
                raise Refused(f"{name}: expected true or false, got {shown(value)}")
        self._dirty |= {"skeletons", "active"}

    def _apply_goto(self, edit: dict[str, Any], token: tuple[str, int]) -> None:
        try:
            self._show(self._find_image(edit.get("to")))
        except Refused as refusal:
            # Not a failure: the last image has no next one.
            self._notify("info", words(refusal))

    def _find_image(self, to: Any) -> int:
        """Index of the image that was asked for: a number, a word, or part of a file name."""
        n = len(self._dataset.images)
        if is_index(to, n):
            return int(to)
        if to in ("next", "previous"):
            index = self._index + (1 if to == "next" else -1)
            if not 0 <= index < n:
                raise Refused(f"This is the {'last' if to == 'next' else 'first'} image.")
            return index
        if to == "unlabeled":
            for step in range(1, n + 1):
                index = (self._index + step) % n
                if self._dataset.images[index].status == "unlabeled":
                    return index
            raise Refused("There is no unlabeled image left.")
        if isinstance(to, str) and to.strip():
            wanted = to.strip().casefold()
            if wanted.isdecimal() and len(wanted) < 20 and 1 <= int(wanted) <= n:
                return int(wanted) - 1
            hits = [i for i in range(n) if wanted in self._dataset.images[i].file_name.casefold()]
            if hits:
                later = [i for i in hits if i > self._index]
                return (later or hits)[0]
            wanted = shown(to.strip())
            raise Refused(f"No image has {wanted} in its name; numbers go from 1 to {n}.")
        raise Refused(f"There is no image {shown(to)}; numbers go from 1 to {n}.")

    def _show(self, index: int) -> None:
        """Go to another image; the cursor starts anew there."""
        if index == self._index:
            return
        self._index = index
        self._cursor = Cursor(self._cursor.category)
        self._picture = None
        self._detail = None
        self._dirty |= {"scene", *LAYERS}

    def _on_dataset_change(self, change: Change) -> None:
        """Called by the dataset in the thread that made the edit, code's and our own alike.

        It holds its lock: no scene with the edit is told before the layers are known to be old.
        """
        with self._dataset.lock:
            self._dirty.add("scene")
            for part in change.step.changes:
                if part.what == "schema":
                    self._dirty |= {"skeletons", "active"}
                    state = part.before if change.kind == "undo" else part.after
                    self._move_cursors(-1 - part.image, state.sources)
                uid = part.uid
                if part.what == "instance" and uid is not None and uid not in self._sheet:
                    # An instance that comes back by undo is seen, and can be edited.
                    self._hidden.discard(uid)
                    self._locked.discard(uid)
            if self._index in change.images:
                active = self._cursor.instance
                self._forget_removed()
                if any(part.what == "instance" for part in change.step.changes):
                    # Every instance behind it has another number, and so another colour.
                    self._dirty |= {"skeletons", "active"}
                if change.instances - {active}:
                    self._dirty.add("skeletons")
                if active in change.instances:
                    self._dirty.add("active")
        self._publisher.wake()

    def _forget_removed(self) -> None:
        """Have no active instance any more if it is gone."""
        active = self._cursor.instance
        if active is None:
            return
        try:
            self._instance(active)
        except KeyError:
            self._cursor = Cursor(self._cursor.category)
            self._dirty |= {"skeletons", "active"}

    def _move_cursors(self, category: int, sources: Sequence[int]) -> None:
        """Leave each cursor at its keypoint in another schema of a category."""
        self._cursor = self._cursor.moved(category, sources)

    def _on_callback_error(self, error: BaseException) -> None:
        self._notify(
            "error", f"A callback of dataset.on_change failed: {words(error)} (the edit is kept)"
        )

    def _notify(self, level: str, text: str) -> None:
        with self._dataset.lock:
            self._outgoing.append({"kind": "notice", "level": level, "text": text})
        self._publisher.wake()

    def _publish(self) -> None:
        """Tell the browser everything that has changed, in one order. Called by the publisher."""
        with self._dataset.lock:
            if self._is_closed:
                return
            if self._clients and self._clients.keys() <= self._gone:
                return  # every view is gone: what is dirty now is told to the next one
            if "scene" in self._dirty:
                self._publish_scene()
            if not self._clients:
                return  # no view has said hello: a message now might be lost
            outgoing, self._outgoing = self._outgoing, []
            for message in outgoing:
                self.send(message, buffers=message.pop("buffers", None))
            for name, client in self._clients.items():
                if client.acknowledged < client.durable:
                    client.acknowledged = client.durable
                    self.send(
                        {
                            "kind": "ack",
                            "client": name,
                            "seq": client.durable,
                            "version": self._version,
                        }
                    )
            self._publish_painting()

    def _publish_scene(self) -> None:
        self._dirty.discard("scene")
        self._version += 1
        with self.hold_sync():  # names of keypoints come with the points
            if self._dataset.categories != self._told_categories:
                # A merge brings new ones; names, or schemas, may have been changed.
                self._told_categories = self._dataset.categories
                self.categories = [category_to_wire(c) for c in self._told_categories]
                if self.templates:  # of keypoints that may be others now; they are learnt anew
                    self.templates = []
                    self._publisher.plan_prefetch()
            self.scene = self._scene()

    def _scene(self) -> dict[str, Any]:
        """What the browser must know of the image that is shown."""
        dataset = self._dataset
        image = self.image
        picture = self._picture
        categories = {category.id: i for i, category in enumerate(dataset.categories)}
        width, height, error = 0, 0, ""
        try:
            width, height = image.size
        except (ImageError, OSError) as problem:
            error = words(problem)
        if picture is not None and picture.error:
            error = picture.error
        return {
            "version": self._version,
            "dataset": dataset.uid,
            "schemas": self._schemas(),
            "image": {
                "index": image.index,
                "count": len(dataset.images),
                "name": sendable(image.file_name),
                "width": width,
                "height": height,
                "status": image.status,
                "note": sendable(picture.note) if picture else "",
                "error": error,
            },
            "cursor": self._cursor.to_wire(),
            "instances": [
                {
                    "uid": instance.uid,
                    "category": categories[instance.category.id],
                    "ordinal": ordinal,
                    "points": flat_points(instance.keypoints),
                    "finished": instance.is_finished,
                    "bbox": given_box(instance),
                    "hidden": instance.uid in self._hidden,
                    "locked": instance.uid in self._locked,
                }
                for ordinal, instance in self._instances()
            ],
            "done": dataset.n_done,
            "undo": None,
            "redo": None,
            "saved": {"state": "saved", "text": ""},
            "others": {"edits": 0, "who": ""},
            "conflicts": [],
            "arrows": self._arrows().ravel().tolist(),
        }

    def _instances(self) -> list[tuple[int, Instance]]:
        """The instances of the image that are shown, each with its number in the image."""
        return list(enumerate(self.image.instances))

    def _arrows(self) -> NDArray[np.float64]:
        """What is drawn besides: arrows from and to image pixels, shape (n, 2, 2)."""
        return np.empty((0, 2, 2))

    def _publish_painting(self) -> None:
        """Repaint the layers that are out of date, where the browser can show them."""
        if self._view is None or not (self._dirty & set(LAYERS)):
            return
        picture = self._picture
        if picture is None:
            self._load_picture(self._index)
            return  # the picture's arrival calls again; until then the old image stays as it is
        if self._view_index != picture.index:
            # Another image is fitted into the stage; the browser takes this from the painting.
            self._view, self._view_index = _fit(self._view, picture), picture.index
        layers: list[LayerName] = [layer for layer in LAYERS if layer in self._dirty]
        if "image" in layers:
            layers = list(LAYERS)
        view = self._view
        detail = self._detail if self._detail and self._detail.view == view else None
        wants_detail = self._wants_detail(picture, view)
        if "detail" in layers and detail is None and wants_detail and "image" not in layers:
            self._load_detail(view)
            layers.remove("detail")
            self._dirty.discard("detail")
        if not layers:
            return
        self._dirty -= set(layers)
        if "image" in layers and wants_detail:
            self._dirty.add("detail")
        self._paint += 1
        encoded = picture.encoded
        for layer in ("skeletons", "active", "detail"):
            if layer in layers and (layer != "detail" or detail):
                self._painter.grow(layer, view.w * view.dpr, view.h * view.dpr)
        if "image" in layers and encoded is not None:
            # A larger picture wipes its layer: not before its bytes are there.
            self._send_picture("image", encoded)
            self._painter.grow("image", encoded.width, encoded.height)
        elif "detail" in layers and detail is not None:
            self._send_picture("detail", detail.encoded)
        self.send(
            {
                "kind": "painting",
                "client": self._leader,
                "rev": self._leader_rev,
                "paint": self._paint,
                "layers": layers,
                "viewport": list(view.viewport),
                "dpr": view.dpr,
                "w": view.w,
                "h": view.h,
                "version": self._version,
                "picture": [encoded.width, encoded.height] if encoded else None,
            }
        )
        with self._painter.batch(self._paint):
            self._draw(layers, picture, detail, view)
        if "image" in layers:
            self._publisher.plan_prefetch()
        self._publisher.plan_poster()
        if self._dirty & set(LAYERS):
            self._publisher.wake()

    def _send_picture(self, layer: LayerName, encoded: EncodedImage) -> None:
        # What the browser has already is not sent a second time.
        is_there = encoded.data is self.preview
        self.send(
            {"kind": "picture", "layer": layer, "mime": encoded.mime, "paint": self._paint},
            buffers=[] if is_there else [encoded.data],
        )

    def _draw(
        self,
        layers: list[LayerName],
        picture: Picture,
        detail: Detail | None,
        view: View,
    ) -> None:
        painter = self._painter
        encoded = picture.encoded
        if "image" in layers:
            if encoded is None:
                painter.clear("image")
            else:
                painter.paint_picture("image", 0, 0, encoded.width, encoded.height, smooth=True)
        if "detail" in layers:
            if detail is not None and "image" not in layers:
                x0, y0, x1, y1 = detail.region
                corner = view.to_device(np.array((x0, y0)))
                k = view.scale * view.dpr
                painter.paint_picture(
                    "detail",
                    float(corner[0]),
                    float(corner[1]),
                    (x1 - x0) * k,
                    (y1 - y0) * k,
                    # Large pixels are shown as they are, so that their edges can be aimed at.
                    smooth=k < 3,
                )
                self._has_detail = True
            elif self._has_detail:
                painter.clear("detail")
                self._has_detail = False
        active = self._cursor.instance
        shown = [
            (ordinal, instance)
            for ordinal, instance in self._instances()
            if instance.uid not in self._hidden
        ]
        for layer, is_active in (("skeletons", False), ("active", True)):
            if layer in layers:
                some = _figures([row for row in shown if (row[1].uid == active) is is_active])
                if not is_active:
                    some.arrows = self._arrows()
                painter.paint_figures(layer, some, view, is_active=is_active)

    def _load_picture(self, index: int) -> None:
        """Have the preview of an image made; `_picture` and a repaint follow."""
        known = self._previews.get(index)
        if known is not None:
            self._previews.move_to_end(index)
            self._take_picture(known)
            return
        image = self._dataset.images[index]
        job = self._pictures.submit(("preview", index), partial(encode_preview, image))
        job.add_done_callback(self._keep_picture)

    def _keep_picture(self, done: Future[Picture]) -> None:
        if done.cancelled():
            return
        picture = done.result()
        with self._dataset.lock:
            if self._is_closed:
                return
            if not picture.error:  # a file that is missing now may be there the next time
                self._previews[picture.index] = picture
                self._previews.move_to_end(picture.index)
            while len(self._previews) > _KEPT_PREVIEWS:
                self._previews.popitem(last=False)
            if picture.index == self._index and self._picture is None:
                if picture.encoded is not None and not self._clients:
                    self.preview = picture.encoded.data
                self._take_picture(picture)
        self._publisher.wake()

    def _take_picture(self, picture: Picture) -> None:
        self._picture = picture
        self._dirty |= set(LAYERS)
        if picture.error or picture.note:
            self._dirty.add("scene")
        self._publisher.wake()

    def _wants_detail(self, picture: Picture, view: View) -> bool:
        """Whether the screen can show more than the preview holds."""
        encoded = picture.encoded
        if encoded is None or picture.width == 0 or picture.is_stretched:
            return False
        is_finer = view.scale * view.dpr > 1.05 * encoded.width / picture.width
        return is_finer and not (encoded.is_full_resolution and encoded.is_lossless)

    def _load_detail(self, view: View) -> None:
        picture = self._picture
        image = self.image
        assert picture is not None
        low = geometry.canvas_to_image(np.array((0.0, 0.0)), view.viewport)
        high = geometry.canvas_to_image(np.array((view.w, view.h)), view.viewport)
        x0, y0 = (max(0, math.floor(v)) for v in low)
        x1, y1 = min(picture.width, math.ceil(high[0])), min(picture.height, math.ceil(high[1]))
        source = image.source
        if x1 <= x0 or y1 <= y0:
            return

        def encode() -> Detail:
            encoded = source.region(
                x0, y0, x1, y1, math.ceil(view.w * view.dpr), math.ceil(view.h * view.dpr)
            )
            return Detail(image.index, view, encoded, (x0, y0, x1, y1))

        job = self._pictures.submit(("detail", 0), encode)
        job.add_done_callback(self._take_detail)

    def _take_detail(self, done: Future[Detail]) -> None:
        if done.cancelled():
            return
        try:
            detail = done.result()
        except (ValueError, OSError) as error:
            self._notify("error", f"The full resolution cannot be shown: {words(error)}")
            return
        with self._dataset.lock:
            if detail.index == self._index and detail.view == self._view:
                self._detail = detail
                self._dirty.add("detail")
        self._publisher.wake()

    def _prefetch(self) -> None:
        """Encode the neighbours' previews while nothing else is to be done."""
        with self._dataset.lock:
            if self._is_closed:
                return
            images = [self._dataset.images[i] for i in self._near() if i not in self._previews]
        for image in images:
            job = self._pictures.submit(
                ("preview", image.index), partial(encode_preview, image), is_urgent=False
            )
            job.add_done_callback(self._keep_picture)

    def _near(self) -> list[int]:
        """The images that one is likely to go to next."""
        n = len(self._dataset.images)
        return [i for i in (self._index + 1, self._index - 1) if 0 <= i < n]

    # -- what only an annotator does ------------------------------------------------------------

    def _check(self) -> None:
        """Look again at what takes longer than an edit may."""

    def _autosave(self) -> None:
        """Save the labels file without being asked."""

    def _look_for_others(self) -> None:
        """See whether others have edited what is shown."""

    # -- the poster -----------------------------------------------------------------------------

    def _poster_parts(self) -> list[tuple[Any, bool]]:
        active = self._cursor.instance
        shown = [row for row in self._instances() if row[1].uid not in self._hidden]
        parts = [
            (_figures([row for row in shown if (row[1].uid == active) is flag]), flag)
            for flag in (False, True)
        ]
        parts[0][0].arrows = self._arrows()
        return parts

    def _draw_still(self, index: int, parts: list[tuple[Any, bool]], max_side: int) -> PILImage:
        from io import BytesIO

        from PIL import Image

        image = self._dataset.images[index]
        with self._dataset.lock:
            known = self._previews.get(index)
        picture = known or encode_preview(image)
        if picture.encoded is None:
            size = (max(1, picture.width or 640), max(1, picture.height or 480))
            still: PILImage = Image.new("RGB", size, (96, 96, 96))
            full = size[0]
        else:
            still = Image.open(BytesIO(picture.encoded.data)).convert("RGB")
            full = picture.width
            if picture.is_stretched:
                still = still.resize(
                    (still.width, max(1, round(still.width * picture.height / full)))
                )
        still.thumbnail((max_side, max_side))
        drawn: PILImage = draw_poster(still, parts, still.width / max(1, full))
        return drawn

    def _make_poster(self) -> None:
        """Put a still picture into the `poster` trait, for notebooks without a kernel."""
        from io import BytesIO

        with self._dataset.lock:
            if self._is_closed or self._picture is None:
                return
            index, parts = self._index, self._poster_parts()
        still = self._draw_still(index, parts, _POSTER_SIDE)
        for quality in (75, 60, 45, 30, 15, 5):
            buffer = BytesIO()
            still.save(buffer, "WEBP", quality=quality, method=2)
            if buffer.tell() <= _POSTER_BYTES:
                break
        with self._dataset.lock:
            if not self._is_closed:
                self.poster = buffer.getvalue()
                self.preview = b""


def _figures(rows: list[tuple[int, Instance]]) -> Any:
    return figures(
        [instance.keypoints for _, instance in rows],
        [ordinal for ordinal, _ in rows],
        [instance.bbox if instance.bbox_source == "given" else None for _, instance in rows],
        [instance.category.schema for _, instance in rows],
    )


def _fit(view: View, picture: Picture) -> View:
    """The viewport that shows the whole image in a stage of the same size."""
    width, height = max(1, picture.width), max(1, picture.height)
    scale, tx, ty = geometry.fit_viewport(width, height, view.w, view.h, margin=FIT_MARGIN)
    return View(float(scale), float(tx), float(ty), view.dpr, view.w, view.h)
