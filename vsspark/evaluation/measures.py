"""Figures of neighbour lists, each with its interval and its value by chance. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNKNOWN = -1  # a label nobody gave, a neighbour that was not found
_NUMBERS_AT_ONCE = 4_000_000  # numbers


class Figure(NamedTuple):
    """A mean over queries and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    count: int  # queries it is the mean of


def agreement(neighbours: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(q, k) float: 1 where the neighbour has its query's label, 0 where it has another or none, NaN where there is
    no neighbour or no query label.

    neighbours: (q, k) int64 rows of the sample, UNKNOWN = none. queries: (q,) rows of the sample. labels: (n,) int64,
    UNKNOWN = none.
    """
    query_labels = labels[queries][:, None]
    right = np.where(labels[neighbours] == query_labels, 1.0, 0.0)
    return np.where((neighbours == UNKNOWN) | (query_labels == UNKNOWN), np.nan, right)


def figure(per_query: np.ndarray, resamples: int, seed: int) -> Figure | None:
    """The mean of the queries that have a value, and the 2.5 and 97.5 % points of its means over resampled queries;
    None without any.

    per_query: (q,) float, NaN = the query has none. The percentile bootstrap of Efron 1979 (Annals of Statistics 7),
    over queries.
    """
    values = per_query[~np.isnan(per_query)]
    n = len(values)
    if n == 0:
        return None
    rng = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // n)
    means = [
        values[rng.integers(n, size=(min(at_once, resamples - start), n))].mean(axis=1)
        for start in range(0, resamples, at_once)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return Figure(float(values.mean()), float(low), float(high), n)


def precision(right: np.ndarray) -> np.ndarray:
    """(q,) share of a query's neighbours that are right, over those it has; NaN for a query without any. right: (q,
    k), see `agreement`.
    """
    present = ~np.isnan(right)
    return np.where(present.any(axis=1), np.nansum(right, axis=1) / np.maximum(present.sum(axis=1), 1), np.nan)


def expected_share(queries: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(q,) float: the share of right neighbours that drawing at random would give, in expectation; NaN for a query
    without a label or an item.

    Drawn among the images of other groups than the query's. groups: (n,) int64; every image its own group: all but
    itself.
    """
    _, group = np.unique(groups, return_inverse=True)
    pairs = np.stack([group, labels], axis=1)
    _, pair, pair_sizes = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    _, label, label_sizes = np.unique(labels, return_inverse=True, return_counts=True)
    allowed = len(labels) - np.bincount(group)[group[queries]]
    right = label_sizes[label[queries]] - pair_sizes[pair.reshape(-1)[queries]]
    has_value = (labels[queries] != UNKNOWN) & (allowed > 0)
    return np.where(has_value, right / np.maximum(allowed, 1), np.nan)


def hubness(neighbours: np.ndarray, items: int) -> tuple[int, float]:
    """(largest k-occurrence, skewness of the k-occurrences): how many queries' lists the most frequent item is in,
    and how lopsided that is.

    neighbours: (q, k) int64 rows of the sample, UNKNOWN = none. Skewness 0: every item is in about as many lists;
    Radovanovic et al. 2010, JMLR 11.
    """
    counts = np.bincount(neighbours[neighbours != UNKNOWN], minlength=items).astype(float)
    spread = counts.std()
    return int(counts.max()), float(((counts - counts.mean()) ** 3).mean() / spread**3) if spread > 0 else 0.0


def nearest_agrees(embeddings: np.ndarray, label: np.ndarray, exclude: np.ndarray | None = None) -> float:
    """Share of rows whose nearest other row has the same label, in [0, 1].

    exclude: (n,) group per row; rows of the same group are no neighbours of each other.
    Only rows that could be right, because another allowed row has their label, are counted.
    """
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    if exclude is not None:
        similarity[exclude[:, None] == exclude[None, :]] = -np.inf
    same = label[:, None] == label[None, :]
    possible = (same & np.isfinite(similarity)).any(1)
    return float(same[np.arange(len(label)), similarity.argmax(1)][possible].mean())
