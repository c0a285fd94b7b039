"""Small PNG pictures of images, instances and schemas: what a cell shows as its last line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kpwidget.dataset import ImageInfo, Instance
from kpwidget.plotting.grid import plot_grid
from kpwidget.plotting.image import plot_instance
from kpwidget.plotting.skeleton import plot_schema
from kpwidget.schema import INSTANCE_COLORS, Schema
from kpwidget.words import count

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["png_of"]

_MAX_BYTES = 60_000
_DPI = 96
_MAX_MARK_COLORS = 64


def png_of(thing: ImageInfo | Instance | Schema) -> bytes:
    """Small picture of an image, an instance or a schema.

    Parameters
    ----------
    thing : ImageInfo, Instance or Schema

    Returns
    -------
    bytes
        A PNG of at most 60,000 bytes. No figure of pyplot is made or touched.
    """
    figure = Figure(figsize=(4.6, 4.0), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    if isinstance(thing, Schema):
        plot_schema(thing, ax=figure.add_axes((0.02, 0.1, 0.96, 0.8)))
    elif isinstance(thing, Instance):
        ax = plot_instance(thing, ax=figure.add_axes((0.13, 0.12, 0.85, 0.8)))
        ax.locator_params(nbins=5)
    else:
        caption = [_described(thing)]
        ax = plot_grid(thing, captions=caption, ax=figure.add_axes((0.0, 0.0, 1.0, 1.0)))
        ax.set_title("")
    return _small_png(_trimmed(_picture_of(canvas)), _colors_of(thing))


def _colors_of(thing: ImageInfo | Instance | Schema) -> list[str]:
    """Colours of the marks: they cover few pixels, and would be the first to be given up."""
    schemas = [thing] if isinstance(thing, Schema) else []
    if isinstance(thing, Instance):
        schemas = [thing.category.schema]
    elif isinstance(thing, ImageInfo):
        schemas = list({instance.category.schema for instance in thing.instances})
    used = [*INSTANCE_COLORS, "#000000", *(color for each in schemas for color in each.colors)]
    return list(dict.fromkeys(used))[:_MAX_MARK_COLORS]


def _described(image: ImageInfo) -> str:
    n = len(image.instances)
    return f"{image.file_name} ({count(n, 'instance')})"


def _picture_of(canvas: FigureCanvasAgg) -> Image.Image:
    import numpy as np
    from PIL import Image as PillowImage

    drawn: Any = canvas
    drawn.draw()
    return PillowImage.fromarray(np.asarray(drawn.buffer_rgba())[..., :3].copy())


def _trimmed(picture: Image.Image) -> Image.Image:
    """The picture without the empty paper around it, but for a few pixels."""
    from PIL import Image as PillowImage
    from PIL import ImageChops

    paper = PillowImage.new("RGB", picture.size, picture.getpixel((0, 0)))
    box = ImageChops.difference(picture, paper).getbbox()
    if box is None:
        return picture
    left, top, right, bottom = box
    return picture.crop(
        (
            max(0, left - 4),
            max(0, top - 4),
            min(picture.width, right + 4),
            min(picture.height, bottom + 4),
        )
    )


def _small_png(picture: Image.Image, colors: list[str]) -> bytes:
    """Encode within the limit: fewer colours first, but for those given, then fewer pixels."""
    from PIL import Image as PillowImage
    from PIL import ImageColor

    kept = [value for color in colors for value in ImageColor.getrgb(color)[:3]]
    scale = 1.0
    while True:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        smaller = picture if scale == 1.0 else picture.resize(size)
        for n_colors in (256, 128):
            found = smaller.quantize(n_colors - len(colors)).getpalette() or []
            palette = PillowImage.new("P", (1, 1))
            palette.putpalette([*kept, *found[: 3 * (n_colors - len(colors))]])
            reduced = smaller.quantize(palette=palette, dither=PillowImage.Dither.NONE)
            buffer = io.BytesIO()
            reduced.save(buffer, "PNG", optimize=True)
            if buffer.tell() <= _MAX_BYTES:
                return buffer.getvalue()
        scale *= 0.85
