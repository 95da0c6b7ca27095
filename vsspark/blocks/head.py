"""Category heads fitted in a run: a softmax over the labelled images' embeddings, or clusters without labels.

scikit-learn is imported where a head is fitted: whoever only applies one does not wait seconds for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

FIT = 2  # the version of the fit: a kept head of another version is fitted again
_STEPS = 15  # of L-BFGS, for each of two fits, the second starting where the first ended
# The weight of the data against the penalty. A small one is better calibrated on new photos, a large one keeps the
# labelled images in their own categories. Figures: `make bench NAME=quality`, part heads.
_C = 120.0
_ROWS = 4096  # rows whose probabilities are computed at once: bounds memory at 4096 * (d + c) * 8 bytes
# A choice, not a measurement: .05 of cosine between two centres is a factor e between their probabilities.
_CLUSTER_TEMPERATURE = 0.05


@dataclass(frozen=True)
class Head:
    """A linear layer and a softmax: probabilities = softmax(x @ weights + bias).

    weights: (d, c) float32; bias: (c,) float32; categories: c names in ascending order.
    accuracy: share of held-out images whose category was predicted, in [0, 1]; None where nothing could be held out.
    """

    weights: np.ndarray
    bias: np.ndarray
    categories: tuple[str, ...]
    accuracy: float | None = None

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(n, c) float32, rows sum to 1. x: (n, d) float32, scaled to unit length here as it was for the fit.

        Computed in float64: rounding in BLAS, which depends on where in a batch a row is, is far below float32.
        """
        p = np.empty((len(x), len(self.categories)), np.float32)
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        for first in range(0, len(x), _ROWS):
            p[first : first + _ROWS] = _softmax(_unit(x[first : first + _ROWS]) @ weights + bias)
        return p


class Sample(NamedTuple):
    """The rows that a head is fitted on."""

    x: np.ndarray  # (n, d) float32
    labels: np.ndarray  # (n,) str; None in each row where clusters are fitted
    products: np.ndarray  # (n,) ids, which keep a product's images on one side of a split


def fit_softmax_head(sample: Sample, holdout: float, seed: int, images: Mapping[str, int] | None = None) -> Head:
    """A head fitted on all rows; its accuracy comes from a first fit that left `holdout` of the products out.

    images: the catalogue's images by category, where the rows are a sample that has other shares; probabilities and
    accuracy are then those of the catalogue. One category alone needs no fit.

    Rows are centred and scaled to a mean square of 1: on MobileNetV2's features L-BFGS then needs a quarter of the
    steps. The arithmetic is float64, so that the float32 head does not depend on the BLAS.
    Memory: about 2.5 * n * d * 8 bytes, and n * c * 24: 1.4 GiB in all for 20,000 x 1280 and 1,000 categories.
    """
    from sklearn.linear_model import LogisticRegression

    x, labels, products = sample
    categories, y = np.unique(labels, return_inverse=True)
    names, rows = tuple(categories.tolist()), np.bincount(y)
    if len(names) == 1:
        return Head(np.zeros((x.shape[1], 1), np.float32), np.zeros(1, np.float32), names)
    # Prior correction of a sample stratified by category (King and Zeng 2001): images a row stands for.
    stands_for = np.array([images[name] for name in names]) / rows if images else np.ones(len(names))
    z = _unit(x)
    centre = z.mean(axis=0)
    z -= centre
    scale = 1 / max(float(np.sqrt(np.einsum("nd,nd->", z, z) / z.size)), 1e-6)
    z *= scale
    model = LogisticRegression(C=_C / scale**2, max_iter=_STEPS, tol=1e-5, warm_start=True)
    shift = np.log(stands_for / stands_for.mean())
    accuracy = None
    test = _test_rows(y, products, holdout, seed)
    if test.any():
        weights, bias = _fit(model, z[~test], y[~test])
        right = (z[test] @ weights + bias + shift).argmax(axis=1) == y[test]
        accuracy = float(np.average(right, weights=stands_for[y[test]]))
    else:
        model.max_iter = 2 * _STEPS
    weights, bias = _fit(model, z, y)
    weights *= scale
    bias = bias + shift - centre @ weights
    return Head(weights.astype(np.float32), bias.astype(np.float32), names, accuracy)


def fit_cluster_head(x: np.ndarray, clusters: int, seed: int) -> Head:
    """Spherical k-means as a head: probabilities fall off with the cosine distance to a cluster's centre.

    x: (n, d) float32. Fewer rows than clusters give as many clusters as rows. Names are cluster-0000, cluster-0001, ...
    """
    from sklearn.cluster import MiniBatchKMeans

    clusters = max(1, min(clusters, len(x)))
    rows = _unit(x).astype(np.float32)
    centres = MiniBatchKMeans(clusters, random_state=seed, n_init=3, batch_size=4096).fit(rows).cluster_centers_
    names = tuple(f"cluster-{i:04d}" for i in range(clusters))
    return Head((_unit(centres).T / _CLUSTER_TEMPERATURE).astype(np.float32), np.zeros(clusters, np.float32), names)


def _test_rows(y: np.ndarray, products: np.ndarray, holdout: float, seed: int) -> np.ndarray:
    """(n,) bool: the rows of `holdout` of the products; none below 10 products.

    A category that would lose all its rows keeps them: those of one product are always fitted, never measured.
    """
    test = np.zeros(len(y), bool)
    if holdout <= 0 or len(np.unique(products)) < 10:
        return test
    from sklearn.model_selection import GroupShuffleSplit

    test[next(GroupShuffleSplit(1, test_size=holdout, random_state=seed).split(y, groups=products))[1]] = True
    train_counts = np.bincount(y[~test], minlength=y.max() + 1)
    lost_products = np.unique(products[test & (train_counts[y] == 0)])
    return test & ~np.isin(products, lost_products)


def _fit(model: LogisticRegression, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weights (d, c) and bias (c,) float64 after at most `model.max_iter` further steps."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z, y)
    weights, bias = model.coef_.T, model.intercept_
    if len(bias) == 1:  # scikit-learn keeps one column for two classes
        return np.hstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    return weights.copy(), bias.copy()


def _softmax(logits: np.ndarray) -> np.ndarray:
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def _unit(x: np.ndarray) -> np.ndarray:
    """(n, d) float64 rows of unit length; a zero row stays one."""
    x = x.astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
