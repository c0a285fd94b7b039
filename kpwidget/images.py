"""Paths, bytes and arrays to pixels, and to bytes that a browser can show.

Every size and coordinate here is in full-resolution image pixels of the image *as shown*: x right,
y down, (0, 0) the outer top-left corner. "As shown" means upright (the EXIF orientation applied)
unless the stored orientation was kept, see `ImageSource`.

Two promises matter more than the others. Bytes handed to the browser decode there: an undecodable
image stops all drawing on an ipycanvas page, so what passes through unchanged was decoded and
checked here first. And whatever is wrong with an image comes out as one `ImageError` whose text can
be shown to the person as it is.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
import stat
import struct
import threading
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    Picture = PillowImage.Image

Orientation = Literal["upright", "stored"]
Mime = Literal["image/jpeg", "image/png", "image/webp"]
UInt8Array = NDArray[np.uint8]

_MIMES: dict[str, Mime] = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a phone's JPEG with further pictures behind it; browsers show the first
    "PNG": "image/png",
    "WEBP": "image/webp",
}
_PASSING_MODES = {
    "JPEG": {"L", "RGB"},
    "MPO": {"L", "RGB"},
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA"},
    "WEBP": {"RGB", "RGBA"},
}
# What Pillow may try on a stranger's file. Left out on purpose: formats that start another program
# (EPS), and those without a signature, which would claim files that are no images at all.
_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "GIF",
    "BMP",
    "DIB",
    "PPM",
    "JPEG2000",
    "AVIF",
    "HEIF",  # only there when pillow-heif was registered by the user
)
_LOSSY_FORMATS = {"JPEG", "MPO", "WEBP", "JPEG2000", "AVIF", "HEIF"}

_BACKGROUND = 128  # mid grey, 8 bit: transparent images are shown on it
_PERCENTILES = (0.5, 99.5)  # of the finite values: shown as black and white when there is no window
_PERCENTILE_SAMPLES = 1 << 20
_WEBP_MAX_SIDE = 16383  # https://developers.google.com/speed/webp/faq, 14-bit sides
_MAX_ICC_BYTES = 4096  # sRGB and Display P3 profiles have 0.5 to 3.2 kB
_SMALL_PIXELS = 1_000_000  # above it neither PNG nor quality 90 fits the bytes of a preview
# WebP quality, and its file size relative to quality 80 (measured at 0.5 to 3 megapixels on
# photographs and noise): lets one trial encoding choose the next quality.
_WEBP_LADDER = ((90, 1.5), (80, 1.0), (70, 0.80), (60, 0.65), (50, 0.55), (40, 0.47), (30, 0.38))
_REGION_WEBP_QUALITY = 92
_DECODED_BUDGET_BYTES = 256_000_000

_URL = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.\-]*://|data:)")


class ImageError(ValueError):
    """An image that cannot be shown; the message says why and what to do.

    The message is written for the person at the widget, and is plain text.
    """


@dataclass(frozen=True)
class EncodedImage:
    """One encoded picture, ready to be sent to the browser.

    Attributes
    ----------
    data : bytes
        The file: decoded once before it left, so it decodes in the browser.
    mime : {'image/jpeg', 'image/png', 'image/webp'}
        Type of `data`.
    width, height : int
        Size of the encoded pixels, which is not the size of the image when it was scaled down.
    is_full_resolution : bool
        Whether one encoded pixel is one pixel of the image.
    is_lossless : bool
        Whether the encoded pixels are those of the source: it passed through byte for byte, or was
        converted for display and then stored without loss at full resolution. When this is true
        a detail region adds nothing.
    box : tuple of 4 int
        (x0, y0, x1, y1) in image pixels: what part of the image the encoded pixels cover.
    """

    data: bytes
    mime: Mime
    width: int
    height: int
    is_full_resolution: bool
    is_lossless: bool
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class _Header:
    """What is known about a source without decoding its pixels."""

    format: str  # Pillow's name, "" for an array
    mode: str
    stored_size: tuple[int, int]  # (width, height) before any turning
    exif_orientation: int  # 1 to 8, 1 where none is given
    is_exif_clean: bool  # no orientation for a browser to apply, as far as can be read
    is_multi_frame: bool
    is_reduced_16_bit: bool  # 16-bit colour, of which Pillow gives the upper 8 bits


class ImageSource:
    """One image: its size, a preview, detail regions and pixels, whatever it came as.

    Nothing is read before it is asked for. All methods may be called from several threads.

    Parameters
    ----------
    data : str, os.PathLike, bytes or ndarray
        A file, the bytes of a file, or an array of shape (h, w), (h, w, 1), (h, w, 2), (h, w, 3)
        or (h, w, 4): grey, grey + alpha, RGB, RGBA. An array is kept, not copied: do not change it
        afterwards. A URL is never fetched.
    orientation : {None, 'upright', 'stored'}
        'upright' applies the EXIF orientation, 'stored' ignores it. None is 'upright', except that
        the stored orientation is kept when `recorded_size` equals the stored and not the upright
        size: then the labels were made on unturned pixels. `note` says so.
    recorded_size : tuple of (int, int), optional
        (width, height) in pixels as the labels' file has it.
    window : tuple of (float, float), optional
        (low, high): the values shown as black and as white, for arrays and for files with one
        channel (8 or 16 bits, integer, float).

    Raises
    ------
    ImageError
        At once if `data` is a URL, empty, or an array of a shape or type that is no image. What is
        wrong with a file comes out when it is read, from every method and property.
    TypeError
        If `data` is of another type.
    ValueError
        If `orientation`, `recorded_size` or `window` is not as above.

    Notes
    -----
    8-bit values are shown as they are. Without a window, other integers and floats are spread
    from black to white between the 0.5 and the 99.5 percentile of the finite values (all channels
    together; estimated from 2**20 of them in large images); if those are equal, between the
    smallest and the largest; a constant image is mid grey. Floats that all lie in [0, 1] are taken
    as 0 black, 1 white. False is black, True white. NaN and -inf are black, +inf is white.
    Transparent pixels are shown on mid grey. Only display is affected, never a coordinate.

    Files of up to 2 MB that a browser shows by itself (8-bit JPEG, PNG, WebP) keep their bytes, and
    with them their transparency: put mid grey behind them.

    Decoded pictures of all sources share one cache of 256 MB (or one picture, if that is larger).
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | bytes | NDArray[Any],
        *,
        orientation: Orientation | None = None,
        recorded_size: tuple[int, int] | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        self._data: Path | bytes | NDArray[Any]
        if isinstance(data, np.ndarray):
            self._name = "image array"
            # A masked array or matrix has operations of its own that ours are not made for.
            self._data = _check_array(np.asarray(data))
        elif isinstance(data, bytes | bytearray | memoryview):
            self._data = bytes(data)
            self._name = f"image of {len(self._data)} bytes"
            if not self._data:
                raise ImageError("image bytes: empty, expected the bytes of an image file")
        elif isinstance(data, str | os.PathLike):
            text = os.fspath(data)
            self._name = named(text)
            _check_path_text(text)
            self._data = Path(text)
        else:
            raise TypeError(
                "ImageSource: expected a path, the bytes of an image file or a numpy array, "
                f"got {type(data).__name__}; turn other images into an array with np.asarray()"
            )
        if orientation not in (None, "upright", "stored"):
            raise ValueError(
                f"orientation: expected None, 'upright' or 'stored', got {orientation!r}"
            )
        self._asked_orientation: Orientation | None = orientation
        self._recorded_size = None if recorded_size is None else _check_size(recorded_size)
        self._window = None if window is None else _check_window(window)
        self._header: _Header | None = None
        self._lock = threading.RLock()
        self._key = next(_keys)
        weakref.finalize(self, _decoded.discard, self._key).atexit = False

    def __repr__(self) -> str:
        """Return the class and what the image came from."""
        return f"<ImageSource {self._name}>"

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels at full resolution, as shown; read from the header alone."""
        header = self._read_header()
        width, height = header.stored_size
        return (height, width) if _turns_sides(self._orientation_to_apply()) else (width, height)

    @property
    def note(self) -> str | None:
        """What the person should know about how the image is shown, or None."""
        header = self._read_header()
        notes = []
        stored = "{}x{}".format(*header.stored_size)
        if header.exif_orientation != 1 and self._orientation_to_apply() == 1:
            if self._asked_orientation is None:
                notes.append(
                    "shown in its stored orientation because the recorded size "
                    f"{stored} matches it; pass orientation='upright' to turn it"
                )
            else:
                notes.append(
                    "shown in its stored orientation as asked; its EXIF orientation "
                    f"{header.exif_orientation} is not applied"
                )
        if self._recorded_size is not None and self._recorded_size != self.size:
            notes.append(
                "the recorded size {}x{} differs from the image's {}x{}".format(
                    *self._recorded_size, *self.size
                )
            )
        if header.is_multi_frame:
            notes.append("the file holds several frames; the first is shown")
        if header.is_reduced_16_bit:
            notes.append(
                "16-bit colour is shown by its upper 8 bits; "
                "pass the pixels as an array to choose the contrast with window=(low, high)"
            )
        return "; ".join(notes) or None

    def preview(
        self, max_side: int = 2048, max_bytes: int = 300_000, *, max_file_bytes: int = 2_000_000
    ) -> EncodedImage:
        """The whole image, small enough to be sent at once.

        Parameters
        ----------
        max_side : int
            Longest side of the encoded picture, in its pixels.
        max_bytes : int
            Limit for a picture that has to be encoded, at least 1024. Quality gives way first,
            then size.
        max_file_bytes : int
            A file that a browser shows by itself and that is at most this long, with no side above
            `max_side`, is handed on byte for byte whatever `max_bytes` says. 0 encodes anew always.

        Returns
        -------
        EncodedImage
            The file itself; else PNG where a small picture fits without loss; else WebP.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ValueError
            If a limit is out of range.
        """
        if max_side < 1 or max_bytes < 1024 or max_file_bytes < 0:
            raise ValueError(
                "preview: expected max_side >= 1, max_bytes >= 1024 and max_file_bytes >= 0, got "
                f"{max_side}, {max_bytes} and {max_file_bytes}"
            )
        width, height = self.size
        scale = min(1.0, max_side / max(width, height))
        if scale == 1.0:
            passed = self._pass_through(max_file_bytes)
            if passed is not None:
                return passed
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = self._scaled_display(target)
        box = (0, 0, width, height)
        if (
            scale == 1.0
            and not self._is_lossy
            and width * height <= _SMALL_PIXELS
            and len(data := _encode_png(picture)) <= max_bytes
        ):
            return EncodedImage(data, "image/png", width, height, True, True, box)
        data, (encoded_width, encoded_height) = _encode_webp_within(picture, max_bytes)
        is_full = (encoded_width, encoded_height) == (width, height)
        return EncodedImage(data, "image/webp", encoded_width, encoded_height, is_full, False, box)

    def region(
        self, x0: float, y0: float, x1: float, y1: float, max_width: int, max_height: int
    ) -> EncodedImage:
        """A part of the image in detail.

        Parameters
        ----------
        x0, y0, x1, y1 : float
            Corners in image pixels. Widened to whole pixels, then clipped to the image; `box` of
            the result says what became of them.
        max_width, max_height : int
            Limits in encoded pixels. The region is scaled down to fit, keeping its proportions, and
            never enlarged.

        Returns
        -------
        EncodedImage
            PNG if the source is stored without loss (PNG, TIFF, BMP, GIF, an array, more than 8
            bits), else WebP of high quality.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ValueError
            If the region is empty or outside the image, or a limit is below 1.
        """
        corners = (x0, y0, x1, y1)
        if max_width < 1 or max_height < 1:
            raise ValueError(
                f"region: expected max_width and max_height >= 1, got {max_width}, {max_height}"
            )
        if not np.all(np.isfinite(corners)):
            raise ValueError(f"region: expected finite corners x0, y0, x1, y1, got {corners}")
        width, height = self.size
        left, top = max(0, int(np.floor(x0))), max(0, int(np.floor(y0)))
        right, bottom = min(width, int(np.ceil(x1))), min(height, int(np.ceil(y1)))
        if left >= right or top >= bottom:
            raise ValueError(
                f"region: {corners} has no pixel of the image, which covers [0, {width}] x "
                f"[0, {height}]; expected x0 < x1 and y0 < y1 inside it"
            )
        if self._is_lossy:
            max_width, max_height = min(max_width, _WEBP_MAX_SIDE), min(max_height, _WEBP_MAX_SIDE)
        region_width, region_height = right - left, bottom - top
        scale = min(1.0, max_width / region_width, max_height / region_height)
        size = (
            min(max_width, max(1, round(region_width * scale))),
            min(max_height, max(1, round(region_height * scale))),
        )
        is_full = size == (region_width, region_height)
        box = (left, top, right, bottom)
        display = self._display()
        mime: Mime
        picture = display.crop(box) if is_full else _shrink(display, size, box)
        if self._is_lossy:
            data, mime = _encode_webp(picture, _REGION_WEBP_QUALITY), "image/webp"
        else:
            data, mime = _encode_png(picture), "image/png"
        is_lossless = is_full and not self._is_lossy
        return EncodedImage(data, mime, *size, is_full, is_lossless, box)

    def to_array(self) -> UInt8Array:
        """The pixels as shown.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
            RGB; a new array each time.
        """
        return np.array(self.open(), dtype=np.uint8)

    def open(self) -> Picture:
        """The image as shown, as a Pillow image.

        Returns
        -------
        PIL.Image.Image
            Mode RGB, full resolution; a new copy each time.
        """
        return self._display().convert("RGB")

    def thumbnail(self, max_width: int, max_height: int) -> Picture:
        """The image as shown, made small, as a Pillow image.

        Parameters
        ----------
        max_width, max_height : int
            Limits in pixels, at least 1. Proportions are kept, nothing is enlarged.

        Returns
        -------
        PIL.Image.Image
            Mode RGB; a new copy. It may be up to a tenth smaller than the limits: a JPEG is
            decoded at a half, a quarter or an eighth of its size where that is enough.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ValueError
            If a limit is below 1.
        """
        if max_width < 1 or max_height < 1:
            raise ValueError(
                f"thumbnail: expected max_width and max_height >= 1, got {max_width}, {max_height}"
            )
        width, height = self.size
        scale = min(1.0, max_width / width, max_height / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return self._scaled_display(size).convert("RGB")

    @property
    def _is_lossy(self) -> bool:
        """Whether the source itself was compressed with loss (a lossless WebP counts as lossy)."""
        return self._read_header().format in _LOSSY_FORMATS

    def _orientation_to_apply(self) -> int:
        """The EXIF orientation (1 to 8) that turns the stored pixels into those shown."""
        header = self._read_header()
        if self._asked_orientation == "upright":
            return header.exif_orientation
        if self._asked_orientation == "stored":
            return 1
        width, height = header.stored_size
        is_recorded_unturned = (
            _turns_sides(header.exif_orientation)
            and width != height
            and self._recorded_size == (width, height)
        )
        return 1 if is_recorded_unturned else header.exif_orientation

    @contextmanager
    def _stream(self) -> Iterator[BinaryIO]:
        """The file, open for reading; a file that is no plain file is an ImageError."""
        if isinstance(self._data, bytes):
            yield io.BytesIO(self._data)
            return
        if not isinstance(self._data, Path):
            raise TypeError("an array has no file")
        self._stat()
        try:
            stream = self._data.open("rb")
        except OSError as error:
            raise ImageError(f"{self._name}: cannot be read ({_reason(error)})") from error
        with stream:
            yield stream

    def _stat(self) -> tuple[int, int]:
        """(modification time in ns, length in bytes) of the file; (0, length) otherwise."""
        if isinstance(self._data, bytes):
            return 0, len(self._data)
        if not isinstance(self._data, Path):
            return 0, self._data.nbytes
        path = self._data
        try:
            status = path.stat()
        except FileNotFoundError as error:
            where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
            raise ImageError(
                f"{self._name}: there is no such file{where}; "
                "check the name and the folder the images are looked for in"
            ) from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{self._name}: cannot be read ({_reason(error)})") from error
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{self._name}: is a folder, expected an image file")
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a device could wait for ever.
            raise ImageError(f"{self._name}: is a pipe or device, expected an image file")
        if status.st_size == 0:
            raise ImageError(f"{self._name}: the file is empty (0 bytes), expected an image")
        return status.st_mtime_ns, status.st_size

    def _read_header(self) -> _Header:
        header = self._header  # written once; a stale None only costs the lock
        if header is not None:
            return header
        with self._lock:
            if self._header is None:
                if isinstance(self._data, np.ndarray):
                    height, width = self._data.shape[:2]
                    self._header = _Header("", "", (width, height), 1, False, False, False)
                else:
                    with self._stream() as stream:
                        _, self._header = _open_pillow(stream, self._name)
            return self._header

    def _display(self) -> Picture:
        """The decoded image as shown, mode L or RGB, at full resolution. Not to be changed."""
        with self._lock:
            signature = self._stat()
            picture = _decoded.get(self._key, signature)
            if picture is None:
                if isinstance(self._data, np.ndarray):
                    picture = _array_to_display(self._data, self._window)
                else:
                    with self._stream() as stream:
                        picture = self._decode(stream)
                _decoded.put(self._key, signature, picture)
            return picture

    def _decode(self, stream: BinaryIO, draft: tuple[int, int] | None = None) -> Picture:
        """Decode, convert for display and turn as shown.

        With `draft`, (width, height) in stored pixels, a JPEG is decoded at the smallest of 1/1,
        1/2, 1/4, 1/8 of its size that is no smaller, which is a good deal faster.
        """
        from PIL import Image

        header = self._read_header()
        picture, now = _open_pillow(stream, self._name)
        if now.stored_size != header.stored_size:
            raise ImageError(
                f"{self._name}: the file changed while it was in use: it was "
                "{}x{} and is {}x{} now; open the dataset again".format(
                    *header.stored_size, *now.stored_size
                )
            )
        exact_box: tuple[float, float, float, float] | None = None
        if draft is not None:
            drafted = picture.draft(None, draft)
            exact_box = None if drafted is None else drafted[1]
        try:
            picture.load()
            display = _to_display(picture, self._window, self._name)
        except ImageError:
            raise
        except MemoryError as error:
            raise ImageError(
                "{}: not enough memory to decode its {}x{} pixels".format(
                    self._name, *header.stored_size
                )
            ) from error
        except Exception as error:  # a decoder may raise anything on a stranger's file
            raise ImageError(
                f"{self._name}: the file is damaged or cut short and cannot be decoded "
                f"({_reason(error)}{_length_hint(stream)}); copy it again from where it came from"
            ) from error
        if exact_box is not None and exact_box[2:] != display.size:
            # Sides that do not divide: drop the part of a pixel beyond the image.
            display = display.resize(
                (max(1, int(exact_box[2])), max(1, int(exact_box[3]))),
                Image.Resampling.BILINEAR,
                box=exact_box,
            )
        apply = self._orientation_to_apply()
        if header.format == "TIFF":  # Pillow turns TIFF files upright as it loads them
            apply = 1 if apply != 1 else _INVERSE_ORIENTATION[header.exif_orientation]
        display = _turned(display, apply)
        icc = picture.info.get("icc_profile")
        is_kept = display.mode == picture.mode == "RGB" and isinstance(icc, bytes)
        display.info = {"icc_profile": icc} if is_kept and len(icc) <= _MAX_ICC_BYTES else {}
        return display

    def _scaled_display(self, size: tuple[int, int]) -> Picture:
        """The display image scaled down to `size` (width, height), or close below it."""
        with self._lock:
            header = self._read_header()
            picture = _decoded.get(self._key, self._stat())
            if picture is None and header.format in ("JPEG", "MPO") and size != self.size:
                # A picture a little under the limit that comes straight out of the decoder is
                # worth more than the last pixels.
                ratio = 0.9 * size[0] / self.size[0], 0.9 * size[1] / self.size[1]
                if _turns_sides(self._orientation_to_apply()):
                    ratio = ratio[1], ratio[0]
                wanted = (
                    max(1, int(header.stored_size[0] * ratio[0])),
                    max(1, int(header.stored_size[1] * ratio[1])),
                )
                with self._stream() as stream:
                    picture = self._decode(stream, draft=wanted)
            elif picture is None:
                picture = self._display()
        if picture.width <= size[0] and picture.height <= size[1]:
            return picture
        return _shrink(picture, size, (0, 0, *picture.size))

    def _pass_through(self, max_file_bytes: int) -> EncodedImage | None:
        """The file's own bytes if a browser shows them as they should be, else None."""
        from PIL import ImageFile

        header = self._read_header()
        if (
            isinstance(self._data, np.ndarray)
            or header.mode not in _PASSING_MODES.get(header.format, ())
            or not header.is_exif_clean
            or header.is_reduced_16_bit
            or (header.is_multi_frame and header.format != "MPO")
            or self._window is not None
            # Set by someone else in this process, it makes Pillow accept what browsers refuse.
            or ImageFile.LOAD_TRUNCATED_IMAGES
        ):
            return None
        with self._lock:
            signature = self._stat()
            if signature[1] > max_file_bytes:
                return None
            with self._stream() as stream:
                data = stream.read(max_file_bytes + 1)
            if len(data) > max_file_bytes:
                return None
            # Decoded from these very bytes: the file may be changed in between.
            picture = self._decode(io.BytesIO(data))
            _decoded.put(self._key, signature, picture)
        if not _is_intact(data, header.format):
            return None
        width, height = picture.size
        box = (0, 0, width, height)
        return EncodedImage(data, _MIMES[header.format], width, height, True, True, box)


