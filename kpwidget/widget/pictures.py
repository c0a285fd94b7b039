"""Pictures on their way to the browser: encoded one at a time, in a thread of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..images import EncodedImage, ImageError
from .wire import words

if TYPE_CHECKING:
    from ..dataset import ImageInfo
    from .painter import View

logger = logging.getLogger(__name__)


@dataclass
class Picture:
    """An encoded picture of an image, or why there is none."""

    index: int
    encoded: EncodedImage | None = None
    width: int = 0
    height: int = 0
    note: str = ""
    error: str = ""
    is_stretched: bool = False


@dataclass
class Detail:
    """The visible region at full resolution."""

    index: int
    view: View
    encoded: EncodedImage
    #: x0, y0, x1, y1 in image pixels.
    region: tuple[float, float, float, float]


def encode_preview(image: ImageInfo) -> Picture:
    """The preview of an image; what is wrong with it is kept as text, never raised."""
    picture = Picture(image.index)
    try:
        source = image.source
        picture.width, picture.height = image.size
        picture.encoded = source.preview()
        picture.note = source.note or ""
        if source.size != image.size:
            recorded, real = ("{}x{}".format(*size) for size in (image.size, source.size))
            picture.is_stretched = True
            picture.note = (
                f"The labels say that this image has {recorded} pixels, the file has {real}: "
                "it is shown stretched to the size that the labels are made for."
            )
    except (ImageError, OSError, MemoryError) as error:
        picture.error = words(error)
    except Exception as error:
        # A defect of ours or of a decoder: without an answer the stage would wait for ever.
        logger.exception("%s cannot be shown", image.file_name)
        picture.error = f"{image.file_name} cannot be shown: {words(error)}"
    return picture


class PictureQueue:
    """One thread that loads and encodes pictures; a newer job of a kind replaces a waiting one."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kpwidget-pictures")
        self._waiting: dict[tuple[str, int], Future[Any]] = {}

    def submit(
        self, key: tuple[str, int], job: Callable[[], Any], *, is_urgent: bool = True
    ) -> Future[Any]:
        """Have a job done; one of the same key that waits is replaced (a preview: shared)."""
        known = self._waiting.get(key)
        if known is not None and not known.done():
            if key[0] == "preview":
                return known
            known.cancel()
        if is_urgent:
            for other in list(self._waiting):
                if other != key and self._waiting[other].cancel():
                    del self._waiting[other]
        self._waiting = {k: f for k, f in self._waiting.items() if not f.done()}
        future = self._waiting[key] = self._pool.submit(job)
        return future

    def stop(self) -> None:
        """Drop what waits; what runs is finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)
