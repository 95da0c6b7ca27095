"""`self_join` and `search`: nearest neighbours of arrays, without Spark."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn import approximate, exact, metrics, topk
from vsspark.knn.eligibility import Condition, Eligibility
from vsspark.knn.exact import Rows

MODES = ("exact", "approximate")


def self_join(
    x: np.ndarray,
    k: int,
    metric: str = "cosine",
    mode: str = "exact",
    *,
    ids: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    thresholds: np.ndarray | None = None,
    target_recall: float = 0.99,
    threads: int | None = None,
    seed: int = 0,
    tile_rows: int = 8192,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(values (n, k) float32, ids (n, k) int64): every row's nearest other rows, best first.

    values: similarities for cosine, distances otherwise; equal values order by lower id. Where there are fewer than
    k: id -1, value -inf for cosine and +inf for distances. ids: (n,) int64, unique, any values; row numbers by
    default. A row is never its own neighbour, whatever its vector. groups: (n,) int64, the product an image belongs
    to. Rows of one group are no neighbours of each other, and a list holds at most one row of a group: its best, the
    lower id among equals. thresholds: for hamming, (d,) floats; a bit is set where x lies above. 0 by default, the
    sign. target_recall: share of the true neighbours that mode "approximate" finds, measured on a sample in every
    call. threads: OMP_NUM_THREADS or all cores by default. tile_rows: most rows per tile. device: TensorFlow's name
    of a GPU ("/GPU:0") for exact cosine and l2 joins there; the CPU by default. Raises ValueError for NaN or infinity
    in x, duplicate ids, an unknown metric or mode, k < 1. A zero vector has cosine 0 to everything.
    """
    vectors, order = _accepted(x, k, metric, mode, ids, "x")
    rank = _inverse(order)
    numbers = rank if groups is None else _numbered(groups, len(vectors), "groups")
    rows = _rows(vectors, metric, rank, numbers, k, thresholds)
    offer(rows, rows, metric, True, mode, target_recall, threads, seed, tile_rows, device)
    return _answer(rows.top, metric, _given(ids, len(vectors))[order])