def trouble_with_small_picture(data: bytes, max_side: int) -> str:
    """Say why a file is no small PNG or JPEG that every browser shows; empty if it is one.

    Parameters
    ----------
    data : bytes
    max_side : int
        Longest side that is allowed, in pixels.

    Returns
    -------
    str
        What is wrong, without the place.
    """
    kind = next((kind for magic, kind in _MAGIC[:2] if data.startswith(magic)), None)
    if kind is None:
        return "not a PNG or JPEG file"
    source = ImageSource(data)
    try:
        width, height = source.size
        if max(width, height) > max_side:
            return f"{width}x{height} pixels, expected at most {max_side}x{max_side}"
        source.to_array()
    except ImageError as error:
        return str(error)
    return "" if _is_intact(data, kind) else "damaged: not every browser would show it"


class _DecodedCache:
    """Decoded pictures, the least recently used dropped first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._pictures: OrderedDict[int, tuple[tuple[int, int], Picture]] = OrderedDict()
        # Reentrant: the garbage collector may run `discard` in a thread that holds it.
        self._lock = threading.RLock()

    def get(self, key: int, signature: tuple[int, int]) -> Picture | None:
        """The picture kept under `key`, unless its file has changed since."""
        with self._lock:
            kept = self._pictures.get(key)
            if kept is None or kept[0] != signature:
                return None
            self._pictures.move_to_end(key)
            return kept[1]

    def put(self, key: int, signature: tuple[int, int], picture: Picture) -> None:
        """Keep a picture, which is always kept, and drop old ones down to the budget."""
        with self._lock:
            self._pictures[key] = (signature, picture)
            self._pictures.move_to_end(key)
            while len(self._pictures) > 1 and self.n_bytes > self._budget:
                self._pictures.popitem(last=False)

    def discard(self, key: int) -> None:
        """Forget the picture kept under `key`, if there is one."""
        with self._lock:
            self._pictures.pop(key, None)

    @property
    def n_bytes(self) -> int:
        """Memory of the pictures kept: Pillow stores L in 1 byte a pixel, RGB in 4."""
        with self._lock:
            return sum(
                picture.width * picture.height * (1 if picture.mode == "L" else 4)
                for _, picture in self._pictures.values()
            )


_keys = itertools.count()
_decoded = _DecodedCache(_DECODED_BUDGET_BYTES)


# --- where an image may lie ----------------------------------------------------------------------


def resolve_inside(
    file_name: str | os.PathLike[str],
    roots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    allow_outside: bool = False,
) -> Path:
    """The file that a stranger's `file_name` means, inside one of the image roots.

    Parameters
    ----------
    file_name : str or os.PathLike
        As it stands in the labels' file.
    roots : path or sequence of paths
        Folders the images are looked for in, in this order.
    allow_outside : bool
        Permit absolute names, '..' and links that lead out of the roots.

    Returns
    -------
    pathlib.Path
        Absolute, links followed. The first root that has the file decides; if none has it, the
        path in the first root that may hold it, so that opening it says that it is missing.

    Raises
    ------
    ImageError
        If `file_name` is empty, has a NUL byte, is a URL or, unless permitted, is absolute or leads
        out of every root (both are resolved first, so a link does not help).
    ValueError
        If there is no root.
    """
    if isinstance(roots, str | os.PathLike):
        roots = [roots]
    folders = [Path(root) for root in roots]
    if not folders:
        raise ValueError(
            f"file_name {os.fspath(file_name)!r}: there is no image root to look in; "
            "pass the folder of the images"
        )
    if not isinstance(file_name, str | os.PathLike):
        raise ImageError(f"file_name {file_name!r}: expected text, got {type(file_name).__name__}")
    text = os.fspath(file_name)
    _check_path_text(text, "file_name ")
    where = ", ".join(str(folder) for folder in folders)
    advice = (
        "pass the folder that contains it as an image root, "
        "or allow_outside=True if you trust the file that names it"
    )
    # Names written on Windows are absolute by a drive or a leading backslash, also where we run.
    is_absolute = Path(text).is_absolute() or PureWindowsPath(text).anchor != ""
    if is_absolute and not allow_outside:
        raise ImageError(
            f"file_name {_quoted(text)}: is absolute, expected a name relative to the image roots "
            f"({where}); {advice}"
        )
    inside: list[Path] = []
    outside: list[Path] = []
    for folder in folders:
        try:
            root = folder.resolve()
            path = _resolved(root / text)
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
            raise ImageError(
                f"file_name {_quoted(text)}: cannot be looked up in {folder} ({_reason(error)})"
            ) from error
        (inside if allow_outside or path.is_relative_to(root) else outside).append(path)
    resolved_roots = [folder.resolve() for folder in folders]
    # A link from one root into another stays inside.
    inside += [p for p in outside if any(p.is_relative_to(root) for root in resolved_roots)]
    if not inside:
        targets = ", ".join(sorted({named(str(path)) for path in outside}))
        raise ImageError(
            f"file_name {_quoted(text)}: leads out of the image roots ({where}) to {targets}; "
            f"{advice}"
        )
    return next((path for path in inside if _exists(path)), inside[0])


def _resolved(path: Path) -> Path:
    """Where a path really leads; OSError if that has no end.

    One look is not enough. Behind a link to itself Python follows no link any more: it makes
    ``loop/../out`` to ``out``, which may be a link to anywhere.
    """
    for _ in range(40):  # as many as Linux follows
        resolved = path.resolve()
        if resolved == path:
            return path
        path = resolved
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder not to be entered: opening it will say so
        return False


def _check_path_text(text: str | bytes, prefix: str = "") -> None:
    """Raise ImageError if `text` cannot be the name of a file."""
    if isinstance(text, bytes):
        raise TypeError(f"expected a path as text, got bytes {text!r}")
    if not text.strip():
        raise ImageError(f"{prefix}{_quoted(text)}: is empty, expected the name of an image file")
    if "\0" in text:
        raise ImageError(f"{prefix}{_quoted(text)}: has a NUL byte, which no file name can have")
    if _URL.match(text):
        raise ImageError(
            f"{prefix}{_quoted(text)}: is a URL; URLs are never fetched: download the image and "
            "pass the path of the file"
        )


# --- reading -------------------------------------------------------------------------------------


def _open_pillow(stream: BinaryIO, name: str) -> tuple[Any, _Header]:
    """The image opened by Pillow, its pixels not decoded yet, and what its header says.

    The first is a PIL.ImageFile.ImageFile, typed Any because plugins add attributes of their own.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    limit = Image.MAX_IMAGE_PIXELS
    advice = "cut it into tiles, or raise PIL.Image.MAX_IMAGE_PIXELS yourself if you trust the file"
    first = stream.read(512)
    stream.seek(0)
    try:
        picture: Any = Image.open(stream, formats=formats)
        header = _header_of(picture, stream)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # The warning arrives here where the user made warnings errors.
        raise ImageError(f"{name}: too large to be opened safely ({error}); {advice}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_what_it_is(first)}{_length_hint(stream)}") from error
    except Exception as error:  # a plugin may raise anything on a stranger's file
        raise ImageError(
            f"{name}: the image's header cannot be read ({_reason(error)}"
            f"{_length_hint(stream)}); copy it again from where it came from"
        ) from error
    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image is {width}x{height}, expected at least one pixel")
    if limit is not None and width * height > limit:
        raise ImageError(
            f"{name}: {width}x{height} are {width * height:,} pixels, more than Pillow's limit of "
            f"{limit:,} that guards against decompression bombs; {advice}"
        )
    return picture, header


