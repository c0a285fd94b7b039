"""Text on pictures: names with a halo by the hundred, titles that fit; never mathematics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist, allow_rasterization
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

__all__ = ["PLAIN", "Labels", "dpi_of", "fit_text", "one_line", "set_title", "width_of"]

_HALO_WIDTH = 1.1  # points, around letters
_GLYPH_SIZE = 100.0  # text_to_path makes outlines of this font size
_N_PATHS_KEPT = 4096

# Names come from strangers: neither mathtext nor LaTeX may read them.
PLAIN: Final[dict[str, Any]] = {"parse_math": False, "usetex": False}
MAX_NAME_LENGTH: Final = 28


def one_line(text: str, length: int = MAX_NAME_LENGTH) -> str:
    """One printable line of at most `length` characters."""
    if len(text) > length:
        text = text[: length - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u200d" else " " for c in text)


def dpi_of(ax: Axes) -> float:
    """Pixels per inch of the figure that axes are in."""
    figure = ax.figure
    return float(figure.dpi)


def set_title(ax: Axes, text: str, size: float = 10.0, **options: Any) -> None:
    """Set a title that is no wider than the axes, or than the figure around a single one."""
    figure = ax.figure
    is_alone = len([other for other in figure.axes if other.get_label() != "<colorbar>"]) == 1
    box = figure.bbox if is_alone else ax.get_window_extent()
    width = 0.94 * box.width / figure.dpi * 72
    size = min(
        size, max(6.5, size * width / max(1.0, width_of(max(text.split("\n"), key=len), size)))
    )
    lines: list[str] = []
    for line in text.split("\n"):
        words = line.split(" ")
        start = 0
        for end in range(1, len(words) + 1):
            if end > start + 1 and width_of(" ".join(words[start:end]), size) > width:
                lines.append(" ".join(words[start : end - 1]))
                start = end - 1
        lines.append(" ".join(words[start:]))
    ax.set_title("\n".join(lines), fontsize=size, **PLAIN, **options)


@dataclass(frozen=True, eq=False)
class _Outline:
    """Letters of one line: font size 100, y up, the baseline at 0; from `left`, `width` wide."""

    path: Path
    left: float
    width: float


@lru_cache(_N_PATHS_KEPT)
def _outline(text: str, family: tuple[str, ...]) -> _Outline:
    font = FontProperties(family=list(family))
    vertices, codes = text_to_path.get_text_path(font, text, ismath=False)
    if not len(vertices):
        return _Outline(Path(np.zeros((0, 2))), 0.0, 0.0)
    path = Path(np.asarray(vertices), np.asarray(codes))
    # Where an outline is closed the vertex means nothing.
    x = np.asarray(vertices)[np.asarray(codes) != Path.CLOSEPOLY, 0]
    return _Outline(path, float(x.min()), float(np.ptp(x)))


def _outlines(texts: Sequence[str]) -> dict[str, _Outline]:
    """Outline of each different text; mathematics is not read."""
    family = tuple(rcParams["font.family"])
    return {text: _outline(text, family) for text in set(texts)}


def width_of(text: str, size: float) -> float:
    """Width of a line of text of a font size; both in points."""
    return _outlines([text])[text].width * size / _GLYPH_SIZE


def fit_text(text: str, size: float, width: float) -> str:
    """`text`, or as much of its beginning and its end as fits into `width` points.

    File names differ in their ends more often than in their beginnings, so more of it is kept.
    """
    text = one_line(text, 200)
    if width_of(text, size) <= width:
        return text
    fewest, most = 0, len(text) - 1
    while fewest < most:
        n = (fewest + most + 1) // 2
        if width_of(_without_middle(text, n), size) <= width:
            fewest = n
        else:
            most = n - 1
    return _without_middle(text, fewest)


def _without_middle(text: str, n_kept: int) -> str:
    n_first = n_kept // 3
    return text[:n_first] + "…" + text[len(text) - (n_kept - n_first) :]


class Labels(Artist):
    """Many short lines of text at places in data space, drawn as one artist.

    Parameters
    ----------
    xy : ndarray of shape (n, 2)
        Places in the space of `transform`.
    texts : sequence of str
        Of length n; drawn as they are, never read as mathematics.
    transform : matplotlib.transforms.Transform
        From the space of `xy` to display pixels.
    size : float
        Font size in points.
    color : str
    halo : str or None
        Colour of a line around the letters.
    gap : float
        From the place to the text, in points.
    align : {'beside', 'below', 'above', 'centre', 'left'}
        To the right of its place, or to the left where the right has no room; centred below it,
        above it, on it; starting at it.
    is_sparse : bool
        Leave out what would cover a place or another label.

    Notes
    -----
    A `matplotlib.text.Text` for each would take about ten times as long. On a raster canvas each
    different text is drawn once and then stamped.
    """

    def __init__(
        self,
        xy: NDArray[np.float64],
        texts: Sequence[str],
        transform: Transform,
        *,
        size: float = 6.5,
        color: str = "#ffffff",
        halo: str | None = "#000000",
        gap: float = 5.0,
        align: str = "beside",
        is_sparse: bool = False,
    ) -> None:
        super().__init__()
        self._xy = np.asarray(xy, np.float64).reshape(-1, 2)
        self._texts = [one_line(text, 200) for text in texts]
        self._size, self._color, self._halo = size, color, halo
        self._gap, self._align, self._is_sparse = gap, align, is_sparse
        self.set_transform(transform)
        self.set_zorder(4)

    def get_texts(self) -> list[str]:
        """All texts, also those that have no room."""
        return list(self._texts)

    def get_offsets(self) -> NDArray[np.float64]:
        """Places in the space of the transform, shape (n, 2)."""
        return self._xy.copy()

    def places(self, scale: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where the labels are now.

        Parameters
        ----------
        scale : float
            Pixels per point.

        Returns
        -------
        boxes : ndarray of shape (n, 4)
            (x0, y0, x1, y1) of each in display pixels, y up.
        is_shown : ndarray of bool, shape (n,)
            False where a place is outside the axes or, if sparse, where there is no room.
        """
        at = self.get_transform().transform(self._xy).reshape(-1, 2)
        outlines = _outlines(self._texts)
        widths = np.array([outlines[text].width for text in self._texts])
        widths *= self._size / _GLYPH_SIZE * scale
        low, high = -0.25 * self._size * scale, 0.8 * self._size * scale
        gap = self._gap * scale
        n = len(at)
        boxes = np.empty((n, 4))
        boxes[:, 1], boxes[:, 3] = at[:, 1] - (high - low) / 2, at[:, 1] + (high - low) / 2
        boxes[:, 0] = at[:, 0] + gap
        if self._align == "below":
            boxes[:, [1, 3]] -= gap + (high - low) / 2
        if self._align == "above":
            boxes[:, [1, 3]] += gap + (high - low) / 2
        if self._align in ("below", "above", "centre"):
            boxes[:, 0] = at[:, 0] - widths / 2
        elif self._align == "left":
            boxes[:, 0] = at[:, 0]
        boxes[:, 2] = boxes[:, 0] + widths
        is_shown = np.isfinite(at).all(axis=1) & (widths > 0)
        if self.axes is not None and self.get_clip_on():
            x0, y0, x1, y1 = self.axes.bbox.extents
            is_shown &= np.all((at >= (x0 - 1, y0 - 1)) & (at <= (x1 + 1, y1 + 1)), axis=1)
            if self._align == "beside":
                is_over = boxes[:, 2] > x1
                shift = widths + 2 * gap
                is_over &= boxes[:, 0] - shift >= x0
                boxes[is_over, 0] -= shift[is_over]
                boxes[is_over, 2] -= shift[is_over]
        if self._is_sparse:
            view = None if self.axes is None else np.array(self.axes.bbox.extents)
            boxes, is_shown = _sparse(boxes, is_shown, at, gap, view)
        return boxes, is_shown

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        """Box around all labels shown, in display pixels."""
        figure = self.figure
        boxes, is_shown = self.places(figure.dpi / 72 if figure is not None else 1.0)
        shown = boxes[is_shown]
        if not len(shown):
            return Bbox.null()
        return Bbox([shown[:, :2].min(axis=0), shown[:, 2:].max(axis=0)])

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: Any) -> None:
        """Draw the labels shown."""
        if not self.get_visible() or not len(self._texts):
            return
        scale = float(renderer.points_to_pixels(1.0))
        boxes, is_shown = self.places(scale)
        renderer.open_group("labels", gid=self.get_gid())
        gc = renderer.new_gc()
        self._set_gc_clip(gc)  # type: ignore[attr-defined]
        outlines = _outlines(self._texts)
        stamps: dict[str, tuple[NDArray[np.uint8], int, int]] = {}
        for i in np.flatnonzero(is_shown).tolist():
            text = self._texts[i]
            x, y = boxes[i, 0], boxes[i, 1] + 0.25 * self._size * scale
            if isinstance(renderer, RendererAgg):
                if text not in stamps:
                    stamps[text] = _stamp(
                        outlines[text], self._size, scale, self._color, self._halo
                    )
                stamp, left, low = stamps[text]
                renderer.draw_image(gc, round(x) - left, round(y) - low, stamp)
            else:
                factor = self._size / _GLYPH_SIZE * scale
                outline = outlines[text]
                place = Affine2D().translate(-outline.left, 0).scale(factor).translate(x, y)
                _draw_text(renderer, gc, outline.path, place, scale, self._color, self._halo)
        gc.restore()
        renderer.close_group("labels")
        self.stale = False


