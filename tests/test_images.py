"""Images in, display pixels and browser bytes out.

Expected pixels are worked by hand from the EXIF, PNG and TIFF definitions; the encoded results are
read back with Pillow alone.
"""

from __future__ import annotations

import gc
import io
import os
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from kpwidget import images
from kpwidget.images import EncodedImage, ImageError, ImageSource, resolve_inside

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def decoded(result: EncodedImage) -> np.ndarray:
    """The RGB pixels of an encoded picture, checking what it says of itself."""
    with Image.open(io.BytesIO(result.data)) as picture:
        assert picture.size == (result.width, result.height)
        assert Image.MIME[picture.format or ""] == result.mime
        return np.array(picture.convert("RGB"))


def noise(width: int, height: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def gradient(width: int, height: int) -> Image.Image:
    x = np.linspace(0, 255, width)[np.newaxis, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, np.newaxis].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def png_file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# --- what passes through byte for byte -----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "mode", "mime", "options"),
    [
        pytest.param("JPEG", "RGB", "image/jpeg", {}, id="jpeg"),
        pytest.param("JPEG", "RGB", "image/jpeg", {"progressive": True}, id="progressive jpeg"),
        pytest.param("JPEG", "L", "image/jpeg", {}, id="grey jpeg"),
        pytest.param("PNG", "RGB", "image/png", {}, id="png"),
        pytest.param("PNG", "RGBA", "image/png", {}, id="rgba png"),
        pytest.param("PNG", "P", "image/png", {}, id="palette png"),
        pytest.param("PNG", "1", "image/png", {}, id="1-bit png"),
        pytest.param("WEBP", "RGB", "image/webp", {}, id="webp"),
        pytest.param("WEBP", "RGBA", "image/webp", {"lossless": True}, id="lossless webp"),
    ],
)
def test_browser_files_pass_through_byte_for_byte(
    tmp_path: Path, kind: str, mode: str, mime: str, options: dict[str, Any]
) -> None:
    data = encoded(gradient(40, 30).convert(mode), kind, **options)
    path = tmp_path / "picture"
    path.write_bytes(data)
    for source in (ImageSource(data), ImageSource(path), ImageSource(str(path))):
        result = source.preview()
        assert result.data == data
        assert (result.mime, result.width, result.height) == (mime, 40, 30)
        assert result.is_full_resolution
        assert result.is_lossless
        assert result.box == (0, 0, 40, 30)


