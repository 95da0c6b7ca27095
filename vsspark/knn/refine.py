"""Exact values of chosen pairs, summed in float64: the second look at candidates a cheaper pass has found."""

from __future__ import annotations

import numpy as np

from vsspark.knn import exact, metrics, topk
from vsspark.knn.compiled import REORDER, compiled
from vsspark.knn.exact import Rows

SPARE = 8  # l2 candidates kept beyond k: as many near-ties at the end of a list as float32 products may confuse


@compiled(REORDER)
def _dot(a, b):
    total = np.float64(0)
    for c in range(len(a)):
        total += np.float64(a[c]) * np.float64(b[c])
    return total


@compiled(REORDER)
def _square_distance(a, b):
    total = np.float64(0)
    for c in range(len(a)):
        gap = np.float64(a[c]) - np.float64(b[c])
        total += gap * gap
    return total


@compiled()
def pair_values(queries, items, positions, l2, out):
    """out[r, s] = cosine of unit rows, or -distance if `l2`, of query r and item positions[r, s]; -inf where the position is negative."""
    for r in range(len(positions)):
        for s in range(positions.shape[1]):
            p = positions[r, s]
            if p < 0:
                out[r, s] = -np.inf
            elif l2:
                out[r, s] = -np.sqrt(_square_distance(queries[r], items[p]))
            else:
                out[r, s] = _dot(queries[r], items[p])


def positions_of(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where each id stands in `among` (unique), -1 where it does not."""
    order = np.argsort(among, kind="stable")
    if not len(order):
        return np.full(ids.shape, -1, np.int64)
    found = order[np.minimum(np.searchsorted(among, ids, sorter=order), len(order) - 1)]
    return np.where(among[found] == ids, found, -1)


def join_l2(left: Rows, right: Rows, both: bool, threads: int | None = None, tile: int = exact.TILE) -> None:
    """Offer right to left and, if `both`, left to right, with values -distance; the vectors are the rows as given.

    Products of centred rows find k + SPARE candidates, float64 differences order them. A row whose list could still miss an item (the
    candidates left out are no farther than float32's error allows) is searched once more by differences.
    """
    moved = metrics.frame(*([left.vectors] if left is right else [left.vectors, right.vectors]))
    wide_left = _wide(left, moved)
    wide_right = wide_left if left is right else _wide(right, moved)
    exact.join(wide_left, wide_right, "l2", both, threads, tile)
    _settle(left, right, wide_left, moved, threads, tile)
    if both and left is not right:
        _settle(right, left, wide_right, moved, threads, tile)


def _wide(rows: Rows, moved: metrics.Frame) -> Rows:
    vectors, bias = metrics.prepare(rows.vectors, "l2", moved)
    return Rows(vectors, bias, rows.ids, rows.groups, topk.empty(len(rows.ids), rows.top.values.shape[1] + SPARE))


def _settle(queries: Rows, items: Rows, wide: Rows, moved: metrics.Frame, threads: int | None, tile: int) -> None:
    k, d = queries.top.values.shape[1], queries.vectors.shape[1]
    values = np.empty(wide.top.ids.shape, np.float32)
    pair_values(queries.vectors, items.vectors, positions_of(wide.top.ids, items.ids), True, values)
    # Rounding of a float32 product of vectors no longer than 1 stays below 8 sqrt(d) eps but for a vanishing share (Higham and Mary 2019).
    slack = 8 * np.sqrt(d) * np.finfo(np.float32).eps
    kth = -np.sort(-values, axis=1)[:, k - 1].astype(np.float64) * moved.scale
    unsure = np.flatnonzero((wide.top.floor > -np.inf) & (-0.5 * kth**2 < wide.top.floor + slack))
    everyone = np.arange(len(queries.ids))
    topk.offer_lists(everyone, values, wide.top.ids, wide.top.groups, queries.top)
    if len(unsure):
        again = Rows(queries.vectors[unsure], queries.bias[unsure], queries.ids[unsure], queries.groups[unsure], topk.empty(len(unsure), k + SPARE))
        exact.join(again, items, "differences", False, threads, tile)
        values = np.empty(again.top.ids.shape, np.float32)
        pair_values(again.vectors, items.vectors, positions_of(again.top.ids, items.ids), True, values)
        topk.offer_lists(unsure, values, again.top.ids, again.top.groups, queries.top)
