"""The schema designer: an image or a blank sheet in, a schema out."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any, Final

import ipywidgets
import numpy as np
import traitlets as t

from ..dataset import Dataset, ImageInfo
from ..images import ImageSource, trouble_with_small_picture
from ..schema import REFERENCE_SIDE, FormatError, Schema, reference_to_url
from .annotator import Annotator
from .draft import Draft, text_of_metadata
from .pane import MAX_KEYPOINTS, MAX_TEXT, read_text
from .stage import Bundled
from .wire import Refused, is_index, number_of, sendable, shown, text_of, whole_of, words

#: What an edit of a schema may do; `js/src/design.ts` has the same list.
DESIGN_OPS: Final = (
    "add",
    "move",
    "remove",
    "rename",
    "order",
    "color",
    "define",
    "crop",
    "join",
    "part",
    "pair",
    "title",
    "text",
    "undo",
    "redo",
    "try",
)
#: Size of the blank sheet, in pixels.
BLANK: Final = (640, 480)
_KEPT_STEPS: Final = 500
#: How many edits may wait for an earlier one.
_MAX_HELD: Final = 10_000
_MAX_VIEWS: Final = 100


class SchemaDesigner(Bundled):
    """A designer for schemas, as a widget: draw keypoints and edges, or paste metadata.

    Display it as the last line of a notebook cell. What is on the screen is at once in `schema`,
    which can be observed: ``designer.observe(callback, "schema")``. The callback runs in the thread
    that the edit came in, which may not be the main one.

    Parameters
    ----------
    image : str, os.PathLike, bytes, ndarray, PIL.Image.Image or ImageInfo, optional
        What to draw on. By default a blank sheet of 640 x 480 pixels.
    schema : Schema or mapping, optional
        What to begin with: a schema, or metadata as `Schema.from_metadata` takes it.
    height : int
        Height of the picture in CSS px.

    Attributes
    ----------
    schema : Schema or None
        What is drawn; None while there is no keypoint. Its `layout` is the figure that the points
        make, fitted into [0.08, 0.92] with its proportions kept, or the one of the metadata.

    Raises
    ------
    ImageError
        If the image cannot be read.
    FormatError
        If the metadata is wrong, naming every problem.
    TypeError
        If a keyword is not known, or an argument of another type.
    """

    #: Points, edges and pairs as drawn, the text of the pane, what undo would do, what is wrong
    #: with the text, and the number of the last edit of each view; replaced as a whole.
    design = t.Dict().tag(sync=True)
    #: Small pictures of keypoints as ``data:`` URLs, each with the keypoint's id.
    references: t.List[Any] = t.List().tag(sync=True)
    #: Name, width and height of what is drawn on, in pixels; "name" is empty for a blank sheet.
    sheet = t.Dict().tag(sync=True)
    #: The picture, as a browser shows it; empty for a blank sheet.
    picture = t.Bytes(b"").tag(sync=True)
    #: The annotator that "Try it" opens below.
    trial = t.Instance(ipywidgets.Widget, allow_none=True).tag(
        sync=True, **ipywidgets.widget_serialization
    )
    schema = t.Instance(Schema, allow_none=True, read_only=True)

    def __init__(
        self,
        image: Any = None,
        schema: Any = None,
        height: int = 480,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"SchemaDesigner got unknown keywords {sorted(unknown)}; "
                "it takes image, schema and height"
            )
        self._lock = threading.RLock()
        self._name, self._source = _source_of(image)
        self._size = BLANK if self._source is None else self._source.size
        self._past: list[tuple[str, str, Draft]] = []
        self._future: list[tuple[str, Draft]] = []
        self._applied: dict[str, int] = {}
        self._held: dict[str, dict[int, dict[str, Any]]] = {}
        self._reading: dict[str, Any] | None = None
        self._tried: tuple[Draft, Dataset] | None = None
        self._draft = Draft()
        if schema is not None:
            if not isinstance(schema, Schema):
                schema = Schema.from_metadata(schema)
            self._draft = Draft().read(_metadata_with_figure(schema), self._size)
        preview = None if self._source is None else self._source.preview()
        super().__init__(
            height=height,
            sheet={"name": self._name, "width": self._size[0], "height": self._size[1]},
            picture=b"" if preview is None else preview.data,
            layout=ipywidgets.Layout(width="100%"),
        )
        self._tell()
        self.on_msg(self._receive)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the schema, ready for `json.dumps`; empty while there is no keypoint."""
        schema = self.schema
        return {} if schema is None else schema.to_metadata()

    @property
    def dataset(self) -> Dataset | None:
        """What was labeled by "Try it", on the same image; None before.

        It is a new dataset when the schema has changed since the last "Try it": with the labels of
        the one before, for the keypoints that are still there.
        """
        return None if self._tried is None else self._tried[1]

    def try_it(self) -> Annotator:
        """Open an annotator with the schema, below the designer, on the same image.

        Returns
        -------
        Annotator
            Its labels are in `dataset`, in memory only: write them with `kpwidget.write`.

        Raises
        ------
        ValueError
            If there is no keypoint yet.
        """
        with self._lock:
            draft = self._draft
            if draft.schema is None:
                raise Refused("There is no keypoint yet: click on the picture to add one.")
            if self._tried is None or self._tried[0].metadata != draft.metadata:
                self._tried = (draft, self._carried_over(draft, draft.schema))
            previous = self.trial
            if (
                isinstance(previous, Annotator)
                and previous.dataset is self.dataset
                and not previous._is_closed
            ):
                return previous
            annotator = Annotator(self._tried[1], height=self.height, journal=False)
            self.trial = annotator
            if previous is not None:
                previous.close()
            return annotator

    def _carried_over(self, draft: Draft, schema: Schema) -> Dataset:
        """A dataset of the image with the labels there were, for the keypoints that are left."""
        source = self._source
        pixels = np.full((BLANK[1], BLANK[0], 3), 255, np.uint8)
        image = pixels if source is None else source.to_array()
        dataset = Dataset.from_images({self._name or "sheet": image}, schema)
        if self._tried is not None:
            before, labeled = self._tried
            position = {point: k for k, point in enumerate(before.ids)}
            with dataset.transaction("carry over"):
                for instance in labeled.instances:
                    points = np.zeros((schema.n_keypoints, 3))
                    for k, point in enumerate(draft.ids):
                        if point in position and instance.keypoints[position[point], 2] > 0:
                            points[k] = instance.keypoints[position[point]]
                    dataset.add_instance(
                        0,
                        keypoints=points,
                        bbox=instance.bbox if instance.bbox_source == "given" else None,
                        uid=instance.uid,
                        is_finished=instance.is_finished,
                    )
        return dataset

    def close(self) -> None:
        """End the widget on both sides. The schema and what is labeled stay."""
        if self.trial is not None:
            self.trial.close()
        super().close()

    def __repr__(self) -> str:
        return f"SchemaDesigner({self.schema!r})"

    # -- messages ---------------------------------------------------------------------------------

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "anywidget-command":
            return  # anywidget's own; it has a handler of its own
        try:
            if kind != "edits":
                raise Refused(f"unknown message {shown(kind)} from the browser")
            client, base = text_of(content, "client"), whole_of(content, "base")
            edits = content.get("edits")
            if not isinstance(edits, list):
                raise Refused(f"edits: expected a list, got {type(edits).__name__}")
            with self._lock:
                self._take(client, base, edits)
                self._tell()
        except (ValueError, TypeError, KeyError) as error:
            self._say(f"A message from the browser was refused: {words(error)}")

    def _say(self, text: str, level: str = "error") -> None:
        self.send({"kind": "notice", "level": level, "text": sendable(text)})

    def _take(self, client: str, base: int, edits: list[Any]) -> None:
        """Apply edits in the order of their numbers, each once: a later message may come first."""
        held = self._held.setdefault(client, {})
        if len(self._held) > _MAX_VIEWS:  # the oldest is of a page that is long gone
            oldest = next(iter(self._held))
            del self._held[oldest]
            self._applied.pop(oldest, None)
        applied = max(self._applied.get(client, 0), base)
        for edit in edits:
            if not isinstance(edit, dict):
                raise Refused(f"edit: expected an object, got {shown(edit)}")
            number = whole_of(edit, "seq")
            if number > applied and len(held) < _MAX_HELD:
                held[number] = edit
        while (edit := held.pop(applied + 1, None)) is not None:
            applied += 1
            self._applied[client] = applied  # also of one that is refused: it is answered
            try:
                self._apply({**edit, "client": client})
            except (ValueError, TypeError, KeyError, OSError) as error:
                self._say(words(error))
        self._applied[client] = applied

    def _tell(self) -> None:
        """Have the browser, and who observes `schema`, know what is drawn now."""
        draft = self._draft
        schema = draft.schema
        failure = ""
        try:
            self.set_trait("schema", schema)
        except Exception as error:  # a person's callback; the trait is set, and the view goes on
            failure = f"A callback that observes schema failed: {words(error)}"
        names = draft.names
        index = {name: k for k, name in enumerate(names)}
        said = schema.definitions if schema else {}
        pictures = schema.references if schema else {}
        self.references = [
            {"id": draft.ids[index[name]], "url": reference_to_url(data)}
            for name, data in pictures.items()
        ]
        self.design = {
            "applied": [{"client": one, "seq": seq} for one, seq in self._applied.items()],
            "name": str(draft.metadata.get("name") or ""),
            "points": [
                {
                    "id": draft.ids[k],
                    "name": name,
                    "x": draft.xy[k][0],
                    "y": draft.xy[k][1],
                    "color": schema.colors[k] if schema else "",
                    "side": schema.sides[k] if schema else None,
                    "definition": said.get(name, ""),
                }
                for k, name in enumerate(names)
            ],
            "edges": [
                [draft.ids[a], draft.ids[b]] for a, b in (schema.edges.tolist() if schema else ())
            ],
            "pairs": [
                [draft.ids[index[a]], draft.ids[index[b]]]
                for a, b in (schema.flip_pairs if schema else ())
            ],
            "text": sendable(text_of_metadata(draft.metadata)),
            "undo": self._past[-1][0] if self._past else "",
            "redo": self._future[-1][0] if self._future else "",
            "reading": self._reading,
        }
        if failure:
            self._say(failure)

    # -- the edits --------------------------------------------------------------------------------

    def _apply(self, edit: dict[str, Any]) -> None:
        op = edit.get("op")
        if not isinstance(op, str) or op not in DESIGN_OPS:
            raise Refused(f"op: expected one of {', '.join(DESIGN_OPS)}, got {shown(op)}")
        getattr(self, f"_apply_{op}")(edit)

    def _step(self, label: str, draft: Draft, edit: dict[str, Any]) -> None:
        """Make a draft the current one, as one step of undo; edits of one burst are one step."""
        try:
            _ = draft.schema  # every field is checked anew: `schema` is never a wrong one
        except FormatError as error:
            lines = [one.removeprefix("schema: ") for one in error.problems]
            raise Refused("; ".join(lines)) from error
        if draft.metadata == self._draft.metadata and draft.xy == self._draft.xy:
            return
        burst = edit.get("burst")
        burst = burst if isinstance(burst, str) else ""
        if not (burst and self._past and self._past[-1][1] == burst):
            self._past.append((label, burst, self._draft))
            del self._past[:-_KEPT_STEPS]
        self._future.clear()
        self._draft = draft

    def _index(self, edit: dict[str, Any], key: str = "id") -> int:
        point = text_of(edit, key)
        if point not in self._draft.ids:
            raise Refused("This keypoint has been removed meanwhile.")
        return self._draft.ids.index(point)

    def _name_of(self, edit: dict[str, Any], k: int | None = None) -> str:
        name = text_of(edit, "name")
        if not name.strip():
            raise Refused("A keypoint needs a name.")
        if name in self._draft.names and (k is None or self._draft.names[k] != name):
            raise Refused(f"The name {shown(name)} is that of another keypoint.")
        return name

    def _place_of(self, edit: dict[str, Any]) -> tuple[float, float]:
        x, y = number_of(edit, "x"), number_of(edit, "y")
        width, height = self._size
        if not (0 <= x <= width and 0 <= y <= height):
            raise Refused(f"({x:g}, {y:g}) is outside the image of {width}x{height} pixels.")
        return x, y

    def _apply_add(self, edit: dict[str, Any]) -> None:
        point = text_of(edit, "id")
        if point in self._draft.ids:
            raise Refused(f"id: expected that of a new keypoint, got {shown(point)}")
        if len(self._draft.ids) >= MAX_KEYPOINTS:
            raise Refused(f"A schema drawn here has at most {MAX_KEYPOINTS:,} keypoints.")
        name = self._name_of(edit)
        before = self._draft.metadata
        self._step(f"add {name}", self._draft.add(point, name, self._place_of(edit)), edit)
        if "sigmas" in before:
            text = "The sigmas are gone, for the new keypoint has none. Undo brings them back."
            self._say(text, "info")

    def _apply_move(self, edit: dict[str, Any]) -> None:
        k = self._index(edit)
        self._step(f"move {self._draft.names[k]}", self._draft.move(k, self._place_of(edit)), edit)

    def _apply_remove(self, edit: dict[str, Any]) -> None:
        k = self._index(edit)
        self._step(f"remove {self._draft.names[k]}", self._draft.remove(k), edit)

    def _apply_rename(self, edit: dict[str, Any]) -> None:
        k = self._index(edit)
        name = self._name_of(edit, k)
        self._step(f"rename {self._draft.names[k]}", self._draft.rename(k, name), edit)

    def _apply_order(self, edit: dict[str, Any]) -> None:
        k, to = self._index(edit), edit.get("to")
        if not isinstance(to, int) or not is_index(to, len(self._draft.ids)):
            raise Refused(f"to: expected a position in the list, got {shown(to)}")
        after = self._draft.order(k, to)
        lost = self._draft.lost_parts(after)
        self._step(f"move {self._draft.names[k]} in the list", after, edit)
        if lost:
            self._say(
                f"No longer a run of keypoints, so gone: {', '.join(map(shown, lost))}. "
                "Undo brings it back.",
                "info",
            )

    def _apply_color(self, edit: dict[str, Any]) -> None:
        k = self._index(edit)
        self._step(
            f"colour of {self._draft.names[k]}", self._draft.color(k, text_of(edit, "color")), edit
        )

    def _apply_define(self, edit: dict[str, Any]) -> None:
        k, text = self._index(edit), edit.get("text")
        if not isinstance(text, str) or len(text) > 1000:
            raise Refused(f"text: expected a line, got {shown(text)}")
        after = self._draft.say("definitions", k, text.strip() or None)
        self._step(f"definition of {self._draft.names[k]}", after, edit)

    def _apply_crop(self, edit: dict[str, Any]) -> None:
        k, box = self._index(edit), edit.get("box")
        url = None
        if box is not None:
            if not isinstance(box, list) or len(box) != 4:
                raise Refused(f"box: expected [x0, y0, x1, y1] or null, got {shown(box)}")
            keys = ("x0", "y0", "x1", "y1")
            numbers = [number_of(dict(zip(keys, box, strict=True)), key) for key in keys]
            url = reference_to_url(self._crop(*numbers))
        after = self._draft.say("references", k, url)
        self._step(f"reference picture of {self._draft.names[k]}", after, edit)

    def _crop(self, x0: float, y0: float, x1: float, y1: float) -> bytes:
        """A part of the image as a small JPEG."""
        if self._source is None:
            raise Refused("A blank sheet has nothing to crop: give the designer an image.")
        width, height = self._size
        x0, x1 = (min(max(x, 0.0), width) for x in (x0, x1))
        y0, y1 = (min(max(y, 0.0), height) for y in (y0, y1))
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise Refused("The box is smaller than one pixel: drag a larger one.")
        from PIL import Image

        found = self._source.region(x0, y0, x1, y1, REFERENCE_SIDE, REFERENCE_SIDE)
        picture = Image.open(io.BytesIO(found.data)).convert("RGB")
        picture.thumbnail((REFERENCE_SIDE, REFERENCE_SIDE))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=85)
        trouble = trouble_with_small_picture(out.getvalue(), REFERENCE_SIDE)
        if trouble:
            raise Refused(f"The part of the image cannot be used: {trouble}")
        return out.getvalue()

    def _apply_join(self, edit: dict[str, Any]) -> None:
        a, b = self._two(edit)
        self._step("add edge", self._draft.join(a, b), edit)

    def _apply_part(self, edit: dict[str, Any]) -> None:
        a, b = self._two(edit)
        self._step("remove edge", self._draft.part(a, b), edit)

    def _two(self, edit: dict[str, Any]) -> tuple[int, int]:
        a, b = self._index(edit, "a"), self._index(edit, "b")
        if a == b:
            raise Refused("A keypoint cannot go with itself: two are needed.")
        return a, b

    def _apply_pair(self, edit: dict[str, Any]) -> None:
        """Make `left` and `right` a pair; without `right` take away the pair of `left`."""
        left = self._index(edit, "left")
        right = None if edit.get("right") is None else self._index(edit, "right")
        if left == right:
            raise Refused("A keypoint cannot go with itself: two are needed.")
        self._step("left and right", self._draft.pair(left, right), edit)

    def _apply_title(self, edit: dict[str, Any]) -> None:
        name = text_of(edit, "name")
        if not name.strip():
            raise Refused("A schema needs a name.")
        self._step("name of the schema", self._draft.title(name), edit)

    def _apply_text(self, edit: dict[str, Any]) -> None:
        text, choice = edit.get("text"), edit.get("choice")
        if not isinstance(text, str):
            raise Refused(f"text: expected text, got {shown(text)}")
        reading = read_text(text[: MAX_TEXT + 1], choice if isinstance(choice, int) else None)
        self._reading = {
            # So that a view knows whether this is about what stands in its pane.
            "client": text_of(edit, "client"),
            "seq": whole_of(edit, "seq"),
            "kind": reading.kind,
            "choices": [sendable(name) for name in reading.choices],
            "problems": [
                {**one, "message": sendable(one["message"])}
                for one in (problem.to_wire(text) for problem in reading.problems)
            ],
        }
        if reading.metadata is not None:
            draft = self._draft.read(reading.metadata, self._size)
            self._step("edit the text", draft, edit)

    def _apply_undo(self, edit: dict[str, Any]) -> None:
        if not self._past:
            raise Refused("There is nothing to undo.")
        label, _, before = self._past.pop()
        self._future.append((label, self._draft))
        self._draft = before

    def _apply_redo(self, edit: dict[str, Any]) -> None:
        if not self._future:
            raise Refused("There is nothing to redo.")
        label, after = self._future.pop()
        self._past.append((label, "", self._draft))
        self._draft = after

    def _apply_try(self, edit: dict[str, Any]) -> None:
        self.try_it()


def _source_of(image: Any) -> tuple[str, ImageSource | None]:
    """Name and pixels of what a designer is given."""
    if image is None:
        return "", None
    if isinstance(image, ImageInfo):
        return image.file_name, image.source
    if isinstance(image, str | os.PathLike):
        return Path(os.fspath(image)).name, ImageSource(image)
    if not isinstance(image, bytes | np.ndarray) and hasattr(image, "__array_interface__"):
        image = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    if not isinstance(image, bytes | np.ndarray):
        raise TypeError(
            "image: expected a path, the bytes of a file, an array, a PIL image, an ImageInfo or "
            f"None for a blank sheet, got {type(image).__name__}"
        )
    return "image", ImageSource(image)


def _metadata_with_figure(schema: Schema) -> dict[str, Any]:
    """Metadata of a schema, with the name and the figure that do not stand in it."""
    metadata = schema.to_metadata()
    if schema.name != metadata.get("name", "schema"):
        metadata = {"name": schema.name, **{k: v for k, v in metadata.items() if k != "name"}}
    if schema._layout is not None and "layout" not in metadata:
        from .. import schemas

        if schemas.find_layout(schema.keypoints) is None:
            metadata["layout"] = schema._layout.tolist()
    return metadata