def test_a_phone_jpeg_with_a_second_picture_passes_through() -> None:
    data = encoded(gradient(40, 30), "MPO", save_all=True, append_images=[gradient(8, 6)])
    source = ImageSource(data)
    assert source.preview().data == data
    assert source.preview().mime == "image/jpeg"
    assert source.note is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(encoded(gradient(9, 7).convert("CMYK"), "JPEG"), "CMYK", id="cmyk jpeg"),
        pytest.param(
            encoded(Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9) * 900), "PNG"),
            "16 bit",
            id="16-bit png",
        ),
        pytest.param(encoded(gradient(9, 7), "TIFF"), "format", id="tiff"),
        pytest.param(encoded(gradient(9, 7), "BMP"), "format", id="bmp"),
        pytest.param(encoded(gradient(9, 7), "GIF"), "format", id="gif"),
        pytest.param(
            encoded(
                gradient(9, 7), "WEBP", save_all=True, append_images=[gradient(9, 7).rotate(9)]
            ),
            "animated",
            id="animated webp",
        ),
        pytest.param(
            encoded(gradient(9, 7), "PNG", save_all=True, append_images=[gradient(9, 7).rotate(9)]),
            "animated",
            id="animated png",
        ),
        pytest.param(
            encoded(gradient(9, 7), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
            "EXIF that we cannot read and a browser perhaps can",
            id="broken exif",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's own
def test_what_a_browser_might_show_otherwise_is_encoded_anew(data: bytes, why: str) -> None:
    result = ImageSource(data).preview()
    assert result.data != data, why
    assert decoded(result).shape == (7, 9, 3)
    assert result.is_full_resolution


def test_a_jpeg_of_a_kind_browsers_do_not_read_is_encoded_anew() -> None:
    data = encoded(gradient(16, 8), "JPEG")
    position = data.index(b"\xff\xc0")
    # ITU-T T.81 table B.1: 0xC9 is extended sequential, arithmetic coding.
    arithmetic = data[: position + 1] + b"\xc9" + data[position + 2 :]
    assert images._is_browser_jpeg(data)
    assert not images._is_browser_jpeg(arithmetic)


def test_a_jpeg_with_a_segment_of_the_wrong_length_is_encoded_anew() -> None:
    # Seen in Chromium: img shows it, createImageBitmap refuses it.
    data = encoded(gradient(32, 24), "JPEG", progressive=True)
    position = data.index(b"\xff\xc4")  # the first Huffman table
    padded = data[:position] + b"\x01\x00" + data[position:]  # libjpeg skips stray bytes
    result = ImageSource(padded).preview()
    assert result.data != padded
    assert decoded(result).shape == (24, 32, 3)


def test_a_jpeg_without_its_end_marker_is_encoded_anew() -> None:
    data = encoded(gradient(32, 24), "JPEG")
    assert data.endswith(b"\xff\xd9")
    assert not images._is_browser_jpeg(data[:-2])
    assert images._is_browser_jpeg(data + b"trailing bytes of a phone")


def test_files_above_the_limits_are_encoded_anew() -> None:
    data = encoded(Image.fromarray(noise(120, 80)), "PNG")
    source = ImageSource(data)
    assert source.preview(max_side=120, max_file_bytes=len(data)).data == data
    assert source.preview(max_file_bytes=len(data) - 1).data != data
    smaller = source.preview(max_side=119)
    assert (smaller.width, smaller.height) == (119, 79)  # 80 * 119 / 120 = 79.33
    assert not smaller.is_full_resolution


def test_a_window_is_never_passed_by() -> None:
    data = encoded(Image.fromarray(np.array([[0, 100, 110, 200]], np.uint8)), "PNG")
    result = ImageSource(data, window=(100, 120)).preview()
    assert decoded(result)[0, :, 0].tolist() == [0, 0, 128, 255]  # (110 - 100) / 20 * 255 = 127.5


# --- damaged files: no undecodable byte for the browser ------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's own, about the damage
@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_no_cut_of_a_file_passes_through_or_crashes(kind: str) -> None:
    if kind == "progressive":
        data = encoded(Image.fromarray(noise(24, 16)), "JPEG", progressive=True)
    else:
        data = encoded(Image.fromarray(noise(24, 16)), kind)
    n_errors = 0
    for length in range(1, len(data), 3):
        try:
            result = ImageSource(data[:length]).preview()
        except ImageError:
            n_errors += 1
        else:  # only trailing bytes are missing
            assert result.data != data[:length], length
            assert decoded(result).shape == (16, 24, 3)
    assert n_errors > 0.9 * len(range(1, len(data), 3))


def test_no_flipped_byte_of_a_png_passes_through() -> None:
    data = encoded(Image.fromarray(noise(12, 9)), "PNG")
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        try:
            result = ImageSource(bytes(damaged)).preview()
        except ImageError:
            continue
        assert result.data != bytes(damaged), position  # every byte is under a checksum


def test_a_png_whose_pixel_data_has_no_end_is_encoded_anew() -> None:
    chunks = png_chunks(encoded(Image.fromarray(noise(12, 9)), "PNG"))
    cut = [(kind, body[:-4] if kind == b"IDAT" else body) for kind, body in chunks]
    data = png_file(cut)  # all pixels and right checksums, but zlib's own (4 bytes) is missing
    assert decoded(ImageSource(data).preview()).tolist() == noise(12, 9).tolist()
    assert ImageSource(data).preview().data != data


def test_an_interlaced_or_split_png_passes_through() -> None:
    chunks = png_chunks(encoded(Image.fromarray(noise(12, 9)), "PNG"))
    split = []
    for kind, body in chunks:
        if kind == b"IDAT":
            split += [(kind, body[:20]), (kind, body[20:])]
        else:
            split.append((kind, body))
    data = png_file(split)
    assert ImageSource(data).preview().data == data


def test_a_truncated_photograph_says_so_whatever_its_size(tmp_path: Path) -> None:
    data = encoded(gradient(1200, 900), "JPEG", quality=95)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[: len(data) // 2])
    source = ImageSource(path)
    assert source.size == (1200, 900)
    for read in (source.preview, lambda: source.preview(300), source.to_array, source.open):
        with pytest.raises(ImageError, match=r"photo\.jpg: the file is damaged or cut short.*copy"):
            read()


def test_pillows_leniency_set_elsewhere_lets_no_damaged_file_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    cut = whole[: len(whole) // 2]
    result = ImageSource(cut).preview()
    assert result.data != cut
    assert decoded(result).shape == (64, 64, 3)


def test_a_webp_cut_short_says_how_much_is_there() -> None:
    data = encoded(gradient(64, 64), "WEBP", quality=90)
    with pytest.raises(ImageError, match=rf"{len(data) - 100} of {len(data)} bytes are there"):
        ImageSource(data[:-100]).preview()


# --- orientation ---------------------------------------------------------------------------------

# EXIF 2.32, tag 274: which visual side the stored row 0 and column 0 are on. The stored image is
# 3 wide, 2 high, red at its row 0, column 0; so the red pixel ends in the corner where both meet.
CORNERS = {
    1: ("top", "left"),  # row 0 is the visual top, column 0 the visual left
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


LOSSY = ("JPEG", "WEBP")


def oriented(kind: str, orientation: int, size: tuple[int, int] = (3, 2)) -> bytes:
    picture = Image.new("RGB", size, WHITE)
    picture.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[274] = orientation
    if kind == "TIFF":
        return encoded(picture, kind, tiffinfo={274: orientation})
    if kind in LOSSY:  # large blocks of colour survive
        picture = picture.resize((size[0] * 16, size[1] * 16), Image.Resampling.NEAREST)
        return encoded(picture, kind, exif=exif, quality=95)
    return encoded(picture, kind, exif=exif)


def red_place(pixels: np.ndarray) -> tuple[int, int]:
    """(row, column) of the red cell, in an image of 3x2 or 2x3 cells."""
    n_rows, n_columns = (2, 3) if pixels.shape[1] > pixels.shape[0] else (3, 2)
    cell = pixels.shape[0] // n_rows
    centers = pixels[cell // 2 :: cell, cell // 2 :: cell].astype(int)
    is_red = (centers[..., 0] > 200) & (centers[..., 1] < 60) & (centers[..., 2] < 60)
    assert is_red.shape == (n_rows, n_columns)
    assert is_red.sum() == 1
    row, column = np.argwhere(is_red)[0]
    return int(row), int(column)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_is_shown_upright(kind: str, orientation: int) -> None:
    data = oriented(kind, orientation)
    scale = 16 if kind in LOSSY else 1
    n_rows, n_columns = (3, 2) if orientation >= 5 else (2, 3)
    sides = CORNERS[orientation]
    expected = (n_rows - 1 if "bottom" in sides else 0, n_columns - 1 if "right" in sides else 0)
    source = ImageSource(data)
    assert source.size == (n_columns * scale, n_rows * scale)
    assert source.note is None
    assert red_place(source.to_array()) == expected
    assert red_place(decoded(source.preview())) == expected
    assert red_place(decoded(source.region(0, 0, *source.size, 100, 100))) == expected
    assert source.open().size == source.size
    if orientation != 1:
        assert source.preview().data != data  # a browser would turn it once more


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_stored_orientation_can_be_asked_for(kind: str, orientation: int) -> None:
    data = oriented(kind, orientation)
    source = ImageSource(data, orientation="stored")
    scale = 16 if kind in LOSSY else 1
    assert source.size == (3 * scale, 2 * scale)
    assert red_place(source.to_array()) == (0, 0)
    result = source.preview()
    assert red_place(decoded(result)) == (0, 0)
    with Image.open(io.BytesIO(result.data)) as picture:
        assert picture.getexif().get(274, 1) == 1
    if orientation == 1:
        assert source.note is None
    else:
        assert source.note is not None
        assert f"EXIF orientation {orientation} is not applied" in source.note


def test_a_large_turned_jpeg_has_an_upright_preview() -> None:
    data = oriented("JPEG", 6, (300, 200))  # 4800 x 3200 stored; red block of 16 pixels at 0, 0
    source = ImageSource(data)
    assert source.size == (3200, 4800)
    result = source.preview(1200)
    assert (result.width, result.height) == (800, 1200)
    pixels = decoded(result).astype(int)  # 1/4: the red block covers 4 pixels at the top right
    assert pixels[1, 798, 1] < 100
    assert pixels[1, 1, 1] > 230
    assert pixels[1198, 798, 1] > 230


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_recorded_size_that_matches_only_the_stored_one_keeps_it(kind: str) -> None:
    data = oriented(kind, 6)
    stored = (48, 32) if kind == "JPEG" else (3, 2)
    upright = stored[::-1]
    kept = ImageSource(data, recorded_size=stored)
    assert kept.size == stored
    assert red_place(kept.to_array()) == (0, 0)
    assert kept.note == (
        f"shown in its stored orientation because the recorded size {stored[0]}x{stored[1]} "
        "matches it; pass orientation='upright' to turn it"
    )
    turned = ImageSource(data, recorded_size=upright)
    assert turned.size == upright
    assert turned.note is None
    overridden = ImageSource(data, recorded_size=stored, orientation="upright")
    assert overridden.size == upright
    assert "recorded size" in (overridden.note or "")


def test_a_recorded_size_that_matches_neither_is_noted() -> None:
    source = ImageSource(oriented("PNG", 6), recorded_size=(640, 480))
    assert source.size == (2, 3)
    assert source.note == "the recorded size 640x480 differs from the image's 2x3"


def test_a_square_image_is_turned_whatever_the_recorded_size() -> None:
    source = ImageSource(oriented("PNG", 6, (3, 3)), recorded_size=(3, 3))
    assert source.to_array()[0, 2].tolist() == list(RED)
    assert source.note is None


@pytest.mark.parametrize("value", [0, 9, 1000])
def test_an_orientation_that_exif_does_not_know_turns_nothing(value: int) -> None:
    source = ImageSource(oriented("PNG", value))
    assert source.size == (3, 2)
    assert red_place(source.to_array()) == (0, 0)


def test_a_png_orientation_behind_the_pixels_is_found_from_the_header() -> None:
    chunks = png_chunks(oriented("PNG", 6))
    exif = [chunk for chunk in chunks if chunk[0] == b"eXIf"]
    assert len(exif) == 1
    others = [chunk for chunk in chunks if chunk[0] != b"eXIf"]
    data = png_file([*others[:-1], *exif, others[-1]])
    source = ImageSource(data)
    assert source.size == (2, 3)
    assert red_place(decoded(source.preview())) == (0, 1)


def test_size_reads_no_pixels() -> None:
    data = encoded(Image.fromarray(noise(500, 400)), "JPEG")
    assert ImageSource(data[:2000]).size == (500, 400)


# --- modes and depths ----------------------------------------------------------------------------


def shown(data: Any, **options: Any) -> np.ndarray:
    source = ImageSource(data, **options)
    pixels = source.to_array()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*source.size[::-1], 3)
    assert decoded(source.preview()).shape == pixels.shape
    return pixels


def grey(data: Any, **options: Any) -> list[list[int]]:
    pixels = shown(data, **options)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(np.array([[7, 200]], np.uint8), [[7, 200]], id="uint8 as it is"),
        pytest.param(np.array([[[7], [200]]], np.uint8), [[7, 200]], id="one channel"),
        pytest.param(np.array([[False, True]]), [[0, 255]], id="bool"),
        # Percentiles 0.5 and 99.5 of 0, 100: 0.5 and 99.5; both clipped.
        pytest.param(np.array([[0, 100]], np.uint16), [[0, 255]], id="uint16"),
        pytest.param(np.array([[-100, 0, 100]], np.int16), [[0, 128, 255]], id="int16"),
        pytest.param(np.array([[-5, 5]], np.int64), [[0, 255]], id="int64"),
        pytest.param(np.array([[0, 2**64 - 1]], np.uint64), [[0, 255]], id="uint64"),
        pytest.param(np.array([[0.0, 0.5, 1.0]]), [[0, 128, 255]], id="float 0 to 1"),
        pytest.param(np.array([[0.25, 0.5]], np.float32), [[64, 128]], id="float within 0 to 1"),
        pytest.param(np.array([[0.0, 50.0, 100.0]]), [[0, 128, 255]], id="float 0 to 100"),
        pytest.param(np.array([[0.0, 1.0]], np.float16), [[0, 255]], id="float16"),
        pytest.param(np.array([[0.0, 1.0]], ">f8"), [[0, 255]], id="big-endian"),
        pytest.param(np.array([[-1e308, 0, 1e308]]), [[0, 128, 255]], id="huge floats"),
        pytest.param(
            np.array([[np.nan, -np.inf, 0.0, 0.5, 1.0, np.inf]]),
            [[0, 0, 0, 128, 255, 255]],
            id="nan and inf",
        ),
        pytest.param(np.full((1, 2), np.nan), [[0, 0]], id="all nan"),
        pytest.param(np.full((1, 2), 4000, np.uint16), [[128, 128]], id="constant uint16"),
        pytest.param(np.full((1, 2), -3.5), [[128, 128]], id="constant float"),
        pytest.param(np.array([[9.0, np.nan, np.inf]]), [[128, 0, 255]], id="constant but nan"),
        pytest.param(np.full((1, 2), 0.25), [[64, 64]], id="constant in 0 to 1: itself"),
        pytest.param(np.full((1, 2), 90, np.uint8), [[90, 90]], id="constant uint8: itself"),
        pytest.param(np.full((1, 2), 0, np.int32), [[128, 128]], id="constant zero int"),
    ],
)
def test_grey_arrays_are_shown_right(array: np.ndarray, expected: list[list[int]]) -> None:
    assert grey(array) == expected


def test_a_few_outliers_do_not_darken_a_16_bit_image() -> None:
    values = np.tile(np.linspace(1000, 2000, 1000).astype(np.uint16), (10, 1))
    values[0, 0], values[0, 1] = 65535, 0  # 2 of 10,000
    pixels = np.array(grey(values))
    assert pixels[5, 500] == pytest.approx(127.5, abs=2)
    assert pixels[5, 0] == 0
    assert pixels[5, 999] == 255


def test_a_rare_value_still_shows_where_the_percentiles_are_equal() -> None:
    values = np.zeros((50, 50), np.uint16)
    values[3, 4] = 700  # a label mask
    pixels = np.array(grey(values))
    assert pixels[3, 4] == 255
    assert pixels.sum() == 255


def test_a_large_float_image_is_sampled_and_shown_right() -> None:
    values = np.tile(np.linspace(-10, 10, 2000), (1500, 1))
    pixels = ImageSource(values).to_array()
    # 0.5 and 99.5 percentile of a uniform ramp: -9.9 and 9.9; so x = 0 is mid grey.
    assert pixels[700, 1000, 0] == pytest.approx(127.5, abs=1.5)
    expected = (np.linspace(-10, 10, 2000) + 9.9) / 19.8 * 255
    assert np.abs(pixels[0, :, 0] - np.clip(expected, 0, 255)).max() < 2


def test_a_masked_array_is_shown_by_its_values() -> None:
    values = np.array([[0.0, 1.0]])
    assert grey(np.ma.masked_array(values, mask=[[False, True]])) == grey(values)


def test_color_arrays_keep_their_hue_when_spread() -> None:
    values = np.array([[[0, 1000, 2000], [2000, 2000, 2000], [0, 0, 0]]], np.uint16)
    assert shown(values).tolist() == [[[0, 128, 255], [255, 255, 255], [0, 0, 0]]]


def test_alpha_of_arrays_is_laid_on_mid_grey() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 128]]], np.uint8)
    opaque, clear, half = shown(rgba)[0].tolist()
    assert opaque == [255, 0, 0]
    assert clear == [128, 128, 128]
    assert half == pytest.approx([191.75, 63.75, 63.75], abs=1)  # 128 of 255: 0.502
    assert shown(rgba / 255)[0].tolist() == [opaque, clear, half]
    assert shown(rgba.astype(np.uint16) * 257)[0].tolist() == [opaque, clear, half]
    grey_alpha = np.array([[[200, 255], [200, 0]]], np.uint8)
    assert shown(grey_alpha)[0].tolist() == [[200] * 3, [128] * 3]


