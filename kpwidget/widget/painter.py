"""Draws what is committed on ipycanvas layers. All private ipycanvas API sits here.

The shapes are those of ``js/src/view.ts``, stroke for stroke and in the same order: the ink of an
edit and the painting that takes its place must look the same.

Three habits of ipycanvas 0.14.3 shape this module. Its front end runs the commands of a manager in
one promise chain without a catch, so that one bad command ends all drawing; its ``hold_canvas``
leaves caching on after an exception; and its Python side assumes that the front end still has the
canvas selected that it selected last, which a page reload makes untrue. So there is one manager for
one painter, a batch of its own that always starts by selecting a canvas, and every argument is
checked before it is sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import ipywidgets
import numpy as np
from ipycanvas.canvas import Canvas, _CanvasManager
from numpy.typing import NDArray

from .. import geometry
from ..schema import INSTANCE_COLORS

LayerName = Literal["image", "detail", "skeletons", "active"]
LAYERS: Final[tuple[LayerName, ...]] = ("image", "detail", "skeletons", "active")

#: Colours, radii and line widths in CSS px; sent to the browser as the ``look`` trait.
LOOK: Final[dict[str, Any]] = {
    "instanceColors": list(INSTANCE_COLORS),
    "halo": "#000000",
    "haloAlpha": 0.7,
    "haloWidth": 1.25,
    "radius": 3.5,
    "activeRadius": 5.0,
    "ringWidth": 2.0,
    "edgeWidth": 2.0,
    "activeEdgeWidth": 2.5,
    "edgeHaloWidth": 1.0,
    "boxWidth": 1.5,
    "arrow": "#ffffff",
    "arrowWidth": 1.5,
    "arrowHead": 7.0,
}

#: Canvases grow in steps of this many pixels and never shrink: a resize wipes a canvas.
_GROWTH = 256

#: No browser canvas is asked to be larger than this in either direction.
_MAX_CANVAS = 8192

#: A still picture is drawn so many times larger, and then made small.
_SMOOTHING = 4

#: Lines are cut off this many device pixels away: float32 holds whole pixels to 2**24.
_FAR = 1e6


@dataclass(frozen=True)
class View:
    """The viewport that a painting is made for.

    Attributes
    ----------
    scale, tx, ty : float
        The image point (x, y) lies at (tx + scale * x, ty + scale * y) CSS px.
    dpr : float
        Device pixels per CSS px.
    w, h : float
        Size of the stage in CSS px.
    """

    scale: float
    tx: float
    ty: float
    dpr: float
    w: float
    h: float

    def __post_init__(self) -> None:
        values = (self.scale, self.tx, self.ty, self.dpr, self.w, self.h)
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"viewport: expected finite numbers, got {values}")
        if not (1e-4 <= self.scale <= 1e4 and 0.1 <= self.dpr <= 16):
            raise ValueError(
                f"viewport: expected a scale in 1e-4..1e4 and a pixel ratio in 0.1..16, "
                f"got scale {self.scale}, pixel ratio {self.dpr}"
            )
        if not (abs(self.tx) <= 1e9 and abs(self.ty) <= 1e9):
            raise ValueError(
                f"viewport: expected an offset within 1e9 CSS px, got ({self.tx}, {self.ty})"
            )
        if not (1 <= self.w <= 32768 and 1 <= self.h <= 32768):
            raise ValueError(f"viewport: expected a size of 1..32768 CSS px, got {self.w}x{self.h}")

    @property
    def viewport(self) -> tuple[float, float, float]:
        """``(scale, tx, ty)``."""
        return (self.scale, self.tx, self.ty)

    def to_device(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Device pixels of the stage for image pixels `xy`, of any shape ending in 2."""
        offset = np.array((self.tx, self.ty))
        # A stranger's coordinate may be as large as a float can be; what overflows is out of sight.
        with np.errstate(over="ignore"):
            return np.asarray((xy * self.scale + offset) * self.dpr)


