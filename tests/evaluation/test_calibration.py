"""Calibration against expectations worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.evaluation.calibration import best_temperature, calibration_error


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
