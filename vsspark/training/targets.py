"""What the student shall answer: the teacher's features turned into embeddings of the student's size. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Projection:
    """target = unit norm of (features - mean) @ matrix."""

    mean: np.ndarray  # (teacher d,)
    matrix: np.ndarray  # (teacher d, student d)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, d) float32, unit norm."""
        x = (features.astype(np.float32) - self.mean) @ self.matrix
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def fit_projection(features: np.ndarray, category: np.ndarray, dim: int, whiten: float = 0.5, discriminant: float = 2.0, shrink: float = 0.1) -> Projection:
    """Principal axes of the teacher's features, partly whitened, with the axes that tell categories apart stretched.

    features: (n, teacher d); category: (n,) int, -1 = none. whiten: 0 = plain PCA, 1 = every axis equally long.
    discriminant: how much the directions of a shrunken linear discriminant between categories are stretched, 0 = not at all.
    """
    x = features.astype(np.float32)
    deviation = x.std(0) + 1e-3 * x.std()
    mean = x.mean(0)
    z = (x - mean) / deviation
    values, axes = np.linalg.eigh(z.T @ z / len(z))
    values, axes = values[::-1][:dim], axes[:, ::-1][:, :dim]
    projected = (z @ axes) * values ** (-whiten / 2)
    labelled = category >= 0
    labels, y = np.unique(category[labelled], return_inverse=True)
    p = projected[labelled]
    means = np.stack([p[y == i].mean(0) for i in range(len(labels))])
    within = p - means[y]
    cov = within.T @ within / len(p)
    cov = (1 - shrink) * cov + shrink * np.trace(cov) / dim * np.eye(dim, dtype=np.float32)
    directions = np.linalg.solve(cov, (means - means.mean(0)).T)  # (dim, categories)
    basis = np.linalg.svd(directions, full_matrices=False)[0][:, : max(1, len(labels) - 1)]
    stretch = np.eye(dim, dtype=np.float32) + discriminant * basis @ basis.T
    return Projection(mean, (axes * values ** (-whiten / 2)) / deviation[:, None] @ stretch)


def steady_targets(targets: np.ndarray, product: np.ndarray, own: float = 0.5) -> np.ndarray:
    """Targets drawn towards the mean of their product's, so that its views meet: unit norm of own * target + (1 - own) * mean."""
    _, group = np.unique(product, return_inverse=True)
    sums = np.zeros((group.max() + 1, targets.shape[1]), np.float32)
    np.add.at(sums, group, targets)
    mean = sums / np.bincount(group).astype(np.float32)[:, None]
    mixed = own * targets + (1 - own) * mean[group]
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
