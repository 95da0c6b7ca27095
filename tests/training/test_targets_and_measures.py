"""The arithmetic around training, against expectations worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.training.measure import best_temperature, calibration_error, nearest_agrees
from vsspark.training.targets import fit_projection, steady_targets


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


def test_projection_has_unit_rows_and_stretches_what_tells_categories_apart():
    rng = np.random.default_rng(1)
    category = rng.integers(0, 3, 900)
    features = rng.normal(0, 1, (900, 40)).astype(np.float32)
    features[:, :20] *= 4  # loud directions that say nothing
    features[np.arange(900), 30 + category] += 4
    plain = fit_projection(features, category, 16, discriminant=0.0)(features)
    told = fit_projection(features, category, 16, discriminant=2.0)(features)
    np.testing.assert_allclose(np.linalg.norm(told, axis=1), 1, atol=1e-5)
    assert nearest_agrees(told, category) > nearest_agrees(plain, category) + 0.05


def test_rows_without_category_do_not_disturb_the_projection():
    rng = np.random.default_rng(2)
    features = rng.normal(0, 1, (300, 12)).astype(np.float32)
    category = np.where(np.arange(300) % 3 == 0, -1, np.arange(300) % 2)
    target = fit_projection(features, category, 8)(features)
    assert target.shape == (300, 8)
    assert np.isfinite(target).all()


def test_steady_targets_bring_views_of_a_product_together():
    targets = np.eye(4, dtype=np.float32)
    steady = steady_targets(targets, np.array([5, 5, 9, 9]), own=0.5)
    assert steady.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(steady, axis=1), 1, atol=1e-6)
    # own half plus half of the mean (.5, .5): (.75, .25), so the cosine of the two views is .375 / .625
    assert steady[0] @ steady[1] == pytest.approx(0.6)
    assert steady[0] @ steady[2] == pytest.approx(0.0)
