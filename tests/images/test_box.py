"""The box cut out of a picture: what a text says, and pixels beside a crop made by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.box import Box, parse_box
from vsspark.images.decode import decode_photo, squash

CONFIG = ImagesConfig()


def photo(width: int, height: int) -> Image.Image:
    """Soft spots, eight across: every part looks different, and no way of shrinking it matters."""
    noise = np.random.default_rng(3).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, orientation: int = 1) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}))
    return buffer.getvalue()


def seen(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def test_a_text_of_four_whole_numbers_is_a_box():
    assert parse_box("12 30 200 400") == Box(12, 30, 200, 400)
    assert parse_box("-5 -9 3 4") == Box(-5, -9, 3, 4)
    assert parse_box(None) is None


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "1 2 3 4 5", "a b c d", "1.5 2 3 4", "9 2 9 4", "1 5 3 4", "0 0 1e3 1e3", "? 0 9 9"]
)
def test_any_other_text_is_refused_and_quoted(text):
    with pytest.raises(ImageError) as caught:
        parse_box(text)
    assert caught.value.reason == Reason.BAD_BOX
    assert text in caught.value.detail


def test_what_sticks_out_is_cut_off_and_what_lies_outside_or_is_tiny_is_refused():
    assert Box(-10, 20, 5000, 60).clipped(100, 50, 8) == Box(0, 20, 100, 50)
    for outside in (Box(100, 0, 120, 20), Box(-20, 0, 0, 20), Box(0, -9, 20, 0), Box(0, 50, 9, 60)):
        with pytest.raises(ImageError, match="nothing of it is inside the picture of 100x50"):
            outside.clipped(100, 50, 8)
    with pytest.raises(
        ImageError, match="1x1 pixels of it are inside the picture of 100x50, the shorter side must have 8"
    ):
        Box(0, 0, 1, 1).clipped(100, 50, 8)  # shares of the width and height, taken for pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_box_is_one_of_the_picture_as_it_is_shown(kind, orientation):
    data = encoded(photo(300, 200), kind, orientation)
    box = Box(40, 30, 140, 170)
    by_hand = squash(np.asarray(seen(data).crop(box)), (32, 32))
    found = decode_photo(data, (32, 32), CONFIG, box)
    assert (found.width, found.height) == seen(data).size
    assert np.abs(found.pixels.astype(int) - by_hand).mean() < 4  # a pixel aside: 5 to 11


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(32, 32), (60, 90)])
def test_a_large_jpeg_is_decoded_small_but_never_smaller_than_the_encoder_sees(mode, size):
    """1600x1200: the part of 300x200 has the pixels for either size, an eighth of it has not."""
    picture = photo(1600, 1200)
    data = encoded(picture.convert(mode), "JPEG", 6)
    box = Box(500, 701, 803, 906)
    by_hand = squash(np.asarray(seen(data).crop(box)), size)
    assert np.abs(decode_photo(data, size, CONFIG, box).pixels.astype(int) - by_hand).mean() < 4


def test_a_box_of_the_whole_picture_changes_nothing():
    data = encoded(photo(333, 217), "JPEG", 8)
    np.testing.assert_array_equal(
        decode_photo(data, (32, 32), CONFIG, Box(0, 0, 217, 333)).pixels, decode_photo(data, (32, 32), CONFIG).pixels
    )


def test_the_smallest_box_there_may_be_is_enlarged():
    picture = Image.new("RGB", (400, 300), (200, 0, 0))
    picture.paste((0, 0, 200), (391, 291, 400, 300))
    pixels = decode_photo(encoded(picture, "PNG"), (32, 32), CONFIG, Box(391, 291, 400, 300)).pixels
    assert (pixels == (0, 0, 200)).all()