def test_a_window_sets_black_and_white() -> None:
    values = np.array([[0, 1000, 1500, 2000, 60000]], np.uint16)
    assert grey(values, window=(1000, 2000)) == [[0, 0, 128, 255, 255]]
    assert grey(values.astype(float), window=(1000, 2000)) == [[0, 0, 128, 255, 255]]
    assert grey(encoded(Image.fromarray(values), "PNG"), window=(1000, 2000)) == [
        [0, 0, 128, 255, 255]
    ]


def test_a_window_for_a_color_file_is_refused() -> None:
    source = ImageSource(encoded(gradient(4, 4), "PNG"), window=(0, 10))
    with pytest.raises(ImageError, match=r"window=\(0.0, 10.0\) needs one channel.*mode RGB"):
        source.preview()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_files(kind: str) -> None:
    values = np.array([[100, 2100, 4100]], np.uint16)
    assert grey(encoded(Image.fromarray(values), kind)) == [[0, 128, 255]]


def test_a_big_endian_16_bit_tiff() -> None:
    values = np.array([[100, 2100, 4100]], ">u2")
    picture = Image.frombytes("I;16B", (3, 1), values.tobytes())
    assert grey(encoded(picture, "TIFF")) == [[0, 128, 255]]


def test_an_x_ray_tiff_where_white_is_zero_is_not_a_negative() -> None:
    values = np.array([[0, 2000, 4000]], np.uint16)
    data = bytearray(encoded(Image.fromarray(values), "TIFF"))
    entry = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation, SHORT, 1 value
    position = data.index(entry) + len(entry)
    assert data[position] == 1  # black is zero
    data[position] = 0
    assert grey(bytes(data)) == [[255, 127, 0]]


