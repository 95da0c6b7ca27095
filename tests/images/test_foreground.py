"""The finder on pictures made by hand, whose foreground is known; and what encoders then see."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.decode import decode_photo
from vsspark.images.foreground import find_foreground, surrounding
from vsspark.images.product import blank_background, decode_product, preprocessing_mark

BOX = (60, 90, 190, 330)  # left, top, right, bottom of the garment in a picture of 288x360
CROP, BLANK = ImagesConfig(foreground="crop"), ImagesConfig(foreground="blank")


def picture(background, garment=(150, 40, 60), noise=0.0, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = np.full((360, 288, 3), background, np.float64)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = garment
    return np.clip(pixels + rng.normal(0, noise, pixels.shape) if noise else pixels, 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("noise", [0, 8, 25])
@pytest.mark.parametrize("background", [(255, 255, 255), (206, 200, 190), (40, 60, 50)])
def test_a_garment_on_paper_is_found(background, noise):
    found = find_foreground(picture(background, noise=noise))
    assert np.abs(np.subtract(surrounding(found, 0), BOX)).max() <= 8  # two pixels of the copy that is looked at
    inside = np.zeros(found.shape, bool)
    inside[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    assert (found == inside).mean() > 0.96


def test_a_garment_on_stripes_is_found():
    pixels = picture((0, 0, 0))
    boards = np.where(np.arange(360)[:, None, None] // 30 % 2, (176, 132, 92), (206, 174, 136)).repeat(288, axis=1)
    inside = np.zeros((360, 288, 1), bool)
    inside[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    found = find_foreground(np.where(inside, pixels, boards).astype(np.uint8))
    assert np.abs(np.subtract(surrounding(found, 0), BOX)).max() <= 8


def test_a_figure_that_is_cut_off_above_and_below_is_found():
    pixels = np.full((360, 288, 3), 250, np.uint8)
    pixels[:, 100:180] = (60, 70, 120)
    left, top, right, bottom = surrounding(find_foreground(pixels), 0)
    assert (top, bottom) == (0, 360)
    assert np.abs(np.subtract((left, right), (100, 180))).max() <= 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (7, 900), (8, 8), (40, 40), (2000, 30)])
def test_pictures_of_any_shape_are_looked_at(shape):
    rng = np.random.default_rng(1)
    for pixels in (np.full((*shape, 3), 90, np.uint8), rng.integers(0, 256, (*shape, 3), np.uint8)):
        found = find_foreground(pixels)
        assert found is None or (found.shape == shape and found.any())


def test_one_colour_noise_and_next_to_everything_are_nothing_found():
    assert find_foreground(np.full((300, 200, 3), 128, np.uint8)) is None
    everything = np.full((300, 200, 3), 200, np.uint8)
    everything[3:-3, 3:-3] = (90, 20, 20)
    found = find_foreground(everything)
    assert found is None or found.mean() <= 0.9
    dot = np.full((300, 200, 3), 200, np.uint8)
    dot[150:156, 100:106] = (90, 20, 20)
    assert find_foreground(dot) is None


def test_the_same_pixels_give_the_same_answer_whatever_came_before():
    pixels = picture((206, 200, 190), noise=40)
    first = find_foreground(pixels)
    for seed in range(3):
        find_foreground(picture((90, 90, 90), noise=60, seed=seed))
        np.testing.assert_array_equal(find_foreground(pixels), first)


def test_the_frame_has_a_margin_that_stays_in_the_picture():
    mask = np.zeros((100, 50), bool)
    mask[10:20, 0:30] = True
    assert surrounding(mask, 0.1) == (0, 0, 35, 30)


def test_crop_and_blank_show_the_garment():
    data = encoded(picture((120, 190, 120), noise=6))
    whole, crop, blank = (decode_product(data, (64, 64), config) for config in (ImagesConfig(), CROP, BLANK))
    assert [(photo.width, photo.height) for photo in (whole, crop, blank)] == [(288, 360)] * 3
    red = [np.abs(photo.pixels.astype(int) - (150, 40, 60)).max(axis=2) < 40 for photo in (whole, crop, blank)]
    assert red[0].mean() < 0.35
    assert red[1].mean() > 0.8
    white = (blank.pixels > 240).all(axis=2)
    assert (red[2] | white).mean() > 0.85
    # Nothing of the background is left.
    assert not (np.abs(blank.pixels.astype(int) - (120, 190, 120)).max(axis=2) < 25).any()


def test_without_a_finder_or_a_find_the_picture_is_whole():
    data = encoded(picture((120, 190, 120), noise=6), "JPEG")
    np.testing.assert_array_equal(
        decode_product(data, (64, 64), ImagesConfig()).pixels, decode_photo(data, (64, 64), ImagesConfig()).pixels
    )
    plain = encoded(np.full((40, 60, 3), 77, np.uint8))
    for config in (CROP, BLANK):
        np.testing.assert_array_equal(
            decode_product(plain, (32, 32), config).pixels, decode_photo(plain, (32, 32), config).pixels
        )


def test_a_given_box_wins_over_the_finder():
    data = encoded(picture((120, 190, 120)))
    for config in (CROP, BLANK):
        assert (decode_product(data, (32, 32), config, "200 0 280 80").pixels == (120, 190, 120)).all()
    with pytest.raises(ImageError) as caught:
        decode_product(data, (32, 32), CROP, "nonsense")
    assert caught.value.reason == Reason.BAD_BOX


def test_a_large_picture_is_cut_from_all_its_pixels():
    """The garment of a picture eight times as large has stripes that a small copy would not show."""
    pixels = np.full((2880, 2304, 3), 250, np.uint8)
    pixels[720:2640, 480:1520] = (150, 40, 60)
    pixels[720:2640:16, 480:1520] = pixels[721:2640:16, 480:1520] = pixels[722:2640:16, 480:1520] = pixels[
        723:2640:16, 480:1520
    ] = (40, 40, 160)
    crop = decode_product(encoded(pixels), (512, 512), CROP).pixels
    middle = crop[100:400, 200:300].astype(int).mean(axis=1)  # (rows, 3)
    assert middle[:, 2].std() > 20


def test_blanking_at_another_size_softens_edges_only():
    pixels, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    blanked = blank_background(pixels, mask)
    assert (blanked[20:44, 20:44] == 0).all()
    assert (blanked[:12] == 255).all()


def test_the_model_version_says_what_was_cut():
    assert [preprocessing_mark(config) for config in (ImagesConfig(), CROP, BLANK)] == [
        "",
        "-crop-grabcut-1",
        "-blank-grabcut-1",
    ]
