"""One encoder's embeddings of the sample, searched by every metric: a row of figures each. Arrays in, rows out; no
Spark.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from vsspark import knn
from vsspark.config import EvaluationConfig
from vsspark.evaluation.calibration import calibration_error
from vsspark.evaluation.measures import UNKNOWN, Figure, agreement, expected_share, figure, hubness, precision

RANDOM = "random"  # the model with random neighbours


@dataclass(frozen=True)
class Sample:
    """The images that are compared, by rising id; labels are numbers, UNKNOWN where the catalogue gives none."""

    image_ids: np.ndarray  # (n,) int64, rising
    uris: np.ndarray  # (n,) str
    products: np.ndarray  # (n,) int64
    categories: np.ndarray  # (n,) int64
    category_names: tuple[str, ...]  # what the numbers stand for
    senders: np.ndarray | None  # (n,) int64, an image without a sender is its own; None = no such column

    @property
    def several_images(self) -> bool:
        """Whether any product has more than one image."""
        return len(np.unique(self.products)) < len(self.products)


@dataclass(frozen=True)
class Row:
    """Figures of one encoder and metric, by name; None = the catalogue lacks the labels for it."""

    model: str  # encoder, layer and metric, or RANDOM
    figures: dict[str, Figure | None]
    hub: int | None = None
    hub_skewness: float | None = None
    seconds: float | None = None  # of the searches


@dataclass(frozen=True)
class HeadFigures:
    """How good the category probabilities of an encoder's own head are, on the sampled images whose category the head
    knows.
    """

    top1: Figure
    calibration_error: float  # expected, 10 bins


def draw_queries(images: int, config: EvaluationConfig) -> np.ndarray:
    """(q,) int64 rows of the sample, rising; the same ones for every encoder and metric."""
    rng = np.random.default_rng(config.seed)
    return np.sort(rng.choice(images, min(images, config.queries), replace=False))


def search_figures(
    x: np.ndarray, sample: Sample, queries: np.ndarray, model: tuple[str, str], config: EvaluationConfig
) -> tuple[Row, np.ndarray]:
    """(the row, (q,) int64 nearest image of another product of each query, UNKNOWN = none).

    model: the encoder's title and the metric. x: (n, d) float32 embeddings of the sample. Memory beside it: two
    prepared copies, so 3 * n * d * 4 bytes at most. Hamming compares bits set above each dimension's median: signs of
    features that are never negative say little.
    """
    title, metric = model
    thresholds = np.median(x, axis=0).astype(np.float32) if metric == "hamming" else None
    begin = time.perf_counter()

    def nearest(groups: np.ndarray | None) -> np.ndarray:
        by_group = {} if groups is None else {"query_groups": groups[queries], "item_groups": groups}
        return knn.search(x[queries], x, config.k, metric, query_ids=queries, thresholds=thresholds, **by_group)[1]

    unrestricted = nearest(None)
    by_product = nearest(sample.products) if sample.several_images else unrestricted
    by_sender = None if sample.senders is None else nearest(sample.senders)
    seconds = time.perf_counter() - begin

    def mean(per_query: np.ndarray) -> Figure | None:
        return figure(per_query, config.resamples, config.seed)

    right = agreement(unrestricted, queries, sample.categories)
    same = agreement(unrestricted[:, :1], queries, sample.products)[:, 0]
    figures = {
        "category_at_1": mean(right[:, 0]),
        "precision_at_k": mean(precision(right)),
        "same_product_at_1": mean(np.where(_has_sibling(sample, queries), same, np.nan)),
        "category_at_1_other_product": mean(agreement(by_product[:, :1], queries, sample.categories)[:, 0])
        if sample.several_images
        else None,
    }
    if by_sender is not None:
        right = agreement(by_sender, queries, sample.categories)
        figures |= {
            "category_at_1_other_sender": mean(right[:, 0]),
            "precision_at_k_other_sender": mean(precision(right)),
        }
    return Row(f"{title} {metric}", figures, *hubness(unrestricted, len(x)), seconds), by_product[:, 0]


def random_figures(sample: Sample, queries: np.ndarray, config: EvaluationConfig) -> tuple[Row, np.ndarray]:
    """(the random control: the expected figures of neighbours drawn from the sample, (q,) int64 one random image of
    another product each).
    """

    def expected(labels: np.ndarray, groups: np.ndarray, where: np.ndarray | bool = True) -> Figure | None:
        return figure(np.where(where, expected_share(queries, labels, groups), np.nan), config.resamples, config.seed)

    alone = np.arange(len(sample.image_ids))
    category = expected(sample.categories, alone)
    figures = {
        "category_at_1": category,
        "precision_at_k": category,
        "same_product_at_1": expected(sample.products, alone, _has_sibling(sample, queries)),
        "category_at_1_other_product": expected(sample.categories, sample.products) if sample.several_images else None,
    }
    if sample.senders is not None:
        other = expected(sample.categories, sample.senders)
        figures |= {"category_at_1_other_sender": other, "precision_at_k_other_sender": other}
    return Row(RANDOM, figures), _draw_other_products(sample, queries, config.seed)


def head_figures(
    probabilities: np.ndarray, head: tuple[str, ...], sample: Sample, config: EvaluationConfig
) -> HeadFigures | None:
    """Top-1 and calibration of (n, c) probabilities for the categories `head`; None where the catalogue shares none
    of their names.
    """
    column = {name: i for i, name in enumerate(head)}
    # The last is what UNKNOWN itself looks up.
    column_of = np.array([column.get(name, UNKNOWN) for name in sample.category_names] + [UNKNOWN])
    labels = column_of[sample.categories]
    has_label = labels != UNKNOWN
    if not has_label.any():
        return None
    right = (probabilities[has_label].argmax(axis=1) == labels[has_label]).astype(float)
    return HeadFigures(
        figure(right, config.resamples, config.seed), calibration_error(probabilities[has_label], labels[has_label])
    )


def _has_sibling(sample: Sample, queries: np.ndarray) -> np.ndarray:
    _, number, sizes = np.unique(sample.products, return_inverse=True, return_counts=True)
    return sizes[number[queries]] > 1


def _draw_other_products(sample: Sample, queries: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    items = np.full(len(queries), UNKNOWN)
    for i, query in enumerate(queries):
        candidates = np.flatnonzero(sample.products != sample.products[query])
        if len(candidates):
            items[i] = rng.choice(candidates)
    return items
