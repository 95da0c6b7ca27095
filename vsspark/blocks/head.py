"""Category heads fitted in a run: a softmax over the labelled images' embeddings, or clusters where there are no labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit

_FIT_STEPS = 30  # of L-BFGS; measured were 25 and 50, see _fit
_CLUSTER_TEMPERATURE = 0.05  # a choice, not a measurement: .05 of cosine between two centres is a factor e between their probabilities


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
        """(n, c) float32, rows sum to 1. x: (n, d) float32, scaled to unit length here as it was for the fit."""
        logits = _unit(x) @ self.weights + self.bias  # (n, c)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        return logits / logits.sum(axis=1, keepdims=True)


def fit_softmax_head(x: np.ndarray, labels: np.ndarray, products: np.ndarray, holdout: float, seed: int) -> Head:
    """A head fitted on all rows; its accuracy comes from a first fit that left `holdout` of the products out.

    x: (n, d) float32; labels: (n,) str; products: (n,) ids that keep a product's images on one side of the split.
    One category alone needs no fit.
    """
    categories = tuple(sorted(set(labels.tolist())))
    if len(categories) == 1:
        return Head(np.zeros((x.shape[1], 1), np.float32), np.zeros(1, np.float32), categories)
    accuracy = None
    if holdout > 0 and len(set(products.tolist())) >= 10:
        fit, held = next(GroupShuffleSplit(1, test_size=holdout, random_state=seed).split(x, groups=products))
        if len(set(labels[fit].tolist())) > 1:
            accuracy = float((_fit(x[fit], labels[fit]).predict(_unit(x[held])) == labels[held]).mean())
    model = _fit(x, labels)
    weights, bias = model.coef_.T, model.intercept_
    if len(categories) == 2:  # scikit-learn keeps one column for two classes
        weights, bias = np.hstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    return Head(weights.astype(np.float32), bias.astype(np.float32), categories, accuracy)


def fit_cluster_head(x: np.ndarray, clusters: int, seed: int) -> Head:
    """Spherical k-means as a head: probabilities fall off with the cosine distance to a cluster's centre.

    x: (n, d) float32. Fewer rows than clusters give as many clusters as rows. Names are cluster-0000, cluster-0001, ...
    """
    clusters = max(1, min(clusters, len(x)))
    centres = MiniBatchKMeans(clusters, random_state=seed, n_init=3, batch_size=4096).fit(_unit(x)).cluster_centers_
    names = tuple(f"cluster-{i:04d}" for i in range(clusters))
    return Head((_unit(centres).T / _CLUSTER_TEMPERATURE).astype(np.float32), np.zeros(clusters, np.float32), names)


def _fit(x: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    # Unit rows want a weak penalty: products held out of 723 studio photos in 10 categories, .67 right at C = 1, .76 at 10, .77 at 100.
    # It need not converge: of photos held out of 3,068 in 10 categories, MobileNetV2's features, .855 right after 25 steps (1.7 s) and .858 after
    # 120 (6 s); with 5 views a photo .827 after 25 (2 s), and .818 with a third more log loss after 200 (24 s).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=100, max_iter=_FIT_STEPS).fit(_unit(x), labels)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
