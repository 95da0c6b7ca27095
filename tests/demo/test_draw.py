"""The demo's pictures: the same bytes every time; views and products differ; a product has its colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vsspark.demo.draw import encode_photo, render_photo
from vsspark.demo.fabrics import TILE, fabric
from vsspark.demo.products import COLOURS, KINDS, PATTERNS, PhotoSpec, photo_specs, product_spec
from vsspark.demo.scene import HEIGHT, WIDTH


def _first(**wanted):
    return next(
        p
        for p in (product_spec(7, i) for i in range(4000))
        if all(getattr(p, name) == value for name, value in wanted.items())
    )


def test_the_same_photo_is_the_same_bytes():
    product = product_spec(7, 5)
    for photo in photo_specs(product):
        once = encode_photo(product, photo)
        encode_photo(product_spec(7, 6), photo)
        assert encode_photo(product, photo) == once


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_in_every_view(kind):
    for variant in sorted({p.variant for p in (product_spec(7, i) for i in range(800)) if p.kind == kind}):
        product = _first(kind=kind, variant=variant)
        pictures = [
            render_photo(product, PhotoSpec(i, view, "white", None))
            for i, view in enumerate(("front", "worn", "back", "detail"))
        ]
        for picture in pictures:
            assert picture.shape == (HEIGHT, WIDTH, 3)
            assert picture.dtype == np.uint8
        for picture in pictures[:3]:  # a detail may fill the picture
            covered = (np.abs(picture.astype(int) - picture[2, 2].astype(int)).sum(2) > 60).mean()
            assert 0.05 < covered < 0.98, f"{kind} {variant}"
        assert all(
            np.abs(a.astype(int) - b.astype(int)).mean() > 2 for i, a in enumerate(pictures) for b in pictures[:i]
        )


@pytest.mark.parametrize("colour", ["red", "navy", "mustard", "green"])
def test_a_plain_shirt_shows_its_colour_in_the_middle(colour):
    product = _first(kind="t-shirt", pattern="plain", colour=colour)
    picture = render_photo(product, PhotoSpec(0, "front", "white", None))
    middle = picture[HEIGHT // 2 - 15 : HEIGHT // 2 + 15, WIDTH // 2 - 15 : WIDTH // 2 + 15].reshape(-1, 3).mean(0)
    nearest = min(COLOURS, key=lambda name: np.linalg.norm(_direction(COLOURS[name]) - _direction(middle)))
    assert np.linalg.norm(_direction(COLOURS[colour]) - _direction(middle)) < 0.15, (
        f"{colour} looks like {nearest}: {middle}"
    )


def _direction(colour) -> np.ndarray:
    """Hue and saturation, whatever the light."""
    colour = np.asarray(colour, float)
    return colour / np.linalg.norm(colour)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_cloth_repeats_without_a_seam(pattern):
    tile = fabric(_first(pattern=pattern))[0].astype(int)
    assert tile.shape == (TILE, TILE, 3)
    for axis in (0, 1):
        # The pattern's own edges may fall on the border, but nothing sharper than those.
        steps = np.abs(np.diff(tile, axis=axis)).mean(axis=(1 - axis, 2))
        across = np.abs(np.take(tile, 0, axis) - np.take(tile, -1, axis)).mean()
        assert across < 1.3 * steps.max() + 2


def test_damaged_files_are_damaged_as_said():
    product = product_spec(7, 5)

    def content(damage):
        return encode_photo(product, PhotoSpec(1, "back", "white", damage))

    assert content("missing") is None
    assert content("empty") == b""
    assert content("html").startswith(b"<!DOCTYPE html>")
    whole, part = content(None), content("truncated")
    assert whole.startswith(part)
    assert len(part) < len(whole) / 2
    assert cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR).shape == (HEIGHT, WIDTH, 3)