def _header_of(picture: Any, stream: BinaryIO) -> _Header:
    """What a picture fresh from `_open_pillow` says about itself."""
    kind = picture.format or ""
    width, height = picture.size
    is_16_bit = False
    exif: bytes | None = picture.info.get("exif")
    if kind == "PNG":
        depth, exif_chunk = _png_depth_and_exif(stream)
        is_16_bit = depth == 16
        exif = exif_chunk
    if kind == "TIFF":
        orientation: int | None = picture.tag_v2.get(274, 1)
        is_clean = True  # never handed on as it is
        bits = picture.tag_v2.get(258, ())
        is_16_bit = 16 in (bits if isinstance(bits, tuple) else (bits,))
        if orientation in (5, 6, 7, 8):
            width, height = height, width  # Pillow gives the upright size
    else:
        orientation, is_clean = _exif_orientation(exif)
    return _Header(
        format=kind,
        mode=picture.mode,
        stored_size=(width, height),
        exif_orientation=1 if orientation not in _INVERSE_ORIENTATION else orientation,
        is_exif_clean=is_clean and orientation in (None, 1),
        is_multi_frame=bool(getattr(picture, "is_animated", False)) and kind != "MPO",
        is_reduced_16_bit=is_16_bit and picture.mode in ("LA", "RGB", "RGBA", "RGBX", "CMYK"),
    )


