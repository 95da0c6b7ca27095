"""Views keep hue and subject; batches are determined by seed, epoch and step, and come in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.default_encoder.config import DistillationConfig
from vsspark.default_encoder.feed import Examples, Source, _augment, _cells_within, _Window, batches
from vsspark.training.views import before_another, mixed_view, random_view, relight, whole_view

RED = np.full((90, 60, 3), (200, 40, 40), np.uint8)


def test_views_have_the_asked_size_and_the_same_hue():
    for seed in range(20):
        view = random_view(RED, 48, np.random.default_rng(seed))
        assert view.shape == (48, 48, 3)
        assert view.dtype == np.uint8
        red, green, blue = view.reshape(-1, 3).mean(0)
        assert red > 3 * green > 2.2 * blue
        assert abs(green - blue) < 12
    assert whole_view(RED, 32).shape == (32, 32, 3)


def test_a_random_view_shows_a_part_of_the_photo():
    photo = np.zeros((120, 120, 3), np.uint8)
    photo[:, :60] = 255
    shares = [(random_view(photo, 32, np.random.default_rng(seed)) > 127).mean() for seed in range(60)]
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_another_background_leaves_the_foreground_as_it_is():
    photo = np.full((90, 60, 3), 255, np.uint8)
    foreground = np.zeros((90, 60), bool)
    foreground[20:70, 15:45] = True
    photo[foreground] = (200, 40, 40)
    seen = [before_another(photo, foreground, np.random.default_rng(seed)) for seed in range(12)]
    for view in seen:
        assert np.abs(view[25:65, 20:40].astype(int) - (200, 40, 40)).max() <= 1
    assert len({tuple(view[5, 5]) for view in seen}) > 4  # papers, rooms and boards
    np.testing.assert_array_equal(seen[3], before_another(photo, foreground, np.random.default_rng(3)))


def test_relight_changes_brightness_within_bounds():
    means = [relight(RED, np.random.default_rng(seed)).mean() / RED.mean() for seed in range(60)]
    assert 0.65 < min(means) < 0.97
    assert 1.03 < max(means) < 1.4


def test_mixed_views_hold_both():
    white, black = np.full((40, 40, 3), 255, np.uint8), np.zeros((40, 40, 3), np.uint8)
    for seed in range(20):
        assert 0.25 < mixed_view(white, black, np.random.default_rng(seed)).mean() / 255 < 0.75


def test_cells_follow_the_window():
    down, across = np.indices((7, 7)).astype(np.float16)
    cells = np.stack([down, across], 2)
    whole = _Window(top=0, left=0, size=70, full=70, mirror=False)
    np.testing.assert_allclose(_cells_within(cells, whole, 7), cells, atol=1e-6)
    mirrored = _Window(top=0, left=0, size=70, full=70, mirror=True)
    np.testing.assert_allclose(_cells_within(cells, mirrored, 7), cells[:, ::-1], atol=1e-6)
    # The lower right 40 of 70 pixels are cells 3 to 6; two rows of them have their centres between 3 and 4, and
    # between 5 and 6.
    corner = _cells_within(cells, _Window(top=30, left=30, size=40, full=70, mirror=False), 2)
    np.testing.assert_allclose(corner[:, 0], [[3.5, 3.5], [5.5, 3.5]], atol=1e-6)
    np.testing.assert_allclose(corner[:, 1], [[3.5, 5.5], [5.5, 5.5]], atol=1e-6)


def test_cells_show_what_the_image_shows():
    """A picture and cells that both say where they are, through an off-centre window and the mirror."""
    down, across = (np.indices((70, 70)) * 3).astype(np.uint8)
    view = np.stack([down, across, across], 2)
    # The same ramp, at the cells' centres.
    cells = np.stack([15 + 30 * axis for axis in np.indices((7, 7))], 2).astype(np.float16)
    for mirrored in (False, True):
        window = _Window(top=8, left=2, size=60, full=70, mirror=mirrored)
        image = _augment(view, window, 60, np.random.default_rng(1))  # a seed that leaves the light as it is
        shown = image.reshape(3, 20, 3, 20, 3).mean((1, 3))[:, :, :2]
        np.testing.assert_allclose(_cells_within(cells, window, 3), shown, atol=2)


@pytest.fixture
def sources():
    rng = np.random.default_rng(0)
    return [
        Examples(
            rng.integers(0, 255, (n, 32, 32, 3), np.uint8),
            rng.normal(size=(n, 4)).astype(np.float32),
            rng.normal(size=(n, 7, 7, 5)).astype(np.float16),
            np.repeat(np.arange(n // 4), 4),
            np.eye(3, dtype=np.float32)[np.repeat(np.arange(n // 4) % 3, 4)],
        )
        for n in (40, 24)
    ]


def _shared(sources, share):
    return [Source(sources[0], share), Source(sources[1], 1 - share)]


def test_a_batch_is_made_of_pairs_of_one_product(sources):
    for batch in batches(_shared(sources, 0.75), DistillationConfig(batch_size=16, side=24, seed=3, steps=4), 3, 0):
        assert batch.images.shape == (16, 24, 24, 3)
        assert batch.images.dtype == np.float32
        assert batch.cells.shape == (16, 3, 3, 5)
        assert (batch.product[::2] == batch.product[1::2]).all()
        assert (batch.answer[::2] == batch.answer[1::2]).all()
        # Three quarters from the first source, numbered apart from the second.
        assert set(batch.product[:12] % 2) == {0}
        assert set(batch.product[12:] % 2) == {1}


def test_batches_are_the_same_again_and_differ_between_epochs(sources):
    def epoch(number):
        config = DistillationConfig(batch_size=8, side=24, seed=3, steps=5)
        return np.stack([batch.images for batch in batches(_shared(sources, 0.5), config, 3, number)])

    first = epoch(0)
    np.testing.assert_array_equal(first, epoch(0))
    assert not np.array_equal(first, epoch(1))