def _draw_text(
    renderer: Any,
    gc: Any,
    path: Path,
    place: Affine2D,
    scale: float,
    color: str,
    halo: str | None,
) -> None:
    if halo is not None:
        gc.set_foreground(halo)
        gc.set_linewidth(2 * _HALO_WIDTH * scale)
        gc.set_joinstyle("round")
        renderer.draw_path(gc, path, place, to_rgba(halo))
    gc.set_linewidth(0)
    renderer.draw_path(gc, path, place, to_rgba(color))


@lru_cache(_N_PATHS_KEPT)
def _stamp(
    outline: _Outline, size: float, scale: float, color: str, halo: str | None
) -> tuple[NDArray[np.uint8], int, int]:
    """RGBA picture of a label, lowest row first, and its origin's column and row."""
    factor = size / _GLYPH_SIZE * scale
    room = int(np.ceil(_HALO_WIDTH * scale)) + 1
    vertices = np.asarray(outline.path.vertices)
    low = int(np.floor(vertices[:, 1].min() * factor)) - room
    high = int(np.ceil(vertices[:, 1].max() * factor)) + room
    agg: Any = RendererAgg
    renderer = agg(int(np.ceil(outline.width * factor)) + 2 * room, high - low, 72)
    place = Affine2D().translate(-outline.left, 0).scale(factor).translate(room, -low)
    _draw_text(renderer, renderer.new_gc(), outline.path, place, scale, color, halo)
    return np.asarray(renderer.buffer_rgba())[::-1].copy(), room, -low