def _exif_orientation(exif: bytes | None) -> tuple[int | None, bool]:
    """The orientation in an EXIF block, and whether the block could be read as far as needed.

    Pillow's reader only warns about a block it cannot read; here the difference counts, since a
    browser might read on.
    """
    if not exif:
        return None, True
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None, False
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (n_entries,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * n_entries, 12):
            tag, kind, _ = struct.unpack_from(order + "HHI", block, entry)
            if tag == 274:
                if kind not in (3, 4):  # SHORT as it should be, LONG as some write it
                    return None, False
                (value,) = struct.unpack_from(order + " HI"[kind - 2], block, entry + 8)
                return int(value), True
    except struct.error:
        return None, False
    return None, True


def _png_depth_and_exif(stream: BinaryIO) -> tuple[int, bytes | None]:
    """Bits per channel and the eXIf chunk, which Pillow finds only by decoding if it comes last."""
    position = stream.tell()
    try:
        stream.seek(24)
        depth = stream.read(1)[0]
        stream.seek(8)
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return depth, stream.read(min(length, 1 << 20))
            if kind == b"IEND":
                break
            stream.seek(length + 4, os.SEEK_CUR)
        return depth, None
    finally:
        stream.seek(position)


_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"BM", "BMP"),
)
_OTHERS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the image: run 'git lfs pull'"),
    (b"%PDF", "is a PDF document; save its pages as PNG"),
    (b"\x93NUMPY", "is a NumPy file; pass np.load(path) instead of the path"),
    (b"%!PS", "is a PostScript drawing; save it as PNG"),
    (b"8BPS", "is a Photoshop file; save it as PNG or TIFF"),
    (b"PK\x03\x04", "is a zip archive; unpack it"),
)


