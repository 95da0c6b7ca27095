"""Where the heads begin: the directions that tell a shop's products and categories apart, in closed form. NumPy only.

A linear discriminant (Fisher 1936) whose within-class scatter is drawn towards a multiple of the identity (Ledoit &
Wolf 2004): with fewer pictures than features nothing else is stable. Measured in docs/encoders.md: most of what the
heads reach, they have before the first step of training.
"""

from __future__ import annotations

import numpy as np

# Of the scatter within classes, towards its mean eigenvalue: categories have many pictures each, products few.
_SHRINK_CATEGORY, _SHRINK_PRODUCT = 0.5, 0.8
# A cosine of centred features from which two pictures of a product are one view of it, whatever their colours.
_NEARLY = 0.7


def discriminant(
    x: np.ndarray, label: np.ndarray, dim: int, shrink: float, weight: np.ndarray | None = None
) -> np.ndarray:
    """(d, k) float32, k <= dim: the directions with the most scatter between classes for the scatter within,
    strongest first.

    x: (n, d) centred; label: (n,) class per row; weight: (n,) how much each row counts, None = all alike. A
    projection has about unit scatter within a class; k is at most the classes less one.
    """
    span = _span(x)  # (d, r): with fewer rows than features nothing lies outside their span
    z = x @ span
    weight = np.ones(len(x), np.float32) if weight is None else (weight / weight.mean()).astype(np.float32)
    _, group = np.unique(label, return_inverse=True)
    size = np.bincount(group, weight).astype(np.float32)
    means = np.zeros((len(size), z.shape[1]), np.float32)
    np.add.at(means, group, z * weight[:, None])
    means /= size[:, None]
    within = (z - means[group]) * np.sqrt(weight)[:, None]
    means -= size @ means / size.sum()  # weighted rows have another mean than the rows
    scatter = within.T @ within / len(z)
    scatter = (1 - shrink) * scatter + shrink * np.trace(scatter) / x.shape[1] * np.eye(len(scatter), dtype=np.float32)
    values, axes = np.linalg.eigh(scatter)
    whiten = axes / np.sqrt(np.maximum(values, 1e-12))
    between = (means @ whiten) * np.sqrt(size / len(z))[:, None]
    directions = np.linalg.eigh(between.T @ between)[1][:, ::-1]
    return (span @ whiten @ directions[:, : min(dim, len(size) - 1)]).astype(np.float32)


def principal(x: np.ndarray, dim: int) -> np.ndarray:
    """(d, k) float32, k <= dim: the principal axes of centred rows, longest first."""
    span = _span(x)
    axes = np.linalg.eigh((x @ span).T @ (x @ span))[1]
    return (span @ axes[:, ::-1][:, :dim]).astype(np.float32)


def once_each(x: np.ndarray, product: np.ndarray) -> np.ndarray:
    """(n,) float32: one over how many pictures of its product a picture is nearly the same as, itself counted.

    x: (n, d) features; product: (n,) ids. Where a shop shows each product in one pose and many colours, these
    pictures would else drown the few that show it from the back or close up, which are what has to be learnt. Memory:
    a product's pictures squared.
    """
    mean = x.mean(0, dtype=np.float32)
    weight = np.ones(len(x), np.float32)
    order = np.argsort(product, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(product[order])) + 1):
        unit = x[rows] - mean
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        weight[rows] = 1 / np.maximum((unit @ unit.T > _NEARLY).sum(1), 1)
    return weight


def discriminant_parts(
    x: np.ndarray, product: np.ndarray, category: np.ndarray, dim: int, weight: np.ndarray | None = None
) -> list[np.ndarray]:
    """Three (d, k) float32 whose k add up to at most dim: directions that tell categories apart, products apart, and
    the principal axes.

    x: (n, d) features; product: (n,) ids; category: (n,), -1 = none; weight: (n,) of the rows where products are told
    apart. The last part is what the backbone says of itself: it keeps an encoder from buying category with product,
    or the other way round.
    """
    centred = x - x.mean(0)
    has_category = category >= 0
    several = len(np.unique(category[has_category])) > 1
    of_category = (
        discriminant(centred[has_category], category[has_category], dim // 4, _SHRINK_CATEGORY)
        if several
        else np.zeros((x.shape[1], 0), np.float32)
    )
    of_product = discriminant(centred, product, dim // 3, _SHRINK_PRODUCT, weight)
    return [of_category, of_product, principal(centred, dim - of_category.shape[1] - of_product.shape[1])]


def weigh_parts(
    x: np.ndarray, parts: list[np.ndarray], shares: tuple[float, ...], dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """(kernel (d, dim), bias (dim,)) float32: the parts side by side, each with its share of the projections' mean
    squared length; the rest is 0.
    """
    mean = x.mean(0)
    kernel = np.zeros((x.shape[1], dim), np.float32)
    at = 0
    for part, share in zip(parts, shares, strict=True):
        if part.shape[1]:
            length = np.sqrt(np.square((x - mean) @ part).sum(1).mean())
            kernel[:, at : at + part.shape[1]] = part * (np.sqrt(share) / length)
            at += part.shape[1]
    return kernel, -mean @ kernel


def _span(x: np.ndarray) -> np.ndarray:
    """(d, r) orthonormal: the whole space, or the span of the rows where they are fewer."""
    if len(x) > x.shape[1]:
        return np.eye(x.shape[1], dtype=np.float32)
    values, axes = np.linalg.eigh((x @ x.T).astype(np.float64))
    large = values > values.max() * 1e-7
    return (x.T @ (axes[:, large] / np.sqrt(values[large]))).astype(np.float32)
