"""The parts embeddings are put together from, against OpenCV, closed forms and what a shop's pictures do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vsspark.encoders.parts import beside, colour_histogram, sharpened


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def histogram(*pictures: np.ndarray) -> np.ndarray:
    return np.asarray(colour_histogram(np.stack(pictures).astype(np.float32)))


def plain(colour: tuple[int, int, int], side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


@pytest.mark.parametrize("width", [0.1, 0.3])
def test_a_sharpened_cosine_is_the_gaussian_kernel(width):
    rng = np.random.default_rng(0)
    # Cosines from .7 to 1, where kernels of these widths bend.
    x = unit(rng.normal(size=(30, 20)) + 3 * rng.normal(size=20))
    found = np.asarray(sharpened(x, 4096, width, "waves"))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found @ found.T, np.exp((x @ x.T - 1) / width), atol=4 / 4096**0.5)
    np.testing.assert_array_equal(found, np.asarray(sharpened(x, 4096, width, "again")))  # the seed's, not chance's
    assert np.asarray(sharpened(x, 10, width, "few")).shape == (30, 10)


def test_parts_beside_each_other_share_the_cosine():
    rng = np.random.default_rng(1)
    one, other = unit(rng.normal(size=(5, 4))), unit(rng.normal(size=(5, 7)))
    whole = np.asarray(beside([one, other], [1.0, 0.25], "whole"))
    np.testing.assert_allclose(whole @ whole.T, (one @ one.T + 0.25 * other @ other.T) / 1.25, atol=1e-6)


def test_colours_fall_into_the_bins_of_opencvs_lab():
    for colour in ((200, 30, 40), (20, 90, 200), (128, 128, 128), (12, 10, 11), (250, 240, 90)):
        lab = cv2.cvtColor(np.float32([[colour]]) / 255, cv2.COLOR_RGB2LAB)[0, 0]
        counts = np.square(histogram(plain(colour)))[0]  # their length, not their sum, is 1
        counts = (counts / counts.sum()).reshape(5, 9, 9)
        centres = (np.arange(5) + 0.5) * 20, (np.arange(9) - 4) * 100 / 9
        found = [
            (counts.sum((1, 2)) * centres[0]).sum(),
            (counts.sum((0, 2)) * centres[1]).sum(),
            (counts.sum((0, 1)) * centres[1]).sum(),
        ]
        inside = [np.clip(lab[0], centres[0][0], centres[0][-1]), *np.clip(lab[1:], centres[1][0], centres[1][-1])]
        np.testing.assert_allclose(found, inside, atol=0.5)


def test_a_garment_has_its_colour_in_every_pose_and_size_on_white_paper():
    red, blue = (180, 40, 50), (40, 60, 170)
    pictures = [plain((255, 255, 255)) for _ in range(3)]
    pictures[0][10:50, 20:40] = red
    pictures[1][30:62, 2:60] = red
    pictures[2][10:50, 20:40] = blue
    small, large, other = histogram(*pictures)
    assert small @ large > 0.95
    assert small @ other < 0.6
    assert histogram(plain((170, 35, 45)))[0] @ histogram(plain(red))[0] > 0.8


def test_nothing_but_paper_has_no_colours():
    found = histogram(plain((255, 255, 255)), plain((254, 255, 255)), plain((180, 40, 50)))
    assert not found[:2].any()
    blank, paper, red = np.asarray(sharpened(found, 2048, 0.5, "waves"))
    assert blank @ paper == pytest.approx(1)
    assert blank @ red == pytest.approx(np.exp(-0.5 / 0.5), abs=0.1)