def _what_it_is(first: bytes) -> str:
    """Say what a file that Pillow cannot open seems to be."""
    for magic, kind in _MAGIC:
        if first.startswith(magic) and (magic != b"BM" or len(first) >= 26):
            return (
                f"begins like a {kind} file but cannot be opened: it is cut short, damaged or of "
                f"an unusual kind; copy it again, or convert it to PNG"
            )
    if first.startswith(b"RIFF") and first[8:12] == b"WEBP":
        return "begins like a WebP file but cannot be opened: it is cut short or damaged"
    if first[4:8] == b"ftyp" and first[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"heim"):
        return "is a HEIC photograph; convert it to JPEG, or register pillow-heif"
    if first[128:132] == b"DICM":
        return "is a DICOM file; pass pydicom.dcmread(path).pixel_array instead of the path"
    for magic, what in _OTHERS:
        if first.startswith(magic):
            return what
    start = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "is an SVG drawing; only pixels are read: save it as PNG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not an image (perhaps the error page of a failed download)"
    return f"is not an image that can be read; it begins with {first[:16]!r}"


def _length_hint(stream: BinaryIO) -> str:
    """For a file that says how long it should be and is shorter: ', N of M bytes are there'."""
    stream.seek(0)
    head = stream.read(30)
    there = stream.seek(0, os.SEEK_END)
    expected = 0
    if head.startswith(b"RIFF") and len(head) >= 12:
        expected = int.from_bytes(head[4:8], "little") + 8
    elif head.startswith(b"BM") and len(head) >= 6:
        expected = int.from_bytes(head[2:6], "little")
    return f"; {there:,} of {expected:,} bytes are there" if expected > there else ""


