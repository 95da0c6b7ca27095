"""Running top-k lists: compiled insertion, the pass over a tile of estimates, the merge of partial lists.

A list is k slots, best first: value (higher is nearer), id, group. Its order is total (value falls, equal values by
lower id) and it keeps at most one item of a group, that group's best. So offering the same items in any order, or
merging partial lists in any order, gives the same list. An empty slot holds value -inf and id and group NO_ID.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn.compiled import compiled, read_only
from vsspark.knn.values import ESTIMATE, least_estimate, least_value, pair_value

NO_ID = int(np.iinfo(np.int64).max)
STRIP = 128  # estimates compared with their thresholds in vector lanes before the pass branches


class TopK(NamedTuple):
    """The lists of n rows.

    `floor` is each list's last value, or a higher one where better items are known from elsewhere: from another list
    that this one will be merged with, or from last night. An item below it is left out.
    """

    values: np.ndarray  # (n, k) float32
    ids: np.ndarray  # (n, k) int64
    groups: np.ndarray  # (n, k) int64
    floor: np.ndarray  # (n,) float32

    def rows(self, start: int, stop: int) -> TopK:
        """The lists of some rows: a view, what is offered to it is kept here."""
        return TopK(*(part[start:stop] for part in self))


class Side(NamedTuple):
    """What the pass over a tile needs to know of the n rows on one of its sides."""

    vectors: np.ndarray  # (n, d) float32 rows as given, read-only; not read where the estimate is the value
    inverses: np.ndarray  # (n,) float64: 1 / length
    bias: np.ndarray  # (n,) float32: added to the products
    ids: np.ndarray  # (n,) int64, read-only
    groups: np.ndarray  # (n,) int64, read-only
    needed: np.ndarray  # (n,) bool: whether the row can be in anybody's list
    top: TopK
    least: (
        np.ndarray
    )  # (n,) float32: lower estimates cannot reach the list's floor; contiguous: columns compare as a vector

    def rows(self, start: int, stop: int) -> Side:
        """Some of the rows: a view."""
        return Side(*(part.rows(start, stop) if isinstance(part, TopK) else part[start:stop] for part in self))


def by_estimate(vectors: np.ndarray, bias: np.ndarray, ids: np.ndarray, groups: np.ndarray, top: TopK) -> Side:
    """A side whose estimates are its values: a list's floor is its least estimate."""
    n = len(ids)
    return Side(
        read_only(vectors), np.zeros(n), bias, read_only(ids), read_only(groups), np.ones(n, bool), top, top.floor
    )


def empty(n: int, k: int, floor: np.ndarray | None = None) -> TopK:
    """n lists of k empty slots. floor: (n,) float32, values below which nothing is wanted; None = everything is."""
    values = np.full((n, k), -np.inf, np.float32)
    lowest = np.full(n, -np.inf, np.float32) if floor is None else floor.copy()
    return TopK(values, np.full((n, k), NO_ID, np.int64), np.full((n, k), NO_ID, np.int64), lowest)


@compiled()
def _insert(values, ids, groups, value, item, group):
    """Put one item into one list where it belongs, or leave the list as it is."""
    end = len(values) - 1
    if value < values[end] or (value == values[end] and item >= ids[end]):
        return
    for slot in range(end + 1):
        if groups[slot] == group:
            if values[slot] > value or (values[slot] == value and ids[slot] <= item):
                return
            end = slot
            break
    while end > 0 and (values[end - 1] < value or (values[end - 1] == value and ids[end - 1] > item)):
        values[end], ids[end], groups[end] = values[end - 1], ids[end - 1], groups[end - 1]
        end -= 1
    values[end], ids[end], groups[end] = value, item, group


@compiled()
def _reaches_row(products, bias, biases, floor):
    """Whether any item of a strip reaches the row's threshold. Counted, not branched on: the loop then runs in vector
    lanes.
    """
    hits = np.int32(0)
    for j in range(len(products)):
        value = products[j] + (bias + biases[j])
        hits += np.int32(1) if value >= floor else np.int32(0)
    return hits > 0


