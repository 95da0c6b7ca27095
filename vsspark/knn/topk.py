"""Running top-k lists: compiled insertion, the pass over a tile of similarities, the merge of partial lists.

A list is k slots, best first: value (higher is nearer), id, group. Its order is total (value falls, equal values by lower id) and it keeps at
most one item of a group, that group's best. So offering the same items in any order, or merging partial lists in any order, gives the same list.
An empty slot holds value -inf and id and group NO_ID.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn.compiled import compiled

NO_ID = int(np.iinfo(np.int64).max)
STRIP = 128  # values compared with their thresholds in vector lanes before the pass branches


class TopK(NamedTuple):
    """The lists of n rows.

    `floor` repeats each list's last value, contiguous, so that the columns of a tile compare as a vector. It may be set higher, where better
    items are known from elsewhere: in another list that this one will be merged with, or in last night's.
    """

    values: np.ndarray  # (n, k) float32
    ids: np.ndarray  # (n, k) int64
    groups: np.ndarray  # (n, k) int64
    floor: np.ndarray  # (n,) float32

    def rows(self, start: int, stop: int) -> TopK:
        """The lists of some rows: a view, what is offered to it is kept here."""
        return TopK(*(part[start:stop] for part in self))


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
    """Whether any item of a strip reaches the row's threshold. Counted, not branched on: the loop then runs in vector lanes."""
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
def offer_tile(tile, at, row_bias, col_bias, row_ids, row_groups, col_ids, col_groups, rows, cols, both):
    """Offer a tile's items to its queries: columns to the lists of the rows and, if `both`, rows to the lists of the columns.

    tile: (>= m, >= n) float32 products; its row r belongs to row at[r] of row_bias, row_ids, row_groups and rows.
    A pair's value is product + (row bias + column bias): the same bits from either side. A pair of one group or of one id is never offered.
    """
    n = len(col_ids)
    for r in range(len(at)):
        i = at[r]
        for start in range(0, n, STRIP):
            stop = min(n, start + STRIP)
            strip, biases = tile[r, start:stop], col_bias[start:stop]
            if both:
                reached = _reaches_any(strip, row_bias[i], biases, rows.floor[i], cols.floor[start:stop])
            else:
                reached = _reaches_row(strip, row_bias[i], biases, rows.floor[i])
            if not reached:
                continue
            for j in range(start, stop):
                value = tile[r, j] + (row_bias[i] + col_bias[j])
                to_row = value >= rows.floor[i]
                to_col = both and value >= cols.floor[j]
                if not (to_row or to_col) or row_groups[i] == col_groups[j] or row_ids[i] == col_ids[j]:
                    continue
                if to_row:
                    _insert(rows.values[i], rows.ids[i], rows.groups[i], value, col_ids[j], col_groups[j])
                    rows.floor[i] = max(rows.floor[i], rows.values[i, -1])
                if to_col:
                    _insert(cols.values[j], cols.ids[j], cols.groups[j], value, row_ids[i], row_groups[i])
                    cols.floor[j] = max(cols.floor[j], cols.values[j, -1])


@compiled()
def offer_lists(positions, values, ids, groups, into):
    """Merge partial lists: row r of values, ids and groups (r, any k) is offered to list positions[r] of `into`."""
    for r in range(len(positions)):
        p = positions[r]
        for slot in range(values.shape[1]):
            if ids[r, slot] != NO_ID and values[r, slot] >= into.floor[p]:
                _insert(into.values[p], into.ids[p], into.groups[p], values[r, slot], ids[r, slot], groups[r, slot])
                into.floor[p] = max(into.floor[p], into.values[p, -1])
