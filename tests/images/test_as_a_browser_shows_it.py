"""Files of cameras, phones, scanners and editors that a browser shows: the same pixels here, or a reason of their own."""

from __future__ import annotations

import io
import os
import struct
import unicodedata
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images import formats, refusals
from vsspark.images.decode import decode_image, decode_photo
from vsspark.images.fetch import read_image, stat_image

CONFIG = ImagesConfig()
RAMP = np.zeros((80, 100, 3), np.uint8)
RAMP[..., 0], RAMP[..., 1], RAMP[..., 2] = np.linspace(0, 255, 100), np.linspace(0, 255, 80)[:, None], 90
PICTURE = Image.fromarray(RAMP)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, body, crc=None):
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def with_chunk(png, *chunks):
    """A PNG with chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def shown(data, config=CONFIG):
    return decode_image(data, (80, 100), config).astype(int)


def refusal(data):
    with pytest.raises(ImageError) as caught:
        decode_image(data, (64, 64), CONFIG)
    return caught.value


def looks_like(data, expected, tolerance=6):
    assert np.abs(shown(data) - expected).mean() < tolerance / 2
    assert np.abs(shown(data) - expected).max() <= 4 * tolerance


def profile(red, green, blue, gamma, name):
    """An ICC profile of version 2: primaries (XYZ, D50), one gamma, a name."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    def text(value):
        return b"desc\0\0\0\0" + struct.pack(">I", len(value) + 1) + value.encode() + b"\0" + bytes(78)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {
        b"desc": text(name), b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += tag + struct.pack(">II", at + len(body), len(value))
        body += value
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s12x4s", size, b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
P3_PRIMARIES = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_profile_counts_by_its_numbers_not_by_its_name(kind):
    flat = Image.new("RGB", (100, 80), (200, 120, 90))
    options = {} if kind == "PNG" else {"quality": 95} if kind == "JPEG" else {"lossless": True}
    for primaries, gamma, name in (
        (P3_PRIMARIES, 2.2, "Display P3 (sRGB transfer)"),
        (SRGB_PRIMARIES, 1.0, "linear sRGB"),
        (P3_PRIMARIES, 2.2, "Display P3"),
    ):
        icc = profile(*primaries, gamma, name)
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        wanted = ImageCms.profileToProfile(flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        looks_like(saved(flat, kind, icc_profile=icc, **options), np.asarray(wanted))
        assert np.abs(np.asarray(wanted).astype(int) - np.asarray(flat)).max() > 8
    plain = profile(*SRGB_PRIMARIES, 2.2, "a monitor of no name")  # sRGB but for the toe of its curve
    looks_like(saved(flat, kind, icc_profile=plain, **options), np.asarray(flat))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_whole_and_one_without_its_end_is_not(mode, progressive):
    data = saved(PICTURE.convert(mode), "JPEG", quality=92, progressive=progressive)
    np.testing.assert_array_equal(shown(data[:-2]), shown(data))
    np.testing.assert_array_equal(shown(data[:-1]), shown(data))
    for short in (data[: len(data) // 2], data[:-40]):
        assert refusal(short).reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"tEXt", b"a\0b", crc=1)],
        [chunk(b"pHYs", bytes(9), crc=1)],
        [chunk(b"gAMA", bytes(4), crc=1)],
        [chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3_000_000))],
        [chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 900_000))] * 80,
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 3_000_000)],
        [chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000))],
        [chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 3_000_000))],
        [chunk(b"iCCP", b"a\0\0no deflate")],
    ],
    ids=[
        "text-crc",
        "size-crc",
        "gamma-crc",
        "packed-text",
        "many-texts",
        "xmp",
        "packed-xmp",
        "profile",
        "no-profile",
    ],
)
def test_a_png_is_read_whatever_its_side_chunks_hold(chunks):
    np.testing.assert_array_equal(shown(with_chunk(saved(PICTURE, "PNG"), *chunks)), RAMP)