def _is_intact(data: bytes, kind: str) -> bool:
    """Whether a file that Pillow decodes holds nothing that a browser's decoder may refuse."""
    if kind == "PNG":
        return _is_intact_png(data)
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return _is_browser_jpeg(data)


def _is_intact_png(data: bytes) -> bool:
    """Whether all checksums hold, the pixel data ends and IEND is there; Pillow minds neither."""
    position, has_palette, pixels = 8, False, zlib.decompressobj()
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 8 + length
        body = data[position + 8 : end]
        if len(data) < end + 4 or zlib.crc32(kind + body) != int.from_bytes(data[end : end + 4]):
            return False
        if kind == b"PLTE":
            has_palette = True
        elif kind == b"IDAT" and not pixels.eof:
            try:
                pixels.decompress(body)
            except zlib.error:
                return False
        elif kind == b"IEND":
            has_colors = has_palette or data[25] != 3  # colour type 3: palette
            return bool(pixels.eof) and has_colors
        position = end + 4
    return False


# Within JPEG's coded data, what ends it: no stuffed zero, fill byte or restart marker.
_JPEG_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _is_browser_jpeg(data: bytes) -> bool:
    """Whether a JPEG is 8-bit baseline or progressive, one segment after the other to its end.

    Where segments do not follow one another libjpeg searches on and Pillow decodes something; of
    browsers' decoders one does the same (``img``) and one refuses (``createImageBitmap``).
    """
    position, has_frame, has_scan = 2, False, False
    while position + 2 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]  # ITU-T T.81, table B.1
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xD9:  # end of image; what comes behind is nobody's business
            return has_frame and has_scan
        if marker in (0xC0, 0xC1, 0xC2):  # Huffman-coded: baseline, extended, progressive
            if data[position + 4 : position + 5] != b"\x08":
                return False
            has_frame = True
        elif marker < 0xC0 or 0xD0 <= marker <= 0xD8 or marker in _JPEG_OTHER_FRAMES:
            return False
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == 0xDA:
            has_scan = True
            following = _JPEG_NEXT_MARKER.search(data, position)
            if following is None:
                return False
            position = following.start()
    return False