@dataclass
class Figures:
    """Instances to paint: everything in image pixels, one entry per point, edge or box.

    Attributes
    ----------
    xy : ndarray of shape (n_points, 2)
    visibility : ndarray of shape (n_points,)
        1 occluded, 2 visible.
    side : ndarray of shape (n_points,)
        0 circle, 1 square (left), 2 diamond (right).
    color : ndarray of shape (n_points, 3), uint8
    edges : ndarray of shape (n_edges, 2, 2)
    edge_color : ndarray of shape (n_edges, 3), uint8
    boxes : ndarray of shape (n_boxes, 4)
        x, y, width, height.
    box_color : ndarray of shape (n_boxes, 3), uint8
    arrows : ndarray of shape (n_arrows, 2, 2)
        From, to.
    """

    xy: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    visibility: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    side: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    color: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 3), np.uint8))
    edges: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2, 2)))
    edge_color: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 3), np.uint8))
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    box_color: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 3), np.uint8))
    arrows: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2, 2)))


def rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue (0..255) of '#rrggbb'."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def figures(
    keypoints: Sequence[NDArray[np.float64]],
    ordinals: Sequence[int],
    boxes: Sequence[tuple[float, float, float, float] | None],
    schemas: Sequence[Any],
) -> Figures:
    """What is to be painted for some instances, as flat arrays.

    Parameters
    ----------
    keypoints : sequence of ndarray of shape (n_keypoints, 3)
        x, y in image pixels and visibility, one array an instance.
    ordinals : sequence of int
        Number of each instance in its image: chooses the colour of its edges.
    boxes : sequence of (x, y, width, height) or None
    schemas : sequence of Schema
        The schema of each instance.
    """
    if not keypoints:
        return Figures()
    by_schema: dict[int, list[int]] = {}
    for i, schema in enumerate(schemas):
        by_schema.setdefault(id(schema), []).append(i)
    palette = np.array([rgb(color) for color in INSTANCE_COLORS], np.uint8)
    parts: list[tuple[NDArray[Any], ...]] = []
    lines: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for rows in by_schema.values():
        schema = schemas[rows[0]]
        points = np.stack([keypoints[i] for i in rows])
        color_of = palette[np.array([ordinals[i] for i in rows]) % len(palette)]
        is_labeled = points[..., 2] > 0
        point_color = np.array([rgb(color) for color in schema.colors], np.uint8)
        kind = np.array([{"left": 1, "right": 2}.get(s, 0) for s in schema.sides], np.uint8)
        which, k = np.nonzero(is_labeled)
        flags = points[which, k, 2].astype(np.uint8)
        parts.append((points[which, k, :2], flags, kind[k], point_color[k]))
        if len(schema.edges):
            a, b = schema.edges[:, 0], schema.edges[:, 1]
            which, e = np.nonzero(is_labeled[:, a] & is_labeled[:, b])
            ends = np.stack([points[which, a[e], :2], points[which, b[e], :2]], axis=1)
            lines.append((ends, color_of[which]))
    drawn = [
        (box, palette[n % len(palette)]) for box, n in zip(boxes, ordinals, strict=True) if box
    ]
    result = Figures(
        xy=np.concatenate([part[0] for part in parts]),
        visibility=np.concatenate([part[1] for part in parts]),
        side=np.concatenate([part[2] for part in parts]),
        color=np.concatenate([part[3] for part in parts]),
    )
    if lines:
        result.edges = np.concatenate([line[0] for line in lines])
        result.edge_color = np.concatenate([line[1] for line in lines])
    if drawn:
        result.boxes = np.array([box for box, _ in drawn], np.float64)
        result.box_color = np.array([color for _, color in drawn], np.uint8)
    return result


def _f32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Contiguous float32: the only kind of array that is sent."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError("a coordinate that is not finite cannot be painted")
    return array


def _css(color: str, alpha: float) -> str:
    red, green, blue = rgb(color)
    return f"rgba({red}, {green}, {blue}, {alpha})"


