"""A shop of 400 products, and what good and broken encoders make of it: lists and the head's held-out accuracy."""

from __future__ import annotations

import numpy as np

from vsspark.blocks.head import Sample, fit_softmax_head
from vsspark.knn import search

PRODUCTS, DIM, K = 400, 256, 5
COUNTS = {
    "images": PRODUCTS,
    "embedded": PRODUCTS,
    "quarantined": 0,
    "products": PRODUCTS,
    "usable_products": PRODUCTS,
    "recommendable_products": PRODUCTS,
}
LABELS = np.array([f"category{i}" for i in range(8)])[np.arange(PRODUCTS) % 8]
PAIR = "product_id string, rank int, similar_product_id string, similarity float"
ROW = f"{PAIR}, source string, category string, similar_category string, model_version string"


def good_vectors(noise: float = 1.0, seed: int = 0) -> np.ndarray:
    """(400, 256) float32: a centre per category, what a product looks like, and noise that an encoder adds."""
    centres = np.random.default_rng(1).normal(size=(8, DIM))
    looks = np.random.default_rng(2).normal(size=(PRODUCTS, DIM))
    x = centres[np.arange(PRODUCTS) % 8] + looks + noise * np.random.default_rng(seed).normal(size=(PRODUCTS, DIM))
    return _unit(x)


def random_vectors() -> np.ndarray:
    return _unit(np.random.default_rng(3).normal(size=(PRODUCTS, DIM)))


def equal_vectors() -> np.ndarray:
    """Nearly the same vector for every picture, as from a network whose last layer has died."""
    return _unit(np.ones((PRODUCTS, DIM)) + 1e-4 * np.random.default_rng(4).normal(size=(PRODUCTS, DIM)))


def vectors_of_other_pictures() -> np.ndarray:
    """Good vectors, each written beside the id of another picture."""
    return good_vectors()[np.random.default_rng(5).permutation(PRODUCTS)]


BROKEN = {"random": random_vectors, "equal": equal_vectors, "of_other_pictures": vectors_of_other_pictures}


def recommend(spark, x: np.ndarray, model: str, own_head: bool = False):
    """(rows of `similar_products`, measured) of these vectors.

    Blocks are predicted by a head fitted to the catalogue's categories, as the job does; own_head: by an encoder's own
    head, which gives a random vector a random category.
    """
    names = np.array([f"P{i:03d}" for i in range(PRODUCTS)])
    if own_head:
        centres = np.random.default_rng(1).normal(size=(8, DIM))
        predicted, measured = np.unique(LABELS)[(x @ _unit(centres).T).argmax(axis=1)], {}
    else:
        head = fit_softmax_head(Sample(x, LABELS, names), 0.2, 0)
        predicted = np.array(head.categories)[head.probabilities(x).argmax(axis=1)]
        measured = {"head_accuracy": head.accuracy}
    rows = []
    for category in np.unique(predicted):
        inside = np.flatnonzero(predicted == category)
        groups = {"query_ids": inside, "item_ids": inside, "query_groups": inside, "item_groups": inside}
        for query, near, values in zip(inside, *reversed(search(x[inside], x[inside], K, **groups)), strict=True):
            for rank, (item, value) in enumerate(zip(near[near >= 0], values, strict=False), 1):
                pair = (str(names[query]), rank, str(names[item]), float(value))
                rows.append((*pair, "visual", str(LABELS[query]), str(LABELS[item]), model))
    return spark.createDataFrame(rows, ROW), measured


def _unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
