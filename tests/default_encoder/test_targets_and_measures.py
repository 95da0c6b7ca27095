"""The arithmetic around training, against expectations worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.default_encoder.measure import best_temperature, calibration_error, nearest_agrees
from vsspark.default_encoder.targets import fit_projection, probable_categories


def test_nearest_agrees_by_hand():
    angles = np.radians([0, 10, 15, 90, 120])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], 1)
    label = np.array([0, 0, 1, 1, 1])
    # nearest: 0->1 yes, 1->2 no, 2->1 no, 3->4 yes, 4->3 yes
    assert nearest_agrees(embeddings, label) == pytest.approx(3 / 5)
    # without 1 and 2 meeting: 0->1 yes, 1->0 yes, 2->0 no, 3->4 yes, 4->3 yes
    assert nearest_agrees(embeddings, label, exclude=np.array([0, 1, 1, 2, 3])) == pytest.approx(4 / 5)


def test_rows_that_cannot_be_right_are_not_counted():
    embeddings = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert nearest_agrees(embeddings, np.array([0, 0, 1])) == 1.0


def test_calibration_error_by_hand():
    # Two rows at .9 of which one is right, two at .6 that are both right: half of |.5 - .9| plus half of |1 - .6|
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]])
    assert calibration_error(probabilities, np.array([0, 0, 0, 0])) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_best_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    label = (probabilities.cumsum(1) > rng.random((4000, 1))).argmax(1)
    assert best_temperature(logits * 2.5, label) == pytest.approx(2.5, rel=0.1)
    assert best_temperature(logits, label) == pytest.approx(1.0, rel=0.1)


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
