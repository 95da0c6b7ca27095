"""Pools: every photo's views in order, reused when they are there, continued where a kill left them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vsspark.default_encoder import pool
from vsspark.default_encoder.pool import Recipe, build_pool
from vsspark.default_encoder.sources import generated_photos
from vsspark.training.views import whole_view


def _pool(folder, crops=1, mixes=1):
    return build_pool(folder, generated_photos(5, range(3)), Recipe(crops, mixes, 32, 9), None, batch=6)


def test_a_pool_has_every_view_of_every_photo(tmp_path):
    photos = generated_photos(5, range(3))
    made = _pool(tmp_path)
    assert made.views.shape == (len(photos) * 3, 32, 32, 3)
    assert made.product.tolist() == [photo.product for photo in photos for _ in range(3)]
    assert made.category.tolist() == [label for photo in photos for label in (photo.category, photo.category, -1)]
    first = whole_view(whole_view(photos[0].read(), 224), 32)  # as the teacher sees it, then as it is stored
    np.testing.assert_array_equal(made.views[0], first)


def test_a_killed_build_goes_on_where_it_was(tmp_path):
    whole = np.array(_pool(tmp_path).views)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"done": 4}))
    lost = np.load(tmp_path / "views.npy", mmap_mode="r+")
    lost[:3] = 7  # done before the kill: not made again
    lost[12:] = 0  # not yet done
    lost.flush()
    again = np.array(_pool(tmp_path).views)
    assert (again[:3] == 7).all()
    np.testing.assert_array_equal(again[3:], whole[3:])


def test_another_request_makes_another_pool(tmp_path, monkeypatch):
    small = _pool(tmp_path, mixes=0)
    views, size = np.array(small.views), len(small.views)
    assert len(_pool(tmp_path).views) == size // 2 * 3

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pool, "_views_of", killed)
        with pytest.raises(KeyboardInterrupt):
            _pool(tmp_path, mixes=0)
    np.testing.assert_array_equal(_pool(tmp_path, mixes=0).views, views)
