"""Which two pictures make a positive pair, drawn anew for every epoch. NumPy only; nothing is materialised."""

from __future__ import annotations

import numpy as np

VIEW_WEIGHT = 0.1  # of a pair that is two views of one picture


def draw_pairs(product: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(anchors (n,), positives (n,)) int64 row numbers: every row once as an anchor, in random order.

    product: (n,) ids. The positive is another row of the anchor's product, each as likely; a product's only row is
    its own positive: two views of one picture. The negatives are whatever else ends up in the batch.
    """
    n = len(product)
    order = np.lexsort((rng.random(n), product))  # products together, their rows shuffled
    sorted_product = product[order]
    first = np.searchsorted(sorted_product, sorted_product, "left")
    size = np.searchsorted(sorted_product, sorted_product, "right") - first
    # A step of 1 to size - 1 around the circle of the product's rows never comes back to the row itself.
    step = 1 + np.floor(rng.random(n) * np.maximum(size - 1, 0)).astype(np.int64)
    partner = first + (np.arange(n) - first + np.where(size > 1, step, 0)) % size
    shuffle = rng.permutation(n)
    return order[shuffle], order[partner[shuffle]]


def pair_weights(anchor: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(n,) float32: how much each pair counts. Two views of one picture teach what a picture is, less so what a shop
    holds to be alike.
    """
    return np.where(anchor == positive, VIEW_WEIGHT, 1.0).astype(np.float32)


def split_products(product: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(n,) bool, True = held out: `share` of the products with all their rows, at least one where there are two."""
    names, index = np.unique(product, return_inverse=True)
    count = min(max(1, round(share * len(names))), len(names) - 1) if share > 0 else 0
    is_held_out = np.zeros(len(names), bool)
    is_held_out[np.random.default_rng(seed).permutation(len(names))[:count]] = True
    return is_held_out[index]