# Lossless, hierarchical and arithmetic-coded frames, which browsers do not read.
_JPEG_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}


# --- pixels for display --------------------------------------------------------------------------


def _to_display(picture: Any, window: tuple[float, float] | None, name: str) -> Picture:
    """A loaded picture of any mode as L or RGB, 8 bit."""
    from PIL import Image

    mode = picture.mode
    if mode == "I" or mode == "F" or mode.startswith("I;16"):
        values = _to_8_bit(np.asarray(picture), window)
        if picture.format == "TIFF" and mode != "F" and picture.tag_v2.get(262) == 0:
            values = 255 - values  # PhotometricInterpretation 0, white is zero: X-rays have it
        return Image.fromarray(values)
    if window is not None:
        if mode != "L":
            raise ImageError(
                f"{name}: window={window} needs one channel, but the image has mode {mode}; "
                "leave it out, or pass the pixels as an array"
            )
        return Image.fromarray(_to_8_bit(np.asarray(picture), window))
    if mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
        if converted is None:
            raise ImageError(f"{name}: its LAB colours cannot be converted; save it as RGB")
        return converted
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        return _on_background(picture if mode == "RGBA" else picture.convert("RGBA"))
    if mode in ("1", "L"):
        return picture.convert("L")  # type: ignore[no-any-return]
    return picture.convert("RGB")  # type: ignore[no-any-return]


def _on_background(picture: Picture) -> Picture:
    """An RGBA picture laid on mid grey."""
    from PIL import Image

    shown = Image.new("RGB", picture.size, (_BACKGROUND,) * 3)
    shown.paste(picture, mask=picture.getchannel("A"))
    return shown


def _array_to_display(array: NDArray[Any], window: tuple[float, float] | None) -> Picture:
    """An array that passed `_check_array` as L or RGB, 8 bit."""
    from PIL import Image

    if array.ndim == 2:
        array = array[..., np.newaxis]
    n_channels = array.shape[2]
    n_colors = 3 if n_channels >= 3 else 1
    colors = _to_8_bit(array[..., :n_colors], window)
    shown = Image.fromarray(np.ascontiguousarray(colors if n_colors == 3 else colors[..., 0]))
    if n_channels in (1, 3):
        return shown
    alpha = array[..., -1]
    top = float(np.iinfo(alpha.dtype).max) if np.issubdtype(alpha.dtype, np.integer) else 1.0
    opacity = alpha if alpha.dtype == np.uint8 else _to_8_bit(alpha, (0.0, top))
    shown = shown.convert("RGB")
    shown.putalpha(Image.fromarray(np.ascontiguousarray(opacity)))
    return _on_background(shown)


