"""Colours are what the file's numbers say, whatever its profile is called; expectations come from the formulas."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from vsspark.config import ImagesConfig
from vsspark.images.decode import decode_image, decode_photo

sys.path.insert(0, str(Path(__file__).parent))
from mutations import chunk, encoded
from profiles import ADOBE_RGB, DISPLAY_P3, SRGB, as_srgb, gray_profile, matrix_profile

CONFIG = ImagesConfig()
SIZE = (32, 32)
COLOUR = (200, 40, 90)
PICTURE = Image.new("RGB", (64, 64), COLOUR)


def shown(data: bytes) -> np.ndarray:
    return decode_image(data, SIZE, CONFIG).reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("name", "primaries", "curve"),
    [
        ("Display P3 Gamut with sRGB Transfer", DISPLAY_P3, None),
        ("sRGB", DISPLAY_P3, None),
        ("Linear sRGB", SRGB, (1.0,)),
        ("sRGB gamma 1.8", SRGB, (1.8,)),
        ("Adobe RGB (1998)", ADOBE_RGB, (2.2,)),
        ("not s-R-G-B by name", SRGB, None),
    ],
)
def test_the_numbers_of_a_profile_count_not_its_name(kind, name, primaries, curve):
    options = {} if curve is None else {"curve": curve}
    data = encoded(PICTURE.copy(), kind, icc_profile=matrix_profile(name, primaries, **options))
    np.testing.assert_allclose(shown(data), as_srgb(COLOUR, primaries, **options), atol=5)


def test_a_profile_that_means_srgb_changes_no_pixel():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    for profile in (
        matrix_profile("mine", SRGB),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ):
        data = encoded(noise.copy(), "PNG", icc_profile=profile)
        np.testing.assert_array_equal(decode_image(data, SIZE, CONFIG), np.asarray(noise))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_gray_picture_has_a_gray_profile(kind):
    data = encoded(Image.new("L", (64, 64), 100), kind, icc_profile=gray_profile("sRGB gray", 1.0))
    np.testing.assert_allclose(shown(data), as_srgb((100, 100, 100), SRGB, (1.0,)), atol=2)


def test_a_gray_profile_says_nothing_about_a_picture_with_colours():
    data = encoded(PICTURE.copy(), "PNG", icc_profile=gray_profile("gray", 1.0))
    np.testing.assert_allclose(shown(data), COLOUR, atol=1)


def png_with(*chunks: bytes) -> bytes:
    png = encoded(PICTURE.copy(), "PNG")
    return png[:33] + b"".join(chunks) + png[33:]


def test_a_png_without_a_profile_says_its_colours_in_chunks():
    p3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    white_and_primaries = chunk(b"cHRM", struct.pack(">8L", *(round(100_000 * number) for number in p3)))
    bt709 = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    srgb_primaries = chunk(b"cHRM", struct.pack(">8L", *(round(100_000 * number) for number in bt709)))
    linear = chunk(b"gAMA", struct.pack(">L", 100_000))
    usual = chunk(b"gAMA", struct.pack(">L", 45_455))
    np.testing.assert_allclose(shown(png_with(linear, srgb_primaries)), as_srgb(COLOUR, SRGB, (1.0,)), atol=2)
    wide = as_srgb(COLOUR, DISPLAY_P3, (2.2,))
    np.testing.assert_allclose(shown(png_with(usual, white_and_primaries)), wide, atol=2)
    # Browsers take a sRGB chunk before the two, and one of the two alone says nothing.
    for chunks in ((chunk(b"sRGB", b"\0"), linear, white_and_primaries), (linear,), (white_and_primaries,)):
        np.testing.assert_allclose(shown(png_with(*chunks)), COLOUR, atol=1)
    no_picture = chunk(b"gAMA", b"\0\0\0\0"), chunk(b"cHRM", bytes(32))
    np.testing.assert_allclose(shown(png_with(*no_picture)), COLOUR, atol=1)


def test_cicp_names_colours_by_number():
    display_p3 = chunk(b"cICP", bytes((12, 13, 0, 1)))
    np.testing.assert_allclose(shown(png_with(display_p3)), as_srgb(COLOUR, DISPLAY_P3), atol=2)
    srgb = chunk(b"cICP", bytes((1, 13, 0, 1)))
    linear = chunk(b"gAMA", struct.pack(">L", 100_000))
    np.testing.assert_allclose(shown(png_with(srgb, linear)), COLOUR, atol=1)


def test_an_avif_without_a_profile_names_its_colours_by_number():
    avif = encoded(PICTURE.copy(), "AVIF", speed=10)
    at = avif.index(b"colrnclx") + 8
    plain = shown(avif)
    np.testing.assert_allclose(plain, COLOUR, atol=4)
    wide = avif[:at] + struct.pack(">HH", 12, 13) + avif[at + 4 :]
    np.testing.assert_allclose(shown(wide), as_srgb(tuple(plain), DISPLAY_P3), atol=2)
    unknown = avif[:at] + struct.pack(">HH", 2, 2) + avif[at + 4 :]
    np.testing.assert_array_equal(shown(unknown), plain)


def test_a_box_is_converted_as_the_whole_picture():
    from vsspark.images.box import Box

    data = encoded(PICTURE.copy(), "JPEG", icc_profile=matrix_profile("sRGB", DISPLAY_P3), quality=95)
    pixels = decode_photo(data, SIZE, CONFIG, Box(8, 8, 60, 50)).pixels
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(axis=0), as_srgb(COLOUR, DISPLAY_P3), atol=5)
