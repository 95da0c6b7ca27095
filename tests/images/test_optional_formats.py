"""HEIC and JPEG XL: read where their libraries are installed, a reason of their own where they are not."""

from __future__ import annotations

import importlib.util
import io
import struct

import numpy as np
import pytest
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.decode import decode_photo
from vsspark.images.optional import container_format, jxl_size

SIZE = (32, 32)
COLOUR = (200, 40, 90)


def brands(*names: bytes) -> bytes:
    body = names[0] + bytes(4) + b"".join(names)
    return struct.pack(">L", len(body) + 8) + b"ftyp" + body


JXL_BOX = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
HEADS = {
    "HEIC": [brands(b"heic", b"mif1"), brands(b"mif1", b"heic"), brands(b"heix"), brands(b"hevc"), brands(b"msf1")],
    "JPEG XL": [b"\xff\x0a\x00\x00", JXL_BOX + brands(b"jxl ")],
    "AVIF": [brands(b"avif", b"mif1", b"miaf"), brands(b"mif1", b"avif"), brands(b"avis", b"msf1")],
    None: [brands(b"isom", b"mp42"), brands(b"qt  "), b"\x00\x00\x00\x18ftypmp42", b"ftyp", b""],
}


def refused(data: bytes, config: ImagesConfig) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_photo(data, SIZE, config)
    return caught.value


@pytest.mark.parametrize("name", HEADS, ids=str)
def test_a_format_is_known_by_its_first_bytes(name):
    assert {container_format(head) for head in HEADS[name]} == {name}


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("HEIC", "pillow_heif", "pillow-heif"), ("JPEG XL", "pillow_jxl", "pillow-jxl-plugin")],
)
def test_without_the_library_the_reason_names_it(name, module, package):
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    for head in HEADS[name]:
        error = refused(head + bytes(500), ImagesConfig())
        assert error.reason is Reason.NO_LIBRARY
        assert f"{name} is read where {package} is installed" in error.detail


def turned(kind: str) -> bytes:
    """A picture of 64 x 48 with an EXIF orientation, as its library writes it."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48), COLOUR).save(buffer, kind, quality=90, exif=exif.tobytes())
    return buffer.getvalue()


def test_heic_is_decoded():
    library = pytest.importorskip("pillow_heif")
    library.register_heif_opener()
    data = turned("HEIF")
    photo = decode_photo(data, SIZE, ImagesConfig())
    assert (photo.width, photo.height) == (48, 64)  # written turned, by `irot`
    np.testing.assert_allclose(photo.pixels, np.broadcast_to(COLOUR, (*SIZE, 3)), atol=6)
    assert refused(data, ImagesConfig(max_pixels=3000)).reason is Reason.TOO_MANY_PIXELS
    assert refused(data[: len(data) // 2], ImagesConfig()).reason is Reason.TRUNCATED


def test_jpeg_xl_is_decoded():
    pytest.importorskip("pillow_jxl")
    data = turned("JXL")
    photo = decode_photo(data, SIZE, ImagesConfig())
    assert (photo.width, photo.height) == (64, 48)
    np.testing.assert_allclose(photo.pixels, np.broadcast_to(COLOUR, (*SIZE, 3)), atol=6)
    assert refused(data, ImagesConfig(max_pixels=3000)).reason is Reason.TOO_MANY_PIXELS
    assert refused(data[: len(data) // 2], ImagesConfig()).reason in (Reason.TRUNCATED, Reason.CORRUPT)
    for size in ((64, 48), (640, 400), (37, 91), (1024, 1024), (16, 9), (300, 1)):
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, "JXL")
        assert jxl_size(buffer.getvalue()) == size


def test_a_jpeg_stored_as_jpeg_xl_is_turned_by_its_exif(tmp_path):
    pytest.importorskip("pillow_jxl")
    (tmp_path / "turned.jpg").write_bytes(turned("JPEG"))
    buffer = io.BytesIO()
    Image.open(tmp_path / "turned.jpg").save(buffer, "JXL", lossless_jpeg=True)
    photo = decode_photo(buffer.getvalue(), SIZE, ImagesConfig())
    assert (photo.width, photo.height) == (48, 64)


def test_the_size_of_a_jpeg_xl_is_in_its_header():
    """By hand, of the standard's SizeHeader: bits from the lowest up."""

    def header(*fields: tuple[int, int]) -> bytes:
        bits, at = 0, 0
        for value, width in fields:
            bits, at = bits | value << at, at + width
        return b"\xff\x0a" + bits.to_bytes(12, "little")

    assert jxl_size(header((1, 1), (5, 5), (1, 3))) == (48, 48)
    assert jxl_size(header((1, 1), (5, 5), (0, 3), (7, 5))) == (64, 48)
    assert jxl_size(header((0, 1), (1, 2), (999, 13), (5, 3))) == (1777, 1000)
    wide = header((0, 1), (3, 2), (99_999, 30), (0, 3), (2, 2), (199_999, 18))
    assert jxl_size(wide) == (200_000, 100_000)
    codestream = struct.pack(">L", len(wide) + 8) + b"jxlc" + wide
    assert jxl_size(JXL_BOX + brands(b"jxl ") + codestream) == (200_000, 100_000)
    assert jxl_size(JXL_BOX + brands(b"jxl ")) is None
    assert jxl_size(b"") is None