def _sparse(
    boxes: NDArray[np.float64],
    is_shown: NDArray[np.bool_],
    places: NDArray[np.float64],
    gap: float,
    view: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Boxes moved to the right, left, top or bottom of their places, where there is room."""
    boxes, is_shown = boxes.copy(), is_shown.copy()
    taken = np.empty((0, 4))
    # A marker reaches about as far as the gap.
    markers = np.concatenate([places - 0.8 * gap, places + 0.8 * gap], axis=1)
    markers = markers[np.isfinite(markers).all(axis=1)]
    for i in np.flatnonzero(is_shown).tolist():
        x, y = places[i]
        width, height = boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1]
        starts = np.array(
            [
                boxes[i, :2],
                (x - gap - width, y - height / 2),
                (x - width / 2, y + gap),
                (x - width / 2, y - gap - height),
            ]
        )
        tried = np.concatenate([starts, starts + np.array([width, height])], axis=1)
        has_room = ~_overlap(tried, np.concatenate([taken, markers]))
        if view is not None:
            has_room &= (tried[:, :2] >= view[:2]).all(axis=1)
            has_room &= (tried[:, 2:] <= view[2:]).all(axis=1)
        free = np.flatnonzero(has_room)
        if len(free):
            boxes[i] = tried[free[0]]
            taken = np.concatenate([taken, boxes[i][None]])
        else:
            is_shown[i] = False
    return boxes, is_shown


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each box, (x0, y0, x1, y1), overlaps any of the others."""
    inside = (boxes[:, None, :2] < others[None, :, 2:]) & (others[None, :, :2] < boxes[:, None, 2:])
    overlapping: NDArray[np.bool_] = np.any(np.all(inside, axis=-1), axis=1)
    return overlapping