class Painter:
    """The canvases of one stage and how they are drawn on.

    Attributes
    ----------
    canvases : tuple of Canvas
        image, detail, skeletons, active, and last the source that pictures are painted from;
        empty until `open`.
    """

    def __init__(self) -> None:
        self.canvases: tuple[Canvas, ...] = ()

    def open(self) -> None:
        """Make the canvases, seven widgets in all, which takes both sides some time."""
        self._manager = _CanvasManager()
        layout = ipywidgets.Layout()
        made = [
            Canvas(
                width=1,
                height=1,
                layout=layout,
                _canvas_manager=self._manager,
                # The stage says hello itself, once its views are there: see annotator.py.
                _send_client_ready_event=False,
            )
            for _ in range(len(LAYERS) + 1)
        ]
        self._layers: dict[LayerName, Canvas] = dict(zip(LAYERS, made, strict=False))
        self._source = made[-1]
        self.canvases = tuple(made)

    def close(self) -> None:
        """Close the canvases and their manager on both sides."""
        if not self.canvases:
            return
        for canvas in self.canvases:
            canvas.close()
        self.canvases[0].layout.close()
        self._manager.close()

    @contextmanager
    def batch(self, paint: int) -> Iterator[None]:
        """Collect draw commands and send them as one message that ends with the number `paint`.

        Nothing is sent when the body raises, and the next batch starts clean.
        """
        manager = self._manager
        manager._caching = True
        manager._commands_cache, manager._buffers_cache = [], []
        manager._current_canvas = None
        try:
            yield
            # The browser reads this number back at the frame in which the batch came to the screen.
            self._layers["active"].line_width = float(paint)
            manager.flush()
        finally:
            manager._caching = False
            manager._commands_cache, manager._buffers_cache = [], []
            manager._current_canvas = None

    def grow(self, layer: LayerName, width: float, height: float) -> bool:
        """Make a layer at least so large, in device pixels; True if that wiped it."""
        canvas = self._layers[layer]
        grown = False
        with canvas.hold_sync():  # one message for both sides
            for side, needed in (("width", width), ("height", height)):
                steps = math.ceil(min(max(needed, 1), _MAX_CANVAS) / _GROWTH)
                if getattr(canvas, side) < steps * _GROWTH:
                    setattr(canvas, side, steps * _GROWTH)
                    grown = True
        return grown

    def clear(self, layer: LayerName) -> None:
        """Wipe a layer."""
        canvas = self._layers[layer]
        canvas.reset_transform()
        canvas.clear()

    def paint_picture(
        self, layer: LayerName, x: float, y: float, width: float, height: float, *, smooth: bool
    ) -> None:
        """Paint the picture that the source canvas holds, in device pixels of the layer."""
        values = (x, y, width, height)
        if not all(math.isfinite(v) for v in values) or width <= 0 or height <= 0:
            raise ValueError(f"picture: expected a finite place of positive size, got {values}")
        canvas = self._layers[layer]
        self.clear(layer)
        # What shows through a transparent picture; images.py puts the same grey behind others.
        canvas.fill_style = "#808080"
        canvas.fill_rect(float(x), float(y), float(width), float(height))
        canvas.image_smoothing_enabled = bool(smooth)
        canvas.draw_image(self._source, float(x), float(y), float(width), float(height))

    def paint_figures(
        self, layer: LayerName, what: Figures, view: View, *, is_active: bool
    ) -> None:
        """Wipe a layer and paint instances on it; those out of sight are left out."""
        canvas = self._layers[layer]
        self.clear(layer)
        dpr = view.dpr
        radius = LOOK["activeRadius" if is_active else "radius"]
        line = LOOK["activeEdgeWidth" if is_active else "edgeWidth"]
        halo = _css(LOOK["halo"], LOOK["haloAlpha"])
        margin = (2 * radius + LOOK["haloWidth"] + 2) * dpr
        low = np.array((-margin, -margin))
        high = np.array((view.w, view.h)) * dpr + margin

        # First so far that no sum overflows, then along the line so far that float32 holds it.
        ends = np.clip(view.to_device(what.edges), -1e12, 1e12)
        far = (-_FAR, -_FAR, _FAR, _FAR)
        with np.errstate(over="ignore"):
            ends = np.stack(geometry.clip_segments(ends[:, 0], ends[:, 1], far)[:2], axis=1)
        is_near = ((ends.max(axis=1) >= low) & (ends.min(axis=1) <= high)).all(axis=1)
        ends, edge_color = ends[is_near], what.edge_color[is_near]
        if len(ends):
            points = _f32(ends)
            canvas.line_cap = "butt"
            if is_active:
                # The others do without: in a crowd it costs a sixth of the time of a repaint, and
                # sets off the instance that is worked on.
                canvas.stroke_style = halo
                canvas.line_width = (line + 2 * LOOK["edgeHaloWidth"]) * dpr
                canvas.stroke_line_segments(points)
            canvas.line_width = line * dpr
            canvas.stroke_styled_line_segments(points, color=edge_color, alpha=1)
        if len(what.boxes):
            corner = np.clip(view.to_device(what.boxes[:, :2]), -_FAR, _FAR)
            with np.errstate(over="ignore"):
                opposite = what.boxes[:, :2] + what.boxes[:, 2:]
            size = np.clip(view.to_device(opposite), -_FAR, _FAR) - corner
            place = [_f32(column) for column in (*corner.T, *size.T)]
            canvas.stroke_style = halo
            canvas.line_width = (LOOK["boxWidth"] + 2 * LOOK["edgeHaloWidth"]) * dpr
            canvas.stroke_rects(*place)
            canvas.line_width = LOOK["boxWidth"] * dpr
            canvas.stroke_styled_rects(*place, color=what.box_color.ravel(), alpha=1)

        xy = view.to_device(what.xy)
        is_near = ((xy >= low) & (xy <= high)).all(axis=1)
        xy, color, side = xy[is_near], what.color[is_near], what.side[is_near]
        is_filled = what.visibility[is_near] != 1
        if is_filled.any():
            canvas.fill_style = halo
            self._markers(
                canvas,
                xy[is_filled],
                side[is_filled],
                (radius + LOOK["haloWidth"]) * dpr,
                None,
                True,
            )
            self._markers(
                canvas, xy[is_filled], side[is_filled], radius * dpr, color[is_filled], True
            )
        is_ring = ~is_filled
        if is_ring.any():
            canvas.stroke_style = halo
            canvas.line_width = (LOOK["ringWidth"] + 2 * LOOK["haloWidth"]) * dpr
            self._markers(canvas, xy[is_ring], side[is_ring], radius * dpr, None, False)
            canvas.line_width = LOOK["ringWidth"] * dpr
            self._markers(canvas, xy[is_ring], side[is_ring], radius * dpr, color[is_ring], False)
        lines = arrow_lines(np.clip(view.to_device(what.arrows), -_FAR, _FAR), dpr)
        if len(lines):
            points = _f32(lines)
            for color_, extra in ((halo, 2 * LOOK["edgeHaloWidth"]), (_css(LOOK["arrow"], 1), 0)):
                canvas.stroke_style = color_
                canvas.line_width = (LOOK["arrowWidth"] + extra) * dpr
                canvas.stroke_line_segments(points)

    @staticmethod
    def _markers(
        canvas: Canvas,
        xy: NDArray[np.float64],
        side: NDArray[np.uint8],
        radius: float,
        color: NDArray[np.uint8] | None,
        fill: bool,
    ) -> None:
        """Circles, squares (left) and diamonds (right) of one size, in device pixels."""
        verb = "fill" if fill else "stroke"
        for kind in (0, 1, 2):
            chosen = side == kind
            if not chosen.any():
                continue
            at = xy[chosen]
            style: dict[str, Any] = {}
            if color is not None:
                style = {"color": np.ascontiguousarray(color[chosen]).ravel(), "alpha": 1}
            name = f"{verb}_{'styled_' if style else ''}"
            if kind == 0:
                x, y = _f32(at[:, 0]), _f32(at[:, 1])
                getattr(canvas, name + "circles")(x, y, float(radius), **style)
            elif kind == 1:
                a = 0.9 * radius
                x, y = _f32(at[:, 0] - a), _f32(at[:, 1] - a)
                getattr(canvas, name + "rects")(x, y, float(2 * a), float(2 * a), **style)
            else:
                a = 1.25 * radius
                corners = np.array(((0, -a), (a, 0), (0, a), (-a, 0)))
                getattr(canvas, name + "polygons")(_f32(at[:, None] + corners), **style)


