"""The arithmetic around training, against expectations worked out by hand."""

from __future__ import annotations

import numpy as np

from vsspark.default_encoder.targets import fit_projection, probable_categories


def test_projection_has_unit_rows_and_counts_every_layer_alike():
    rng = np.random.default_rng(1)
    loud, quiet = 50 * rng.normal(size=(900, 20)), rng.normal(size=(900, 20))
    quiet[:, 0] *= 8  # what the quiet layer mostly says
    features = np.concatenate([loud, quiet], 1).astype(np.float32)
    target = fit_projection(features, (20, 20), 4)(features)
    assert target.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(target, axis=1), 1, atol=1e-5)
    assert max(abs(np.corrcoef(target[:, i], quiet[:, 0])[0, 1]) for i in range(4)) > 0.5
    whole = fit_projection(features, (40,), 4)(features)  # as one layer, the loud columns are all there is
    assert max(abs(np.corrcoef(whole[:, i], quiet[:, 0])[0, 1]) for i in range(4)) < 0.2


def test_probable_categories_do_not_know_the_photo_in_question():
    rng = np.random.default_rng(2)
    photo = np.repeat(np.arange(300), 3)
    category = photo % 3
    x = rng.normal(size=(900, 12)).astype(np.float32) + 4 * np.eye(12, dtype=np.float32)[category]
    answer = probable_categories(x, np.where(photo % 5 == 4, -1, category), photo, 3)
    assert answer.shape == (900, 3)
    np.testing.assert_allclose(answer.sum(1), 1, atol=1e-5)
    assert (answer.argmax(1) == category).mean() > 0.95  # those without a label too
    noise = rng.normal(size=(300, 40)).astype(np.float32)[photo]  # every photo is recognisable, no category is
    blind = probable_categories(noise, category, photo, 3)
    assert (blind.argmax(1) == category).mean() < 0.5
    assert blind.max() < 0.9  # and it says so
