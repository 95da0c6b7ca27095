"""Every kind of file a catalogue holds, made here by other libraries and judged by colours known beforehand."""

from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.decode import decode_image, decode_photo, squash

CONFIG = ImagesConfig()
SIZE = (32, 32)
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 300, height: int = 200, seed: int = 0) -> Image.Image:
    """Soft noise, which a JPEG holds in many bytes all over the file."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def refusal(data: bytes, config: ImagesConfig = CONFIG) -> Reason:
    with pytest.raises(ImageError) as caught:
        decode_image(data, SIZE, config)
    assert caught.value.detail
    return caught.value.reason


def assert_colour(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 2) -> None:
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance, (
        f"got {pixels.reshape(-1, 3).mean(axis=0)}, expected {colour}"
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_a_plain_picture_keeps_its_colour_in_every_format(kind):
    pixels = decode_image(encoded(Image.new("RGB", (100, 60), (200, 40, 90)), kind), SIZE, CONFIG)
    assert pixels.shape == (32, 32, 3)
    assert_colour(pixels, (200, 40, 90), tolerance=4)


# Where each stored corner ends up, from the EXIF standard's own words ("row 0 is the visual right side, column 0 the
# visual top" is 6).
SEEN = {
    1: (RED, GREEN, BLUE, YELLOW),
    2: (GREEN, RED, YELLOW, BLUE),
    3: (YELLOW, BLUE, GREEN, RED),
    4: (BLUE, YELLOW, RED, GREEN),
    5: (RED, BLUE, GREEN, YELLOW),
    6: (BLUE, RED, YELLOW, GREEN),
    7: (YELLOW, GREEN, BLUE, RED),
    8: (GREEN, YELLOW, RED, BLUE),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", SEEN)
def test_exif_orientation_turns_the_picture_upright(orientation, kind):
    stored = Image.new("RGB", (80, 40), RED)
    stored.paste(GREEN, (40, 0, 80, 20))
    stored.paste(BLUE, (0, 20, 40, 40))
    stored.paste(YELLOW, (40, 20, 80, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode_photo(encoded(stored, kind, exif=exif, quality=95), (40, 40), CONFIG)
    corners = [seen.pixels[y, x] for y, x in ((6, 6), (6, 33), (33, 6), (33, 33))]
    for corner, colour in zip(corners, SEEN[orientation], strict=True):
        assert_colour(corner, colour, tolerance=12)
    assert (seen.width, seen.height) == ((80, 40) if orientation < 5 else (40, 80))


def test_a_cmyk_jpeg_as_adobe_writes_it_inverted():
    data = encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG")
    assert b"Adobe" in data
    assert_colour(decode_image(data, SIZE, CONFIG), RED, tolerance=4)


def test_a_cmyk_jpeg_without_adobes_marker_is_not_inverted():
    # Written inverted: the file holds 0, 255, 255, 0.
    data = encoded(Image.new("CMYK", (64, 64), (255, 0, 0, 255)), "JPEG")
    at = data.index(b"\xff\xee")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    plain = data[:at] + data[at + 2 + length :]
    assert b"Adobe" not in plain
    assert_colour(decode_image(plain, SIZE, CONFIG), RED, tolerance=4)


def test_sixteen_bits_a_channel_become_eight(tmp_path):
    gray, colour = tmp_path / "gray.png", tmp_path / "colour.png"
    cv2.imwrite(str(gray), np.full((40, 40), 0x80FF, np.uint16))
    # OpenCV's order: blue, green, red.
    cv2.imwrite(str(colour), np.full((40, 40, 3), (0x10FF, 0x40FF, 0xC0FF), np.uint16))
    assert_colour(decode_image(gray.read_bytes(), SIZE, CONFIG), (0x80, 0x80, 0x80), tolerance=1)
    assert_colour(decode_image(colour.read_bytes(), SIZE, CONFIG), (0xC0, 0x40, 0x10), tolerance=1)


def test_alpha_lies_on_white():
    half = encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 128)), "PNG")
    assert_colour(decode_image(half, SIZE, CONFIG), (255, 127, 127))
    clear = encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "WEBP", lossless=True)
    assert_colour(decode_image(clear, SIZE, CONFIG), (255, 255, 255))
    gray = encoded(Image.new("LA", (40, 40), (0, 128)), "PNG")
    assert_colour(decode_image(gray, SIZE, CONFIG), (127, 127, 127))


def test_palettes_are_looked_up_with_and_without_a_transparent_colour():
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert_colour(decode_image(encoded(image, "PNG"), SIZE, CONFIG), (10, 200, 30))
    assert_colour(decode_image(encoded(image, "PNG", transparency=1), SIZE, CONFIG), (255, 255, 255))
    assert_colour(decode_image(encoded(image, "GIF", transparency=1), SIZE, CONFIG), (255, 255, 255))


def test_of_an_animation_the_first_frame_is_shown():
    first, second = Image.new("RGB", (40, 40), RED), Image.new("RGB", (40, 40), BLUE)
    for kind in ("GIF", "WEBP"):
        data = encoded(first, kind, save_all=True, append_images=[second], duration=100)
        assert_colour(decode_image(data, SIZE, CONFIG), RED, tolerance=4)


def test_gray_and_bilevel_pictures_have_three_equal_channels():
    assert_colour(decode_image(encoded(Image.new("L", (40, 40), 77), "JPEG"), SIZE, CONFIG), (77, 77, 77))
    assert_colour(decode_image(encoded(Image.new("1", (40, 40), 1), "PNG"), SIZE, CONFIG), (255, 255, 255))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_colour_profile_is_applied(kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"TEMP", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"TEMP", b"gXYZ", 1)
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    image = Image.new("RGB", (40, 40), RED)
    assert_colour(decode_image(encoded(image, kind, icc_profile=profile), SIZE, CONFIG), RED, tolerance=4)
    assert_colour(decode_image(encoded(image, kind, icc_profile=swapped), SIZE, CONFIG), GREEN, tolerance=6)
    assert_colour(decode_image(encoded(image, kind, icc_profile=b"no profile at all"), SIZE, CONFIG), RED, tolerance=4)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_that_ends_early_is_truncated(options):
    data = encoded(photo(), "JPEG", **options)
    for share in (0.1, 0.5, 0.9):
        assert refusal(data[: int(len(data) * share)]) is Reason.TRUNCATED
    assert refusal(data[:150]) is Reason.TRUNCATED


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_other_formats_that_end_early_are_truncated(kind):
    data = encoded(photo(), kind)
    assert refusal(data[: len(data) // 2]) is Reason.TRUNCATED


def test_a_jpeg_with_stray_bytes_behind_it_is_usable():
    data = encoded(Image.new("RGB", (64, 64), GREEN), "JPEG")
    assert_colour(decode_image(data + b"\n<!-- cached -->" * 9, SIZE, CONFIG), GREEN, tolerance=4)


def test_bytes_that_are_no_image_say_what_they_are():
    for data in (
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"just text",
        b"\x00\x00\x00\x18ftypmp42",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"",
        b"%PDF-1.7",
    ):
        assert refusal(data) is Reason.NOT_AN_IMAGE


def test_a_known_format_with_broken_content_is_corrupt():
    data = bytearray(encoded(photo(), "PNG"))
    data[60:400] = b"\xff" * 340
    assert refusal(bytes(data)) is Reason.CORRUPT


def test_tracking_pixels_are_too_small():
    assert refusal(encoded(Image.new("RGB", (1, 1)), "GIF")) is Reason.TOO_SMALL
    assert refusal(encoded(Image.new("RGB", (500, 7)), "PNG")) is Reason.TOO_SMALL


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_of_20000_pixels_width_is_usable(kind):
    wide = Image.new("RGB", (20_000, 200), BLUE)
    wide.paste(RED, (0, 0, 10_000, 200))
    seen = decode_photo(encoded(wide, kind), SIZE, CONFIG)
    assert (seen.width, seen.height) == (20_000, 200)
    assert_colour(seen.pixels[:, :15], RED, tolerance=6)
    assert_colour(seen.pixels[:, 17:], BLUE, tolerance=6)


def test_more_pixels_than_allowed_are_refused_by_the_header():
    data = encoded(photo(300, 200), "JPEG")
    assert refusal(data, ImagesConfig(max_pixels=59_999)) is Reason.TOO_MANY_PIXELS
    assert decode_image(data, SIZE, ImagesConfig(max_pixels=60_000)).shape == (32, 32, 3)


def test_scaled_decoding_never_falls_below_the_target():
    from vsspark.images.jpeg import decode_jpeg

    for width, height in (
        (447, 700),
        (448, 448),
        (449, 900),
        (1000, 1000),
        (3000, 448),
        (4000, 3000),
        (225, 224),
        (100, 80),
    ):
        pixels = decode_jpeg(encoded(Image.new("RGB", (width, height)), "JPEG"), (224, 224))
        assert pixels.shape[0] >= min(224, height)
        assert pixels.shape[1] >= min(224, width)
    assert decode_jpeg(encoded(Image.new("RGB", (4000, 3000)), "JPEG"), (224, 224)).shape[:2] == (375, 500)


def test_squash_averages_fine_detail_and_keeps_the_mean():
    checkers = (np.indices((1000, 1000)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    small = squash(checkers, (224, 224)).astype(int)
    assert abs(small.mean() - 127.5) < 2
    assert small.std() < 20  # taking every fourth pixel would leave 127
    halves = np.zeros((90, 50, 3), np.uint8)
    halves[:45] = 200
    grown = squash(halves, (180, 224))
    assert_colour(grown[:80], (200, 200, 200), tolerance=0)
    assert_colour(grown[100:], (0, 0, 0), tolerance=0)
    assert squash(halves, (90, 50)) is halves


def test_importing_the_room_leaves_spark_and_tensorflow_alone():
    script = (
        "import sys, vsspark.images.fetch, vsspark.images.decode; "
        "print(sorted({'pyspark', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