def test_a_png_whose_pixels_have_a_wrong_checksum_is_corrupt():
    data = bytearray(saved(PICTURE, "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    assert refusal(bytes(data)).reason is Reason.CORRUPT


def test_the_orientation_of_exif_turns_a_picture_and_that_of_xmp_does_not():
    xmp = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert decode_photo(saved(PICTURE, kind, exif=exif.tobytes()), (64, 64), CONFIG)[1:] == (80, 100), kind
        more = {"tiffinfo": {700: xmp}} if kind == "TIFF" else {"xmp": xmp}
        if kind == "PNG":
            data = with_chunk(saved(PICTURE, kind), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
        else:
            data = saved(PICTURE, kind, **more)
        assert decode_photo(data, (64, 64), CONFIG)[1:] == (100, 80), kind


def bitmap(alpha):
    """A BMP of 32 bits with a mask for alpha, as Windows programs write it."""
    height, width = RAMP.shape[:2]
    body = np.dstack([RAMP[::-1, :, ::-1], np.full((height, width), alpha, np.uint8)]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    header += struct.pack("<IIIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, 0x73524742) + bytes(64)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


def test_a_bitmap_whose_alpha_hides_everything_is_shown():
    np.testing.assert_array_equal(shown(bitmap(0)), RAMP)
    np.testing.assert_array_equal(shown(bitmap(255)), RAMP)
    assert shown(bitmap(128)).min() > 100  # half laid on white


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize(("bits", "colours"), [(10, 1), (12, 1), (12, 3), (10, 3), (16, 1), (16, 3), (8, 3)])
def test_few_bits_in_sixteen_are_not_nearly_black(kind, bits, colours):
    samples = np.linspace(0, 2**bits - 1, 8000).reshape(80, 100).astype(np.uint16)
    picture = samples if colours == 1 else np.dstack([samples, samples // 2, samples])
    data = cv2.imencode(f".{kind}", picture)[1].tobytes()
    eight = (samples >> (bits - 8)).astype(int)
    expected = np.dstack([eight] * 3) if colours == 1 else np.dstack([eight, eight // 2, eight])
    assert np.abs(shown(data) - expected).max() <= 1


def test_a_grey_of_sixteen_bits_may_be_transparent():
    grey = np.full((80, 100), 30_000, np.uint16)
    grey[20:40] = 5_000
    data = with_chunk(saved(Image.fromarray(grey), "PNG"), chunk(b"tRNS", struct.pack(">H", 30_000)))
    pixels = shown(data)
    assert (pixels[:20] == 255).all()
    assert (pixels[20:40] == 5_000 >> 8).all()


@pytest.mark.parametrize("segments", [17, 400])
def test_a_jpeg_may_have_many_exif_segments(segments):
    exif = Image.Exif()
    exif[0x0112] = 6
    first = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    more = b"Exif\0\0" + bytes(500)
    data = saved(PICTURE, "JPEG", quality=92)
    parts = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in [first, *[more] * (segments - 1)]]
    many = data[:2] + b"".join(parts) + data[2:]
    assert decode_photo(many, (64, 64), CONFIG)[1:] == (80, 100)


def test_half_a_picture_is_truncated():
    for kind in ("AVIF", "WEBP", "PNG", "GIF"):
        data = saved(PICTURE, kind)
        assert refusal(data[: len(data) // 2]).reason is Reason.TRUNCATED, kind
        assert refusal(data[:-40]).reason is Reason.TRUNCATED, kind


def test_an_ordinary_camera_is_below_the_default_limit():
    for size in ((8688, 5792), (9504, 6336)):
        assert decode_photo(saved(Image.new("1", size), "PNG"), (64, 64), CONFIG)[1:] == size


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(kind):
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    pixels = shown(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(pixels - (255, 0, 0)).max() <= 4


def test_heic_and_jpeg_xl_are_read_where_their_libraries_are():
    heif, _ = pytest.importorskip("pillow_heif"), pytest.importorskip("pillow_jxl")
    file = io.BytesIO()
    heif.from_pillow(PICTURE).save(file, quality=95)
    looks_like(file.getvalue(), RAMP, 12)
    looks_like(saved(PICTURE, "JXL"), RAMP, 12)
    assert refusal(file.getvalue()[:-40]).reason is Reason.TRUNCATED
    assert refusal(saved(PICTURE, "JXL")[:200]).reason in (Reason.TRUNCATED, Reason.CORRUPT)


def test_heic_and_jpeg_xl_have_a_reason_of_their_own_where_they_are_not(monkeypatch):
    monkeypatch.setattr(formats, "extra_formats", lambda: ("AVIF",))
    heic, jxl = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), b"\xff\x0a" + bytes(100)
    for data, library in ((heic, "pillow-heif"), (jxl, "pillow-jxl-plugin")):
        error = refusals.refusal(data, ValueError("cannot identify image file"))
        assert error.reason is Reason.NO_DECODER
        assert library in error.detail


def test_no_detail_names_an_object_of_python():
    for begin in (b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBP", b"II*\0", b"BM"):
        assert "<" not in refusal(begin + bytes(60)).detail
        assert " at 0x" not in refusal(begin + bytes(60)).detail


@pytest.mark.parametrize(("feed", "disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_in_unicodes_other_form(tmp_path, feed, disk):
    folder = tmp_path / unicodedata.normalize(disk, "Schöne Kleider é")
    folder.mkdir()
    (folder / unicodedata.normalize(disk, "Größe ü.jpg")).write_bytes(b"found")
    name = unicodedata.normalize(feed, f"{tmp_path}/Schöne Kleider é/Größe ü.jpg")
    assert read_image(name, CONFIG) == b"found"
    assert stat_image(name, CONFIG)[0] == 5
    os.rename(folder / unicodedata.normalize(disk, "Größe ü.jpg"), folder / "x")
    with pytest.raises(ImageError, match="no such file"):
        read_image(name, CONFIG)


def test_a_percent_encoded_name_says_what_to_change(tmp_path):
    (tmp_path / "red shoe.jpg").write_bytes(b"there")
    with pytest.raises(ImageError, match="without percent-encoding"):
        read_image(f"file://{tmp_path}/red%20shoe.jpg", CONFIG)