def arrow_lines(ends: NDArray[np.float64], k: float) -> NDArray[np.float64]:
    """Shafts and heads of arrows as line segments, shape (n, 2, 2).

    Parameters
    ----------
    ends : ndarray of shape (n_arrows, 2, 2)
        From, to, in pixels of the canvas. Those shorter than a pixel are left out.
    k : float
        Pixels of the canvas per CSS px.
    """
    along = ends[:, 1] - ends[:, 0]
    length = np.hypot(along[:, 0], along[:, 1])
    is_seen = length > k
    ends, along, length = ends[is_seen], along[is_seen], length[is_seen, None]
    head = np.minimum(LOOK["arrowHead"] * k, 0.6 * length)
    back = along / length * head
    side = np.stack([-back[:, 1], back[:, 0]], axis=1) * 0.45
    tip = ends[:, 1]
    wings = [np.stack([tip, tip - back + sign * side], axis=1) for sign in (1, -1)]
    return np.concatenate([ends, *wings])


def draw_poster(picture: Any, what: Sequence[tuple[Figures, bool]], scale: float) -> Any:
    """A still picture of the stage: the image with its instances, made by Pillow.

    Parameters
    ----------
    picture : PIL.Image.Image
        The image as displayed, already scaled by `scale`; it is drawn on.
    what : sequence of (Figures, is_active)
    scale : float
        Picture pixels per image pixel.
    """
    from PIL import Image, ImageDraw

    # Pillow draws without smoothing: on a larger copy, which is then made small again. What is
    # not drawn on stays as it was, pixel for pixel.
    k = _SMOOTHING
    width, height = picture.size
    large = picture.resize((k * width, k * height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    scale = k * scale
    halo = tuple(rgb(LOOK["halo"]))
    for shapes, is_active in what:
        line_width = k * (2.0 if is_active else 1.5)
        for extra, use_halo in ((2 * k, True), (0, False)):
            for ends, tint in zip(shapes.edges, shapes.edge_color, strict=True):
                line = [tuple(map(float, end)) for end in ends * scale]
                draw.line(
                    line,
                    fill=halo if use_halo else tuple(map(int, tint)),
                    width=round(line_width + extra),
                )
        for box, tint in zip(shapes.boxes, shapes.box_color, strict=True):
            x, y, w, h = (float(v) for v in box * scale)
            draw.rectangle((x, y, x + w, y + h), outline=tuple(map(int, tint)), width=k)
        radius = k * (3.5 if is_active else 2.5)
        rows = zip(shapes.xy * scale, shapes.visibility, shapes.side, shapes.color, strict=True)
        for (x, y), flag, side, tint in rows:
            color = tuple(map(int, tint))
            for r, use_halo in ((radius + k, True), (radius, False)):
                paint = halo if use_halo else color
                style: dict[str, Any] = (
                    {"fill": paint}
                    if flag != 1
                    else {"outline": paint, "width": round((3.0 if use_halo else 1.75) * k)}
                )
                if side == 1:
                    draw.rectangle((x - r, y - r, x + r, y + r), **style)
                elif side == 2:
                    a = 1.25 * r
                    draw.polygon([(x, y - a), (x + a, y), (x, y + a), (x - a, y)], **style)
                else:
                    draw.ellipse((x - r, y - r, x + r, y + r), **style)
        for line_width, tint in ((3 * k, halo), (k, rgb(LOOK["arrow"]))):
            for a, b in arrow_lines(shapes.arrows * scale, float(k)):
                ends = [tuple(map(float, a)), tuple(map(float, b))]
                draw.line(ends, fill=tint, width=line_width)
    picture.paste(large.resize((width, height), Image.Resampling.BOX))
    return picture
