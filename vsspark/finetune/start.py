"""Where the heads begin: the directions that tell a shop's products and categories apart, in closed form. NumPy only.

A linear discriminant (Fisher 1936) whose within-class scatter is drawn towards a multiple of the identity (Ledoit & Wolf 2004): with fewer pictures
than features nothing else is stable. Measured in docs/encoders.md: most of what the heads reach, they have before the first step of training.
"""

from __future__ import annotations

import numpy as np

_SHRINK = 0.6  # of the scatter within classes, towards its mean eigenvalue


def discriminant(x: np.ndarray, label: np.ndarray, dim: int, shrink: float = _SHRINK) -> np.ndarray:
    """(d, k) float32, k <= dim: the directions with the most scatter between classes for the scatter within, strongest first.

    x: (n, d) centred; label: (n,) class per row. A projection has about unit scatter within a class; k is at most the classes less one.
    """
    span = _span(x)  # (d, r): with fewer rows than features nothing lies outside their span
    z = x @ span
    _, group = np.unique(label, return_inverse=True)
    size = np.bincount(group).astype(np.float32)
    means = np.zeros((len(size), z.shape[1]), np.float32)
    np.add.at(means, group, z)
    means /= size[:, None]
    within = z - means[group]
    scatter = within.T @ within / len(z)
    scatter = (1 - shrink) * scatter + shrink * np.trace(scatter) / x.shape[1] * np.eye(len(scatter), dtype=np.float32)
    values, axes = np.linalg.eigh(scatter)
    whiten = axes / np.sqrt(np.maximum(values, 1e-12))
    _, _, directions = np.linalg.svd((means @ whiten) * np.sqrt(size / len(z))[:, None], full_matrices=False)
    return (span @ whiten @ directions[: min(dim, len(size) - 1)].T).astype(np.float32)


def principal(x: np.ndarray, dim: int) -> np.ndarray:
    """(d, k) float32, k <= dim: the principal axes of centred rows, longest first."""
    span = _span(x)
    axes = np.linalg.eigh((x @ span).T @ (x @ span))[1]
    return (span @ axes[:, ::-1][:, :dim]).astype(np.float32)


def start_projection(x: np.ndarray, product: np.ndarray, category: np.ndarray, dim: int, shares: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(kernel (d, dim), bias (dim,)) float32 of a projection in three parts: categories, products, and what the backbone says of itself.

    x: (n, d) features; product: (n,) ids; category: (n,), -1 = none. shares: of the squared length each part has on average; the generic part
    keeps an encoder from buying the one with the other.
    """
    mean = x.mean(0)
    centred = x - mean
    known = category >= 0
    parts = [
        discriminant(centred[known], category[known], dim // 4) if len(np.unique(category[known])) > 1 else np.zeros((x.shape[1], 0), np.float32),
        discriminant(centred, product, dim // 3),
    ]
    parts.append(principal(centred, dim - sum(part.shape[1] for part in parts)))
    kernel = np.zeros((x.shape[1], dim), np.float32)
    at = 0
    for part, share in zip(parts, shares, strict=True):
        if part.shape[1]:
            length = np.sqrt(np.square(centred @ part).sum(1).mean())
            kernel[:, at : at + part.shape[1]] = part * (np.sqrt(share) / length)
            at += part.shape[1]
    return kernel, -mean @ kernel


def _span(x: np.ndarray) -> np.ndarray:
    """(d, r) orthonormal: the whole space, or the span of the rows where they are fewer."""
    if len(x) > x.shape[1]:
        return np.eye(x.shape[1], dtype=np.float32)
    values, axes = np.linalg.eigh((x @ x.T).astype(np.float64))
    kept = values > values.max() * 1e-7
    return (x.T @ (axes[:, kept] / np.sqrt(values[kept]))).astype(np.float32)