def test_float_and_32_bit_tiffs() -> None:
    assert grey(encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], "f4")), "TIFF")) == [
        [0, 128, 255]
    ]
    assert grey(encoded(Image.fromarray(np.array([[0, 50000, 100000]], "i4")), "TIFF")) == [
        [0, 128, 255]
    ]


def test_16_bit_color_is_shown_and_noted() -> None:
    row = b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 32896, 0)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = png_file([(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")])
    source = ImageSource(data)
    assert source.to_array().tolist() == [[[255, 0, 0], [0, 128, 0]]]
    assert source.preview().data != data
    assert "16-bit colour is shown by its upper 8 bits" in (source.note or "")


def test_a_palette_with_transparency_is_laid_on_mid_grey() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    gif = encoded(picture, "GIF", transparency=0)
    png = encoded(picture, "PNG", transparency=bytes([255, 0]))
    assert ImageSource(gif).to_array().tolist() == [[[128, 128, 128], [0, 0, 255]]]
    assert ImageSource(png).to_array().tolist() == [[[255, 0, 0], [128, 128, 128]]]
    assert decoded(ImageSource(gif).preview()).tolist() == [[[128, 128, 128], [0, 0, 255]]]


def test_a_key_color_is_transparent() -> None:
    picture = Image.fromarray(np.array([[RED, WHITE]], np.uint8))
    data = encoded(picture, "PNG", transparency=RED)
    assert ImageSource(data).to_array().tolist() == [[[128, 128, 128], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "1", "LA", "PA"])
def test_other_color_spaces_come_out_right(mode: str) -> None:
    picture = gradient(32, 24).convert("L" if mode in ("1", "LA", "PA") else "RGB")
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
        assert converted is not None
    elif mode == "1":
        picture = picture.point(lambda value: 255 * (value > 128))
        converted = picture.convert("1")
    else:
        converted = picture.convert(mode)
    if mode == "PA":  # no writer: take it as Pillow has it
        display = np.asarray(images._to_display(converted, None, "x"))
    else:
        display = shown(encoded(converted, "TIFF"))
    error = np.abs(display.astype(int) - np.asarray(picture.convert("RGB")).astype(int))
    # LAB in 8 bits is coarse where dark, where a step of it is many levels of sRGB.
    assert np.percentile(error, 95) <= (8 if mode == "LAB" else 3)
    assert error.max() <= (40 if mode == "LAB" else 3)


def test_a_cmyk_jpeg_is_not_a_negative() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, full magenta and yellow
    pixels = shown(encoded(red, "JPEG", quality=100))
    assert np.abs(pixels.astype(int) - RED).max() <= 6


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_shown_and_noted(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in (RED, WHITE, (0, 0, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    source = ImageSource(data)
    assert source.size == (8, 6)
    assert source.to_array()[3, 3].tolist() == list(RED)
    assert np.abs(decoded(source.preview())[3, 3].astype(int) - RED).max() <= 4
    assert source.note == "the file holds several frames; the first is shown"


def test_a_display_p3_profile_stays_with_what_is_encoded() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(gradient(60, 40), "JPEG", icc_profile=profile)
    for result in (
        ImageSource(data).preview(max_side=30),
        ImageSource(data).region(0, 0, 20, 20, 20, 20),
    ):
        with Image.open(io.BytesIO(result.data)) as picture:
            assert picture.info.get("icc_profile") == profile


# --- previews and regions ------------------------------------------------------------------------


def test_a_preview_of_a_photograph_keeps_to_side_and_bytes() -> None:
    samples = pytest.importorskip("kpwidget.samples")
    data = encoded(Image.fromarray(samples.made_photo(4000, 3000, 3)), "JPEG", quality=90)
    source = ImageSource(data)
    result = source.preview()
    assert result.mime == "image/webp"
    assert max(result.width, result.height) <= 2048
    assert min(result.width, result.height) >= 1400
    assert 100_000 < len(result.data) <= 300_000
    assert not result.is_full_resolution
    assert not result.is_lossless
    small = np.asarray(source.open().resize((result.width, result.height), Image.Resampling.BOX))
    assert np.abs(decoded(result).astype(int) - small.astype(int)).mean() < 6


@pytest.mark.parametrize("max_bytes", [1024, 20_000, 100_000])
def test_pure_noise_is_made_smaller_until_it_fits(max_bytes: int) -> None:
    result = ImageSource(noise(900, 600)).preview(max_bytes=max_bytes)
    assert len(result.data) <= max_bytes
    if max_bytes > 1024:  # in a thumbnail all noise averages out
        assert len(result.data) > 0.4 * max_bytes
    assert result.width / result.height == pytest.approx(1.5, rel=0.05)
    assert not result.is_full_resolution
    decoded(result)


def test_quality_gives_way_before_size() -> None:
    source = ImageSource(noise(400, 300))
    full = len(source.preview().data)
    result = source.preview(max_bytes=int(full * 0.7))
    assert (result.width, result.height) == (400, 300)
    assert result.is_full_resolution
    assert not result.is_lossless


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((3001, 1999), id="odd"),
        pytest.param((2049, 7), id="flat"),
        pytest.param((1, 5000), id="one pixel wide"),
        pytest.param((20001, 2), id="beyond WebP"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_previews_of_awkward_sizes(size: tuple[int, int], kind: str) -> None:
    source = ImageSource(encoded(gradient(*size), kind))
    result = source.preview(max_side=1000)
    pixels = decoded(result).astype(int)
    assert 900 <= max(pixels.shape) <= 1000
    assert min(pixels.shape[:2]) >= 1
    # The ramps span the whole preview: its ends are the image's ends.
    if size[0] > 1:
        assert pixels[:, 0, 0].mean() < 20
        assert pixels[:, -1, 0].mean() > 235
    if size[1] > 7:
        assert pixels[0, :, 1].mean() < 20
        assert pixels[-1, :, 1].mean() > 235
    wide = source.preview(max_side=30_000, max_file_bytes=0)
    assert max(wide.width, wide.height) == min(
        max(size), 16383 if wide.mime == "image/webp" else max(size)
    )


def test_a_small_lossless_source_has_a_lossless_preview() -> None:
    array = noise(60, 40)
    result = ImageSource(array).preview()
    assert result.mime == "image/png"
    assert result.is_lossless
    assert (decoded(result) == array).all()


def test_a_region_of_a_lossless_source_is_exact() -> None:
    array = noise(120, 80)
    for data in (
        array,
        encoded(Image.fromarray(array), "PNG"),
        encoded(Image.fromarray(array), "TIFF"),
    ):
        result = ImageSource(data).region(10, 20, 50, 45, 1000, 1000)
        assert result.mime == "image/png"
        assert result.is_full_resolution
        assert result.is_lossless
        assert result.box == (10, 20, 50, 45)
        assert (decoded(result) == array[20:45, 10:50]).all()


def test_a_region_of_a_jpeg_is_close() -> None:
    data = encoded(gradient(200, 100), "JPEG", quality=95)
    result = ImageSource(data).region(20, 10, 120, 60, 500, 500)
    assert result.mime == "image/webp"
    assert (result.width, result.height) == (100, 50)
    assert result.is_full_resolution
    expected = np.asarray(gradient(200, 100))[10:60, 20:120].astype(int)
    assert np.abs(decoded(result).astype(int) - expected).max() < 12


def test_a_region_is_widened_to_whole_pixels_and_clipped() -> None:
    source = ImageSource(noise(120, 80))
    assert source.region(9.7, 19.2, 50.1, 45.0, 999, 999).box == (9, 19, 51, 45)
    assert source.region(-50, -50, 1000, 1000, 999, 999).box == (0, 0, 120, 80)


def test_a_region_is_scaled_down_in_proportion_and_never_up() -> None:
    source = ImageSource(np.asarray(gradient(400, 200)))
    result = source.region(0, 0, 400, 200, 100, 100)
    assert (result.width, result.height) == (100, 50)
    assert not result.is_full_resolution
    assert not result.is_lossless
    expected = np.asarray(gradient(400, 200))[2::4, 2::4].astype(int)
    assert np.abs(decoded(result).astype(int) - expected).max() <= 3
    one = source.region(5, 5, 6, 6, 100, 100)
    assert (one.width, one.height) == (1, 1)


@pytest.mark.parametrize(
    ("corners", "limits", "message"),
    [
        pytest.param((5, 5, 5, 9), (9, 9), "has no pixel of the image", id="empty"),
        pytest.param((9, 9, 5, 5), (9, 9), "x0 < x1", id="reversed"),
        pytest.param((50, 0, 60, 5), (9, 9), r"covers \[0, 20\] x \[0, 10\]", id="outside"),
        pytest.param((0, 0, float("nan"), 5), (9, 9), "finite", id="nan"),
        pytest.param((0, 0, 5, 5), (0, 9), "max_width and max_height >= 1", id="no room"),
    ],
)
def test_a_region_without_pixels_is_refused(
    corners: tuple[float, ...], limits: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSource(noise(20, 10)).region(*corners, *limits)


def test_preview_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="max_side >= 1, max_bytes >= 1024"):
        ImageSource(noise(4, 4)).preview(max_side=0)


# --- errors --------------------------------------------------------------------------------------


def error_of(data: Any, **options: Any) -> str:
    """The message, the same from each way to read."""
    with pytest.raises(ImageError) as first:
        ImageSource(data, **options).preview()
    for read in (ImageSource.to_array, ImageSource.open):
        with pytest.raises(ImageError) as other:
            read(ImageSource(data, **options))
        assert str(other.value) == str(first.value)
    return str(first.value)


def test_a_missing_file_is_named_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = error_of("gone.png")
    assert message.startswith("gone.png: there is no such file (looked in ")
    assert str(tmp_path) in message
    with pytest.raises(ImageError, match="no such file"):
        _ = ImageSource("gone.png").size


def test_what_is_no_plain_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "file.png").write_bytes(b"x")
    assert "is a folder, expected an image file" in error_of(tmp_path / "folder.png")
    assert "the file is empty (0 bytes)" in error_of(tmp_path / "empty.png")
    assert "cannot be read (not a directory)" in error_of(tmp_path / "file.png" / "inner.png")
    assert "cannot be read (file name too long)" in error_of(tmp_path / ("x" * 300))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        assert "is a pipe or device" in error_of(tmp_path / "pipe.png")  # and does not wait for it


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file"
)
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(gradient(4, 4), "PNG"))
    path.chmod(0)
    assert "secret.png: cannot be read (permission denied)" in error_of(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"hello, world", "not an image.*begins with b'hello, world'", id="text"),
        pytest.param(b"<svg xmlns='x'/>", "SVG drawing; only pixels", id="svg"),
        pytest.param(b'<?xml version="1.0"?>\n<svg/>', "SVG drawing", id="svg with xml"),
        pytest.param(b"<!DOCTYPE html><html>", "web page, not an image", id="html"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="lfs"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC.*convert", id="heic"),
        pytest.param(b"\0" * 128 + b"DICM\2\0", "DICOM.*pixel_array", id="dicom"),
        pytest.param(b"\x93NUMPY\1\0", r"np\.load", id="npy"),
        pytest.param(b"%PDF-1.4", "PDF", id="pdf"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript", id="eps"),
        pytest.param(b"\xff\xd8\xff\xe0", "begins like a JPEG", id="start of a jpeg"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "begins like a PNG", id="start of a png"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, message: str) -> None:
    import re

    assert re.search(message, error_of(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "empty", id="no bytes"),
        pytest.param("http://example.org/a.png", "is a URL; URLs are never fetched", id="http"),
        pytest.param("file:///tmp/a.png", "is a URL", id="file url"),
        pytest.param("data:image/png;base64,AAAA", "is a URL", id="data url"),
        pytest.param("", "is empty", id="no path"),
        pytest.param("  ", "is empty", id="blank path"),
        pytest.param("a\0b.png", "NUL byte", id="nul"),
        pytest.param(np.zeros((3, 20, 30)), r"30 channels.*np\.moveaxis", id="channels first"),
        pytest.param(np.zeros((2, 4, 4, 3)), r"\(2, 4, 4, 3\).*4 dimensions.*batch", id="batch"),
        pytest.param(np.zeros(5), "1 dimensions, expected 2 or 3", id="1d"),
        pytest.param(np.zeros((4, 4, 5)), "5 channels", id="5 channels"),
        pytest.param(np.zeros((0, 4)), "no pixels", id="no rows"),
        pytest.param(np.zeros((4, 0, 3), np.uint8), "no pixels", id="no columns"),
        pytest.param(np.zeros((4, 4), complex), "complex128: is not of numbers", id="complex"),
        pytest.param(np.full((4, 4), "x"), "is not of numbers", id="text array"),
        pytest.param(np.zeros((4, 4), object), "dtype object", id="objects"),
        pytest.param(np.zeros((4, 4), "m8[s]"), "holds times", id="time differences"),
        pytest.param(np.zeros((4, 4), "M8[s]"), "is not of numbers", id="dates"),
        pytest.param(
            np.zeros((0, 4, 9), object), "9 channels.*no pixels.*not of numbers", id="all"
        ),
    ],
)
def test_what_can_be_no_image_is_refused_at_once(data: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ImageSource(data)


def test_arguments_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError, match=r"got Image; turn other images.*np\.asarray"):
        ImageSource(gradient(2, 2))  # type: ignore[arg-type]
    array = noise(4, 4)
    with pytest.raises(ValueError, match="expected None, 'upright' or 'stored', got 'left'"):
        ImageSource(array, orientation="left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"window: expected \(low, high\).*got \(5, 5\)"):
        ImageSource(array, window=(5, 5))
    with pytest.raises(ValueError, match="recorded_size"):
        ImageSource(array, recorded_size=(0, 4))


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png_file([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_from_its_header() -> None:
    # Pillow warns above 89,478,485 pixels and refuses above twice that; here both are errors.
    limit = Image.MAX_IMAGE_PIXELS
    assert limit == 89_478_485
    message = error_of(bomb(10_000, 9_000))
    assert "10000x9000 are 90,000,000 pixels, more than Pillow's limit of 89,478,485" in message
    with pytest.raises(ImageError, match=r"too large to be opened safely.*3600000000 pixels"):
        _ = ImageSource(bomb(60_000, 60_000)).size
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_the_same_error_where_warnings_are_errors() -> None:
    with pytest.raises(ImageError, match="too large to be opened safely"):
        _ = ImageSource(bomb(10_000, 9_000)).size


def test_pillows_limit_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert ImageSource(bomb(10_000, 9_000)).size == (10_000, 9_000)


def test_a_png_text_bomb_is_an_image_error() -> None:
    chunks = png_chunks(encoded(gradient(4, 4), "PNG"))
    text = (b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * (PngImagePlugin.MAX_TEXT_CHUNK + 9)))
    data = png_file([chunks[0], text, *chunks[1:]])
    with pytest.raises(ImageError, match=r"header cannot be read .*MAX_TEXT_CHUNK"):
        ImageSource(data).preview()


def test_an_image_without_pixels_is_refused() -> None:
    gif = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    gif[6:10] = bytes(4)  # width and height of the screen
    gif_frame = gif.index(b"\x2c")
    gif[gif_frame + 5 : gif_frame + 9] = bytes(4)
    with pytest.raises(ImageError):
        ImageSource(bytes(gif)).preview()
    with pytest.raises(ImageError):
        ImageSource(bomb(0, 5)).preview()


def test_a_file_that_changed_its_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(gradient(20, 10), "PNG"))
    source = ImageSource(path)
    assert source.size == (20, 10)
    path.write_bytes(encoded(gradient(30, 10), "PNG"))
    with pytest.raises(ImageError, match=r"changed while it was in use: it was 20x10 and is 30x10"):
        source.preview()


def test_a_file_that_was_replaced_is_shown_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.new("RGB", (5, 5), RED), "PNG"))
    source = ImageSource(path)
    assert source.to_array()[0, 0].tolist() == list(RED)
    path.write_bytes(encoded(Image.new("RGB", (5, 5), WHITE), "PNG"))
    os.utime(path, ns=(1, 1))  # a clock of coarse steps would not tell the two apart
    assert source.to_array()[0, 0].tolist() == list(WHITE)


# --- memory and threads --------------------------------------------------------------------------


def test_what_is_given_out_may_be_changed() -> None:
    source = ImageSource(noise(6, 4))
    before = source.to_array()
    source.to_array()[:] = 0
    source.open().paste((0, 0, 0), (0, 0, 6, 4))
    assert (source.to_array() == before).all()


def test_decoded_pictures_keep_to_a_budget_and_go_with_their_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = images._DecodedCache(100_000)  # a picture of 100x100 RGB takes 40,000 in Pillow
    monkeypatch.setattr(images, "_decoded", cache)
    sources = [ImageSource(noise(100, 100)) for _ in range(5)]
    for source in sources:
        source.to_array()
        assert cache.n_bytes <= 100_000
    assert cache.n_bytes == 80_000
    sources[3].to_array()  # used last, so the other one goes
    sources[0].to_array()
    assert cache.get(sources[3]._key, sources[3]._stat()) is not None
    assert cache.get(sources[4]._key, sources[4]._stat()) is None
    large = ImageSource(noise(400, 400))
    large.to_array()
    assert cache.n_bytes == 640_000  # larger than the budget: kept, alone
    del large, source
    sources.clear()
    gc.collect()
    assert cache.n_bytes == 0


def test_an_image_is_decoded_once_for_many_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource(encoded(gradient(300, 200), "JPEG"))
    n_decoded = 0
    decode = ImageSource._decode

    def counting(self: ImageSource, *args: Any, **options: Any) -> Any:
        nonlocal n_decoded
        n_decoded += 1
        return decode(self, *args, **options)

    monkeypatch.setattr(ImageSource, "_decode", counting)
    for x in range(0, 200, 20):
        source.region(x, 0, x + 50, 50, 50, 50)
    source.to_array()
    assert n_decoded == 1


def test_many_threads_get_the_same_answers() -> None:
    datas = [encoded(gradient(600 + 8 * i, 400), "JPEG", quality=90) for i in range(4)]
    sources = [ImageSource(data) for data in datas]
    expected = [
        (
            ImageSource(data).size,
            ImageSource(data).preview(200).data,
            ImageSource(data).region(10, 10, 90, 90, 80, 80).data,
            ImageSource(data).to_array(),
        )
        for data in datas
    ]
    start = threading.Barrier(8)

    def work(seed: int) -> int:
        start.wait()
        rng = np.random.default_rng(seed)
        n_right = 0
        for _ in range(12):
            i = int(rng.integers(len(sources)))
            source, (size, _, region, pixels) = sources[i], expected[i]
            n_right += source.size == size
            preview = source.preview(200)  # drafted or from the cache: close, not equal
            n_right += max(preview.width, preview.height) <= 200
            n_right += source.region(10, 10, 90, 90, 80, 80).data == region
            n_right += bool((source.to_array() == pixels).all())
        return n_right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [48] * 8


# --- where images may lie ------------------------------------------------------------------------


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "sub").mkdir(parents=True)
    second.mkdir()
    for path in (first / "a.png", first / "sub" / "b.png", second / "c.png", tmp_path / "out.png"):
        path.write_bytes(b"x")
    return first, second


def test_a_name_resolves_in_the_first_root_that_has_it(roots: tuple[Path, Path]) -> None:
    first, second = roots
    assert resolve_inside("a.png", first) == (first / "a.png").resolve()
    assert resolve_inside("sub/b.png", str(first)) == (first / "sub" / "b.png").resolve()
    assert resolve_inside("c.png", [first, second]) == (second / "c.png").resolve()
    assert resolve_inside("sub/../a.png", [first]) == (first / "a.png").resolve()
    assert resolve_inside("gone.png", [first, second]) == (first / "gone.png").resolve()


def test_roots_are_resolved_themselves(roots: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = roots
    link = tmp_path / "link"
    link.symlink_to(first)
    assert resolve_inside("a.png", link) == (first / "a.png").resolve()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("../out.png", r"leads out of the image roots .*first.*allow_outside", id=".."),
        pytest.param("sub/../../out.png", "leads out", id="hidden .."),
        pytest.param("/etc/passwd", "is absolute, expected a name relative", id="absolute"),
        pytest.param("//server/share/a.png", "is absolute", id="share"),
        pytest.param("C:\\a.png", "is absolute", id="drive"),
        pytest.param("\\\\server\\a.png", "is absolute", id="windows share"),
        pytest.param("https://example.org/a.png", "URLs are never fetched", id="url"),
        pytest.param("file:///etc/passwd", "is a URL", id="file url"),
        pytest.param("a\0.png", "NUL byte", id="nul"),
        pytest.param("", "is empty", id="empty"),
        pytest.param(" ", "is empty", id="blank"),
        pytest.param(5, "expected text, got int", id="number"),
    ],
)
def test_a_name_that_leads_out_is_refused(
    roots: tuple[Path, Path], name: Any, message: str
) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        resolve_inside(name, [roots[0]])
    assert "file_name" in str(caught.value)
    assert repr(name) in str(caught.value)


def test_links_out_are_refused_and_links_between_roots_are_not(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = roots
    (first / "out.png").symlink_to(tmp_path / "out.png")
    (first / "folder").symlink_to(tmp_path)
    (first / "other.png").symlink_to(second / "c.png")
    for name in ("out.png", "folder/out.png"):
        with pytest.raises(ImageError, match="leads out of the image roots"):
            resolve_inside(name, [first])
        found = resolve_inside(name, [first], allow_outside=True)
        assert found == (tmp_path / "out.png").resolve()
    with pytest.raises(ImageError, match="leads out"):
        resolve_inside("other.png", [first])
    assert resolve_inside("other.png", [first, second]) == (second / "c.png").resolve()


def test_outside_is_allowed_on_the_callers_word(roots: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = roots
    out = (tmp_path / "out.png").resolve()
    assert resolve_inside(str(out), [first], allow_outside=True) == out
    assert resolve_inside("../out.png", [first], allow_outside=True) == out
    with pytest.raises(ImageError, match="URL"):
        resolve_inside("http://example.org/a.png", [first], allow_outside=True)


def test_a_name_that_shares_a_prefix_with_the_root_is_outside(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img2").mkdir()
    with pytest.raises(ImageError, match="leads out"):
        resolve_inside("../img2/a.png", tmp_path / "img")


def test_links_in_a_circle_are_an_image_error(roots: tuple[Path, Path]) -> None:
    first, _ = roots
    (first / "x").symlink_to(first / "y")
    (first / "y").symlink_to(first / "x")
    # Python 3.11 and 3.12 refuse to resolve it, later ones leave it to the opening.
    with pytest.raises(ImageError, match=r"cannot be (looked up|read)"):
        ImageSource(resolve_inside("x", [first])).preview()


def test_no_root_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image root"):
        resolve_inside("a.png", [])


# --- thumbnails -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_thumbnail_keeps_proportions_and_is_at_most_a_tenth_too_small(kind, tmp_path):
    path = tmp_path / "a"
    Image.fromarray(np.full((600, 800, 3), 90, np.uint8)).save(path, kind)
    small = ImageSource(path).thumbnail(200, 1000)
    assert small.mode == "RGB"
    assert 180 <= small.width <= 200
    assert small.height == round(small.width * 0.75)
    assert ImageSource(path).thumbnail(5000, 5000).size == (800, 600)
    with pytest.raises(ValueError, match="max_width and max_height >= 1, got 0, 5"):
        ImageSource(path).thumbnail(0, 5)
