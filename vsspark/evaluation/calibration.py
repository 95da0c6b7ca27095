"""How far probabilities can be believed, and what makes them so (Guo et al. 2017, arXiv:1706.04599). NumPy only."""

from __future__ import annotations

import numpy as np


def calibration_error(probabilities: np.ndarray, label: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: |accuracy - confidence| of equal-width confidence bins, weighted by their size.

    After Guo et al. 2017 (arXiv:1706.04599).
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == label
    group = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(right[group == b].mean() - confidence[group == b].mean()) * (group == b).mean()
            for b in range(bins)
            if (group == b).any()
        )
    )


def best_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """What to divide logits by so that their softmax is most likely given the labels (Guo et al. 2017), searched from
    0.2 to 5.
    """
    candidates = np.exp(np.linspace(np.log(0.2), np.log(5.0), 60))
    losses = []
    for temperature in candidates:
        z = logits / temperature
        z = z - z.max(1, keepdims=True)
        losses.append(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(label)), label]))
    return float(candidates[int(np.argmin(losses))])
