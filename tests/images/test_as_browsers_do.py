"""Files that browsers show although something in them is odd, and what of an animation is shown."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.decode import decode_image, decode_photo

sys.path.insert(0, str(Path(__file__).parent))
from mutations import chunk, encoded, segment
from profiles import DISPLAY_P3, as_srgb, matrix_profile

CONFIG = ImagesConfig()
SIZE = (32, 32)
COLOUR = (200, 40, 90)
PICTURE = Image.new("RGB", (64, 48), COLOUR)


def refused(data: bytes, config: ImagesConfig = CONFIG) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode_photo(data, SIZE, config)
    assert "object at" not in caught.value.detail
    assert "BytesIO" not in caught.value.detail
    return caught.value


def assert_shown(data: bytes, colour: tuple[int, ...] = COLOUR, tolerance: int = 4) -> None:
    pixels = decode_image(data, SIZE, CONFIG)
    np.testing.assert_allclose(pixels, np.broadcast_to(colour, pixels.shape), atol=tolerance)


def noise(mode: str = "RGB") -> Image.Image:
    rgb = np.random.default_rng(0).integers(0, 255, (50, 75, 3), np.uint8)
    return Image.fromarray(rgb).resize((300, 200), Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(mode, options):
    data = encoded(noise(mode), "JPEG", **options)
    for size in (SIZE, (180, 280)):
        expected = decode_image(data, size, CONFIG)
        for ended in (data[:-2], data[:-1], data[:-2] + b"\xff", data[:-2] + bytes(700)):
            np.testing.assert_array_equal(decode_image(ended, size, CONFIG), expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("tail", [b"\n", b"ab"])
def test_a_jpeg_with_other_bytes_for_its_end_marker_is_whole(options, tail):
    data = encoded(noise(), "JPEG", **options)
    np.testing.assert_array_equal(decode_image(data[:-2] + tail, SIZE, CONFIG), decode_image(data, SIZE, CONFIG))
    assert refused(data[: len(data) // 2] + tail).reason is Reason.TRUNCATED


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
def test_a_jpeg_that_lacks_pixels_is_truncated(mode, options):
    data = encoded(noise(mode), "JPEG", **options)
    for share in (0.3, 0.5, 0.9):
        for end in (b"", b"\xff", bytes(700)):
            assert refused(data[: int(len(data) * share)] + end).reason is Reason.TRUNCATED


def test_half_an_avif_is_truncated():
    data = encoded(noise(), "AVIF", speed=10)
    for length in (len(data) // 2, len(data) - 40, 200, 40, 20):
        assert refused(data[:length]).reason is Reason.TRUNCATED, length


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "jpeg"])
def test_half_a_tiff_is_truncated_wherever_its_directory_lies(compression):
    data = encoded(noise(), "TIFF", compression=compression)
    for length in (len(data) // 2, len(data) - 20):
        assert refused(data[:length]).reason is Reason.TRUNCATED, length


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG", "AVIF"])
def test_no_detail_of_a_broken_file_names_an_object_in_memory(kind):
    data = encoded(noise(), kind)
    for broken in (data[:12], data[:16], data[:30], data[:16] + b"\xff" * 300, data[:40] + bytes(2000)):
        assert refused(broken).reason in (Reason.TRUNCATED, Reason.CORRUPT, Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL)


OPTIONAL = {
    b"tEXt": b"Comment\0hello",
    b"zTXt": b"Comment\0\0" + zlib.compress(b"hello"),
    b"iTXt": b"Comment\0\0\0\0\0hello",
    b"tIME": bytes((7, 229, 1, 1, 0, 0, 0)),
    b"pHYs": struct.pack(">LLB", 2835, 2835, 1),
    b"gAMA": struct.pack(">L", 45_455),
    b"cHRM": bytes(32),
    b"sRGB": b"\0",
    b"bKGD": bytes(6),
    b"tRNS": struct.pack(">3H", *COLOUR),
    b"sBIT": bytes((8, 8, 8)),
    b"eXIf": b"II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x0112, 3, 1, 6, 0, 0),
    b"iCCP": b"x\0\0" + zlib.compress(b"no profile"),
    b"acTL": struct.pack(">LL", 2, 0),
    b"vpAg": bytes(9),
}


@pytest.mark.parametrize("kind", OPTIONAL, ids=bytes.decode)
@pytest.mark.parametrize("place", ["before the pixels", "behind them"])
def test_a_png_chunk_with_a_wrong_check_sum_is_as_if_it_were_not_there(kind, place):
    png = encoded(PICTURE.copy(), "PNG")
    at = 33 if place == "before the pixels" else len(png) - 12
    sound = chunk(kind, OPTIONAL[kind])
    wrong = sound[:-4] + bytes((sound[-4] ^ 1,)) + sound[-3:]
    data = png[:at] + wrong + png[at:]
    assert_shown(data, tolerance=0)
    photo = decode_photo(data, SIZE, CONFIG)
    assert (photo.width, photo.height) == (64, 48)


def test_a_png_chunk_that_is_needed_must_have_its_check_sum():
    png = bytearray(encoded(PICTURE.copy(), "PNG"))
    png[29] ^= 1
    assert refused(bytes(png)).reason is Reason.CORRUPT


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt packed"])
def test_a_png_with_megabytes_of_text(kind):
    text = np.random.default_rng(0).bytes(3_000_000).replace(b"\0", b"\1")
    body = {
        "tEXt": b"Comment\0" + text,
        "zTXt": b"Comment\0\0" + zlib.compress(text),
        "iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + text.hex().encode(),
        "iTXt packed": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text.hex().encode()),
    }[kind]
    png = encoded(PICTURE.copy(), "PNG")
    for at in (33, len(png) - 12):
        assert_shown(png[:at] + chunk(kind[:4].encode(), body) * 2 + png[at:], tolerance=0)


def test_a_png_with_a_colour_profile_of_megabytes():
    large = matrix_profile("large", DISPLAY_P3)
    large += np.random.default_rng(0).bytes(3_000_000 - len(large))  # room that no tag points at
    large = struct.pack(">L", len(large)) + large[4:]
    png = encoded(PICTURE.copy(), "PNG")
    data = png[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(large)) + png[33:]
    assert_shown(data, as_srgb(COLOUR, DISPLAY_P3), tolerance=2)


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("count", [17, 40, 900])
def test_of_many_exif_segments_the_first_counts(count):
    jpeg = encoded(PICTURE.copy(), "JPEG")
    more = segment(0xE1, b"Exif\0\0" + bytes(60_000)) * (count - 1)
    photo = decode_photo(jpeg[:2] + segment(0xE1, b"Exif\0\0" + exif(6)) + more + jpeg[2:], SIZE, CONFIG)
    assert (photo.width, photo.height) == (48, 64)
    np.testing.assert_allclose(photo.pixels[9, 9], COLOUR, atol=4)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_in_xmp_alone_turns_nothing(kind):
    if kind == "PNG":
        png = encoded(PICTURE.copy(), "PNG")
        data = png[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP) + png[33:]
    else:
        tags = {"tiffinfo": {700: XMP}} if kind == "TIFF" else {"xmp": XMP}
        data = encoded(PICTURE.copy(), kind, **tags)
    assert b"Orientation" in data
    photo = decode_photo(data, SIZE, CONFIG)
    assert (photo.width, photo.height) == (64, 48)


def test_an_orientation_in_a_png_text_turns_nothing():
    png = encoded(PICTURE.copy(), "PNG")
    text = b"\nexif\n      %d\n" % len(exif(6)) + (b"Exif\0\0" + exif(6)).hex().encode()
    data = png[:33] + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)) + png[33:]
    photo = decode_photo(data, SIZE, CONFIG)
    assert (photo.width, photo.height) == (64, 48)


@pytest.mark.parametrize("size", [(8688, 5792), (9504, 6336), (9248, 6936)], ids=["50 MP", "60 MP", "64 MP"])
def test_the_pictures_of_ordinary_cameras_are_within_the_limit(size):
    data = encoded(Image.new("L", size, 90), "JPEG", quality=50)
    photo = decode_photo(data, SIZE, CONFIG)
    assert (photo.width, photo.height) == size
    np.testing.assert_allclose(photo.pixels, 90, atol=3)


BLUE = (0, 0, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame_is_shown(kind):
    second = Image.new("RGB", PICTURE.size, BLUE)
    data = encoded(PICTURE.copy(), kind, save_all=True, append_images=[second], duration=100)
    assert_shown(data)


def test_of_an_animated_png_the_picture_for_old_viewers_is_not_shown():
    frames = {"save_all": True, "append_images": [PICTURE.copy(), Image.new("RGB", PICTURE.size, BLUE)]}
    data = encoded(Image.new("RGB", PICTURE.size, (0, 255, 0)), "PNG", default_image=True, **frames)
    assert_shown(data, tolerance=0)
    # Without its frames it is an ordinary picture.
    assert_shown(data[: data.index(b"fcTL") - 4] + chunk(b"IEND", b""), (0, 255, 0), tolerance=0)


def test_an_animated_png_that_ends_behind_its_first_frame_is_shown():
    frames = {"save_all": True, "append_images": [Image.new("RGB", PICTURE.size, BLUE)]}
    data = encoded(PICTURE.copy(), "PNG", **frames)
    assert_shown(data[: data.index(b"fdAT") + 20], tolerance=0)


def test_what_a_first_gif_frame_leaves_open_is_white():
    small = encoded(Image.new("RGB", (20, 20), COLOUR), "GIF")
    screen = bytearray(small)
    screen[6:10] = struct.pack("<HH", 40, 40)
    pixels = decode_image(bytes(screen), (40, 40), CONFIG)
    np.testing.assert_allclose(pixels[:19, :19], np.broadcast_to(COLOUR, (19, 19, 3)), atol=4)
    np.testing.assert_array_equal(pixels[21:], 255)
    np.testing.assert_array_equal(pixels[:, 21:], 255)