def _to_8_bit(values: NDArray[Any], window: tuple[float, float] | None) -> UInt8Array:
    """Values of any number type as 8-bit grey levels, as the notes of `ImageSource` say."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8 and window is None:
        return values
    low, high = _auto_window(values) if window is None else window
    if values.dtype in (np.uint8, np.uint16):
        n_values = np.iinfo(values.dtype).max + 1
        table = _spread(np.arange(n_values, dtype=np.float64), low, high)
        levels: UInt8Array = table[values]
        return levels
    out = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), 256):  # in strips: float64 takes 8 times the memory
        strip = slice(start, start + 256)
        out[strip] = _spread(values[strip].astype(np.float64), low, high)
    return out


def _spread(values: NDArray[np.float64], low: float, high: float) -> UInt8Array:
    """Values from low to high as 0 to 255; all the same mid grey if low equals high."""
    half = high / 2 - low / 2  # halves: the difference of two floats may overflow
    if half == 0:
        levels = np.where(np.isposinf(values), 255.0, np.where(np.isneginf(values), 0.0, 128.0))
        levels[np.isnan(values)] = 0.0
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            levels = np.clip((values / 2 - low / 2) / half, 0.0, 1.0) * 255.0
        np.nan_to_num(levels, copy=False, nan=0.0)
    return (levels + 0.5).astype(np.uint8)


def _auto_window(values: NDArray[Any]) -> tuple[float, float]:
    """(low, high): the values to show as black and white; equal if all finite ones are."""
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, 1.0
    if np.issubdtype(values.dtype, np.floating):
        smallest = float(np.min(values, where=finite, initial=np.inf))
        largest = float(np.max(values, where=finite, initial=-np.inf))
        if smallest >= 0 and largest <= 1:
            return 0.0, 1.0
    else:
        smallest, largest = float(values.min()), float(values.max())
    flat = values.reshape(-1)
    if flat.size > _PERCENTILE_SAMPLES:
        # Drawn at random (with a fixed seed): an even step could keep to a few columns.
        flat = flat[np.random.default_rng(0).integers(0, flat.size, _PERCENTILE_SAMPLES)]
    sample = flat.astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size:
        low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
        if low < high:
            return low, high
    return smallest, largest


def _check_array(array: NDArray[Any]) -> NDArray[Any]:
    """The array, if it is an image; ImageError with all that is wrong otherwise."""
    problems = []
    shape = array.shape
    if array.ndim not in (2, 3):
        problem = f"has {array.ndim} dimensions, expected 2 or 3"
        if array.ndim == 4:
            problem += "; give the images of a batch one by one"
        problems.append(problem)
    elif array.ndim == 3 and shape[2] not in (1, 2, 3, 4):
        problem = f"has {shape[2]} channels, expected 1, 2 (grey + alpha), 3 (RGB) or 4 (RGBA)"
        if shape[0] in (1, 3, 4):
            problem += "; if its channels come first, pass np.moveaxis(array, 0, -1)"
        problems.append(problem)
    if array.size == 0:
        problems.append("has no pixels")
    is_number = array.dtype == np.bool_ or (
        np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    )
    if not is_number:
        problems.append("is not of numbers; expected bool, integers or floats")
    elif array.dtype.kind == "m":
        problems.append("holds times; expected bool, integers or floats")
    if problems:
        raise ImageError(
            f"image array of shape {shape} and dtype {array.dtype}: {'; '.join(problems)}; "
            "an image has shape (height, width) or (height, width, channels)"
        )
    return array


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in size)
    except (TypeError, ValueError):
        width = height = 0
    if width < 1 or height < 1:
        raise ValueError(f"recorded_size: expected (width, height) in pixels, got {size!r}")
    return width, height


def _check_window(window: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError):
        low = high = float("nan")
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"window: expected (low, high), finite and low < high, got {window!r}")
    return low, high


# --- turning, scaling, encoding ------------------------------------------------------------------

# EXIF 2.32, tag 274: what undoes an orientation. 6 and 8 undo each other, all others themselves.
_INVERSE_ORIENTATION = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def _turns_sides(orientation: int) -> bool:
    """Whether this EXIF orientation swaps width and height."""
    return orientation >= 5


def _turned(picture: Picture, orientation: int) -> Picture:
    """The picture upright, if its EXIF orientation is this one."""
    from PIL import Image

    transpose = Image.Transpose
    steps = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_270,  # Pillow turns counter-clockwise
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_90,
    }
    return picture.transpose(steps[orientation]) if orientation in steps else picture


def _shrink(picture: Picture, size: tuple[int, int], box: tuple[int, int, int, int]) -> Picture:
    """The part `box` of the picture, scaled down to `size`."""
    from PIL import Image

    # Hamming: as fast as bilinear, as sharp as bicubic when scaling down (Pillow's handbook).
    return picture.resize(size, Image.Resampling.HAMMING, box=box, reducing_gap=2.0)


def _encode_png(picture: Picture) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1, icc_profile=picture.info.get("icc_profile"))
    return out.getvalue()


def _encode_webp(picture: Picture, quality: int) -> bytes:
    out = io.BytesIO()
    # Method 0 takes a quarter of the default's time at 3 megapixels for files of the same size.
    picture.save(
        out, "WEBP", quality=quality, method=0, icc_profile=picture.info.get("icc_profile")
    )
    return out.getvalue()


def _encode_webp_within(picture: Picture, max_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """WebP of at most `max_bytes`, and its size: quality gives way first, then size."""
    icc = picture.info.get("icc_profile")
    if icc is not None and len(icc) * 8 > max_bytes:
        picture = picture.copy()
        del picture.info["icc_profile"]
    if max(picture.size) > _WEBP_MAX_SIDE:
        picture = _scaled(picture, _WEBP_MAX_SIDE / max(picture.size))
    step = 0 if picture.width * picture.height <= _SMALL_PIXELS else 1
    while True:
        quality, relative = _WEBP_LADDER[step]
        data = _encode_webp(picture, quality)
        if len(data) <= max_bytes:
            return data, picture.size
        if max(picture.size) == 1:
            raise ImageError(f"one pixel takes {len(data)} bytes, more than {max_bytes}")
        # A trial costs as much as the result, so jump to the quality that should fit.
        wanted = 0.97 * max_bytes / len(data) * relative
        lower = [i for i in range(step + 1, len(_WEBP_LADDER)) if _WEBP_LADDER[i][1] <= wanted]
        if lower:
            step = lower[0]
        else:
            # Bytes go with the number of pixels. Scaling down smooths away what compresses badly,
            # so begin above the lowest quality again.
            lowest = _WEBP_LADDER[-1][1]
            picture = _scaled(picture, min(0.9, 0.95 * (wanted / lowest) ** 0.5))
            step = len(_WEBP_LADDER) - 3


def _scaled(picture: Picture, factor: float) -> Picture:
    # Rounded down, so that repeating it ends; the summand is for factors that are quotients.
    width, height = (max(1, int(side * factor + 1e-6)) for side in picture.size)
    size = (width, height)
    return _shrink(picture, size, (0, 0, *picture.size))


# --- wording -------------------------------------------------------------------------------------


def named(text: str) -> str:
    """The name of a file as it is, if that is fit for a message; else in quotes, cut and escaped.

    Parameters
    ----------
    text : str
    """
    is_plain = text.strip() and text.isprintable() and len(text) <= 1000
    return text if is_plain else _quoted(text)


def _quoted(text: str) -> str:
    """The text in quotes, control characters escaped, cut where it is very long."""
    return repr(text if len(text) <= 200 else text[:200] + "...")


def _reason(error: BaseException) -> str:
    """Why the system or a decoder refused, without the path, which stands in front already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