@compiled()
def _reaches_any(products, bias, biases, floor, floors):
    """Whether any pair of a strip reaches the threshold of its row or of its column."""
    hits = np.int32(0)
    for j in range(len(products)):
        value = products[j] + (bias + biases[j])
        lower = floors[j]
        lower = floor if floor < lower else lower
        hits += np.int32(1) if value >= lower else np.int32(0)
    return hits > 0


@compiled()
def offer_tile(tile, at, rows, cols, both, measure, lanes):
    """Offer a tile's items to its queries: columns to the lists of the rows and, if `both`, rows to the lists of the
    columns.

    tile: (>= m, >= n) float32; its row r belongs to row at[r] of `rows`. A pair's estimate is tile + (row bias +
    column bias): the same bits from either side. Only a pair whose estimate reaches the least estimate of a list gets
    its value, and the value decides. A pair of one group or of one id is never offered. lanes: (LANES,) float64,
    overwritten.
    """
    n = len(cols.ids)
    for r in range(len(at)):
        i = at[r]
        for start in range(0, n, STRIP):
            stop = min(n, start + STRIP)
            strip, biases = tile[r, start:stop], cols.bias[start:stop]
            if both:
                reached = _reaches_any(strip, rows.bias[i], biases, rows.least[i], cols.least[start:stop])
            else:
                reached = _reaches_row(strip, rows.bias[i], biases, rows.least[i])
            if not reached:
                continue
            for j in range(start, stop):
                estimate = tile[r, j] + (rows.bias[i] + cols.bias[j])
                to_row = estimate >= rows.least[i] and cols.needed[j]
                to_col = both and estimate >= cols.least[j] and rows.needed[i]
                if not (to_row or to_col) or rows.groups[i] == cols.groups[j] or rows.ids[i] == cols.ids[j]:
                    continue
                value = estimate
                if measure.kind != ESTIMATE:
                    value = pair_value(
                        measure, rows.vectors[i], cols.vectors[j], rows.inverses[i], cols.inverses[j], lanes
                    )
                if to_row and value >= rows.top.floor[i]:
                    _insert(rows.top.values[i], rows.top.ids[i], rows.top.groups[i], value, cols.ids[j], cols.groups[j])
                    rows.top.floor[i] = max(rows.top.floor[i], rows.top.values[i, -1])
                    rows.least[i] = least_estimate(measure, rows.top.floor[i])
                if to_col and value >= cols.top.floor[j]:
                    _insert(cols.top.values[j], cols.top.ids[j], cols.top.groups[j], value, rows.ids[i], rows.groups[i])
                    cols.top.floor[j] = max(cols.top.floor[j], cols.top.values[j, -1])
                    cols.least[j] = least_estimate(measure, cols.top.floor[j])


@compiled()
def raise_floors(estimates, rows, measure):
    """Raise the rows' floors to what k items are sure to reach. estimates: (n,) float32, the k-th best estimate of
    each row; -inf = none.
    """
    for i in range(len(estimates)):
        floor = least_value(measure, estimates[i])
        if floor > rows.top.floor[i]:
            rows.top.floor[i] = floor
            rows.least[i] = least_estimate(measure, floor)


@compiled()
def offer_lists(positions, values, ids, groups, into):
    """Merge partial lists: row r of values, ids and groups (r, any k) is offered to list positions[r] of `into`."""
    for r in range(len(positions)):
        p = positions[r]
        for slot in range(values.shape[1]):
            if ids[r, slot] != NO_ID and values[r, slot] >= into.floor[p]:
                _insert(into.values[p], into.ids[p], into.groups[p], values[r, slot], ids[r, slot], groups[r, slot])
                into.floor[p] = max(into.floor[p], into.values[p, -1])


def positions_of(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The place of each id in `among` (unique ids), -1 where it is not there."""
    order = np.argsort(among, kind="stable")
    if not len(order):
        return np.full(ids.shape, -1, np.int64)
    place = order[np.minimum(np.searchsorted(among, ids, sorter=order), len(order) - 1)]
    return np.where(among[place] == ids, place, -1)
