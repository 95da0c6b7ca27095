"""What the student shall answer: the teacher's features made smaller, and how probable each category is. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsspark.evaluation.calibration import best_temperature

_FOLDS = 5  # parts of the photos, each answered by a discriminant of the others
_SHRINK = 0.1  # share of the identity in the covariance


@dataclass(frozen=True)
class Projection:
    """target = unit norm of (features - mean) @ matrix."""

    mean: np.ndarray  # (teacher d,)
    matrix: np.ndarray  # (teacher d, student d)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, d) float32, unit norm."""
        x = (features.astype(np.float32) - self.mean) @ self.matrix
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def fit_projection(features: np.ndarray, layers: tuple[int, ...], dim: int, whiten: float = 0.25) -> Projection:
    """Principal axes of the teacher's features: what it sees, whether it tells categories apart or not.

    features: (n, teacher d); layers: how many columns each of the teacher's layers has, all of which count alike.
    whiten: 0 = plain PCA, 1 = every axis equally long.
    """
    x = features.astype(np.float32)
    mean = x.mean(0)
    x -= mean
    variance = np.split(x.var(0), np.cumsum(layers)[:-1])
    scale = np.concatenate([np.full(len(part), part.sum() ** -0.5, np.float32) for part in variance])
    x *= scale
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    values, axes = values[::-1][:dim], axes[:, ::-1][:, :dim]
    return Projection(mean, scale[:, None] * axes * values ** (-whiten / 2))


def probable_categories(x: np.ndarray, category: np.ndarray, photo: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes) float32: the probabilities of a linear discriminant that has not seen the photo in question,
    calibrated.

    x: (n, d); category: (n,) int, -1 = unknown, answered all the same; photo: (n,) int, whose views are in one fold.
    """
    fold = photo % _FOLDS
    logits = np.zeros((len(x), classes), np.float32)
    for held_out in range(_FOLDS):
        train = (fold != held_out) & (category >= 0)
        rows, label = x[train], category[train]
        count = np.bincount(label, minlength=classes)
        means = np.stack([rows[label == c].mean(0) if count[c] else np.zeros(x.shape[1]) for c in range(classes)])
        within = rows - means[label]
        cov = within.T @ within / len(rows)
        cov = (1 - _SHRINK) * cov + _SHRINK * np.trace(cov) / len(cov) * np.eye(len(cov))
        weights = np.linalg.solve(cov, means.T)  # (d, classes)
        prior = np.log(np.maximum(count, 1e-3) / count.sum())
        logits[fold == held_out] = x[fold == held_out] @ weights - 0.5 * (means.T * weights).sum(0) + prior
    has_label = category >= 0
    z = logits / best_temperature(logits[has_label], category[has_label])
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)