def search(
    queries: np.ndarray,
    items: np.ndarray,
    k: int,
    metric: str = "cosine",
    mode: str = "exact",
    *,
    query_ids: np.ndarray | None = None,
    item_ids: np.ndarray | None = None,
    query_groups: np.ndarray | None = None,
    item_groups: np.ndarray | None = None,
    thresholds: np.ndarray | None = None,
    target_recall: float = 0.99,
    threads: int | None = None,
    seed: int = 0,
    tile_rows: int = 8192,
    device: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(values (q, k) float32, ids (q, k) int64): every query's nearest items, best first; the rest as in `self_join`.

    An item with the query's own id is left out where query_ids are given, items of the query's own group where both
    groups are given; with item_groups a list holds at most one item of a group.
    """
    vectors, order = _accepted(items, k, metric, mode, item_ids, "items")
    asked = metrics.checked(queries, "queries")
    if asked.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries have {asked.shape[1]} dimensions, items {vectors.shape[1]}")
    if query_groups is not None and item_groups is None:
        raise ValueError("query_groups are given without item_groups")
    rank, known = _inverse(order), _given(item_ids, len(vectors))
    own = np.full(len(asked), -1, np.int64)
    if query_ids is not None:
        position = topk.positions_of(_column(query_ids, len(asked), "query_ids"), known)
        own = np.where(position >= 0, rank[position] if len(rank) else -1, -1)
    query_numbers, item_numbers = own, rank
    if item_groups is not None:
        both = [_column(item_groups, len(vectors), "item_groups")]
        both += [] if query_groups is None else [_column(query_groups, len(asked), "query_groups")]
        numbers = _numbered(np.concatenate(both), sum(map(len, both)), "groups")
        item_numbers = numbers[: len(vectors)]
        query_numbers = np.full(len(asked), -1, np.int64) if query_groups is None else numbers[len(vectors) :]
    left = _rows(asked, metric, own, query_numbers, k, thresholds)
    right = _rows(vectors, metric, rank, item_numbers, 1, thresholds)
    offer(left, right, metric, False, mode, target_recall, threads, seed, tile_rows, device)
    return _answer(left.top, metric, known[order])


class Audit(NamedTuple):
    """What one approximate join measured of itself."""

    recall: float  # 1.0 where it missed the target and was done again exactly
    queries: int  # whose lists it fills


def offer(
    left: Rows,
    right: Rows,
    metric: str,
    both: bool,
    mode: str = "exact",
    target_recall: float = 0.99,
    threads: int | None = None,
    seed: int = 0,
    tile_rows: int = 8192,
    device: str | None = None,
    similarity: bool = False,
    conditions: tuple[Condition, ...] = (),
) -> list[Audit]:
    """Offer right to left's lists and, if `both`, left to right's; `left is right` joins rows with themselves.

    The vectors are those of `prepared`; the lists then hold cosines, or minus distances, or with `similarity` 1 / (1
    + distance) for l2 and l1. Returns an audit of each approximate join, none where the join was exact from the
    start. device: TensorFlow's name of a GPU, on which cosine and l2 joins are then estimated, always exactly.
    conditions: of the pairs that may be in a list, by the rows' `facts`; such joins are exact, and on the CPU.
    """
    directions = [(left, right)] if left is right or not both else [(left, right), (right, left)]
    if conditions:
        for queries, items in directions:
            eligibility = Eligibility(conditions, queries.facts, items.facts)
            offered = items._replace(top=topk.empty(len(items.ids), 1))  # a condition may hold in one direction alone
            exact.join(queries, offered, metric, False, similarity, threads, tile_rows, eligibility)
        return []
    if device is not None and metric in metrics.ON_GPU:
        from vsspark.knn import gpu  # TensorFlow is loaded only where a GPU is used

        for queries, items in directions:
            gpu.join(queries, items, metric, similarity, device)
        return []
    if mode == "approximate" and approximate.worthwhile(len(left.ids), len(right.ids), metric):
        audits = []
        for queries, items in directions:
            recall = approximate.join(queries, items, metric, target_recall, similarity, threads, seed)
            if recall is None:
                exact.join(queries, items, metric, left is right, similarity, threads, tile_rows)
            audits.append(Audit(1.0 if recall is None else recall, len(queries.ids)))
        return audits
    exact.join(left, right, metric, both, similarity, threads, tile_rows)
    return []


def prepared(x: np.ndarray, metric: str, thresholds: np.ndarray | None = None) -> np.ndarray:
    """What `offer` takes as vectors: packed bits for hamming, else the rows themselves."""
    return metrics.bits(x, thresholds) if metric == "hamming" else x


def _rows(
    x: np.ndarray, metric: str, ids: np.ndarray, groups: np.ndarray, k: int, thresholds: np.ndarray | None
) -> Rows:
    return Rows(prepared(x, metric, thresholds), ids, groups, topk.empty(len(x), k))


def _accepted(
    x: np.ndarray, k: int, metric: str, mode: str, ids: np.ndarray | None, what: str
) -> tuple[np.ndarray, np.ndarray]:
    if metric not in metrics.METRICS:
        raise ValueError(f"metric {metric!r}: expected one of {', '.join(metrics.METRICS)}")
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    if k < 1:
        raise ValueError(f"k = {k}: expected at least 1")
    x = metrics.checked(x, what)
    given = _given(ids, len(x))
    order = np.argsort(given, kind="stable")
    if (np.diff(given[order]) == 0).any():
        raise ValueError(f"{what}: ids are not unique")
    return x, order


def _given(ids: np.ndarray | None, n: int) -> np.ndarray:
    return np.arange(n) if ids is None else _column(ids, n, "ids")


def _column(values: np.ndarray, n: int, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,) or (n and values.dtype.kind not in "iu"):
        raise ValueError(f"{what}: expected {n} integers, got {values.dtype} {values.shape}")
    return values.astype(np.int64)


def _numbered(groups: np.ndarray, n: int, what: str) -> np.ndarray:
    return np.unique(_column(groups, n, what), return_inverse=True)[1].astype(np.int64)


def _inverse(order: np.ndarray) -> np.ndarray:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _answer(top: topk.TopK, metric: str, ids_by_rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    missing = top.ids == topk.NO_ID
    ids = np.append(ids_by_rank, -1)[np.where(missing, -1, top.ids)]
    return (top.values if metric == "cosine" else -top.values), ids
