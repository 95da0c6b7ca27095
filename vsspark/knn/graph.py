"""Candidates of each query: the items of its nearest cells, then the neighbours of its neighbours.

A few cells hold most of a query's neighbours. What they miss, the neighbours' own lists mostly hold: one round
compares a query with the items near to its items (NN-descent: Dong, Moses, Li, "Efficient k-nearest neighbor graph
construction for generic similarity measures", 2011). A query's list is written by one thread from lists of the round
before: threads change no bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn import exact
from vsspark.knn.cells import Cells
from vsspark.knn.compiled import REORDER, compiled

LINKS = 30  # of a list's items, the nearest are followed: so many, or half of a longer list
BACK_LINKS = 10  # and so many of the items that have the item in their lists
_BLOCK = 1024  # queries that a thread takes at a time


class Points(NamedTuple):
    """Projected rows of one side, contiguous arrays."""

    vectors: np.ndarray  # (n, p) float32
    bias: np.ndarray  # (n,) float32: added to an item's products
    groups: np.ndarray  # (n,) int64
    own: np.ndarray  # (n,) int32: the row's number among the items, -1 = none
    needed: np.ndarray  # (n,) bool: whether the row can be in anybody's list
    rows: np.ndarray  # (n,) int64: the numbers of the rows as given


class Candidates(NamedTuple):
    """Queries, items in cell order, and what was found for each query, best estimate first."""

    queries: Points
    items: Points
    repeated: bool  # whether items share groups: a list holds one of a group
    values: np.ndarray  # (q, w) float32 product + bias of the item, -inf = none
    found: np.ndarray  # (q, w) int32 items, -1 = none
    probed: np.ndarray  # (q, p) int32 cells searched
    cell: np.ndarray  # (n,) int32 of each item


class Links(NamedTuple):
    """Items to go on from."""

    near: np.ndarray  # (n, l) int32, -1 = none; new ones first
    fresh: np.ndarray  # (n,) int32: how many are new since the round before


def search_cells(
    sides: tuple[Points, Points], cells: Cells, probed: np.ndarray, width: int, threads: int
) -> Candidates:
    """Lists of `width` candidates from the cells that each query probes. sides: queries, items; both in cell order.

    Cost: a multiplication for each query, probed item and direction, by BLAS.
    """
    queries, items = sides
    n = len(queries.vectors)
    repeated = bool((np.diff(np.sort(items.groups)) == 0).any())
    cell = np.repeat(np.arange(len(cells.centres), dtype=np.int32), np.diff(cells.starts))
    values, found = np.full((n, width), -np.inf, np.float32), np.full((n, width), -1, np.int32)
    lists = Candidates(queries, items, repeated, values, found, probed, cell)
    pending = iter(range(0, n, _BLOCK))

    def work() -> None:
        for first in pending:  # neighbouring queries probe few cells, most of them the same
            flat = probed[first : first + _BLOCK].reshape(-1)
            by_cell = np.argsort(flat, kind="stable")
            filled, starts = np.unique(flat[by_cell], return_index=True)
            by_cell = first + by_cell // probed.shape[1]
            for number, at in zip(filled.tolist(), np.split(by_cell, starts[1:]), strict=True):
                a, b = cells.starts[number], cells.starts[number + 1]
                _offer_tile(lists, queries.vectors[at] @ items.vectors[a:b].T, at, a)

    exact.run_on_threads(work, threads)
    return lists


def follow(lists: Candidates, links: Links, of_items: Links, threads: int) -> None:
    """Offer each query the items it has a link to and those that they have links to; where neither link is new, the
    pair has met.
    """
    pending = iter(range(0, len(lists.found), _BLOCK))

    def work() -> None:
        stamp = np.full(len(lists.cell) + 1, -1, np.int32)
        searched = np.full(max(lists.cell[-1], lists.probed.max()) + 1, -1, np.int32)
        for start in pending:
            _follow(lists, links, of_items, start, min(start + _BLOCK, len(lists.found)), stamp, searched)

    exact.run_on_threads(work, threads)


def links_of(lists: Candidates, before: Links | None, back: bool) -> Links:
    """The links of each query: its nearest candidates and, of items joined with themselves, those that have it among
    theirs (`back`).
    """
    near = np.ascontiguousarray(lists.found[:, : max(LINKS, lists.found.shape[1] // 2)])
    if back:
        near = np.concatenate([near, _back_links(near, lists.queries.needed, BACK_LINKS)], axis=1)
    old = np.empty((len(near), 0), np.int32) if before is None else before.near
    fresh = np.empty(len(near), np.int32)
    _new_first(near, old, fresh, np.full(len(lists.cell) + 1, -1, np.int32))
    return Links(near, fresh)


@compiled()
def _put(values, found, value, item, groups, repeated):
    """Put an item that is not yet there into one list where it belongs, or leave the list as it is."""
    end = len(values) - 1
    if repeated:
        for slot in range(end + 1):
            if found[slot] >= 0 and groups[found[slot]] == groups[item]:
                if values[slot] >= value:
                    return
                end = slot
                break
    while end > 0 and values[end - 1] < value:
        values[end], found[end] = values[end - 1], found[end - 1]
        end -= 1
    values[end], found[end] = value, item


@compiled()
def _offer_tile(lists, tile, at, first):
    """Offer items first, first + 1, ... to queries `at`. tile: (len(at), items) float32 products."""
    groups, needed, bias, repeated = lists.items.groups, lists.items.needed, lists.items.bias, lists.repeated
    for r in range(len(at)):
        i = at[r]
        values, found, products = lists.values[i], lists.found[i], tile[r]
        group, own = lists.queries.groups[i], lists.queries.own[i]
        floor = values[-1]
        for j in range(len(products)):
            item = first + j
            value = products[j] + bias[item]
            if value > floor and needed[item] and item != own and groups[item] != group:
                _put(values, found, value, item, groups, repeated)
                floor = values[-1]


@compiled()
def _follow(lists, links, of_items, start, stop, stamp, searched):
    """`follow` for queries from start to stop.

    stamp: (items + 1,) int32: the last query that met the item; its last place serves "none", -1. searched: (cells,)
    int32: the last query that probed the cell.
    """
    groups, bias, repeated = lists.items.groups, lists.items.bias, lists.repeated
    width = of_items.near.shape[1]
    met, products = np.empty(links.near.shape[1] * (width + 1) + 4, np.int32), np.empty(4, np.float32)
    for i in range(start, stop):
        stamp[-1] = i
        stamp[lists.queries.own[i]] = i
        for item in lists.found[i]:
            stamp[item] = i
        for cell in lists.probed[i]:
            searched[cell] = i
        count = 0
        for s in range(links.near.shape[1]):
            j = links.near[i, s]
            if j < 0:
                continue
            met[count] = j
            count += stamp[j] != i  # no branch: a mistaken guess of the CPU costs more than the rest
            stamp[j] = i
            for t in range(width if s < links.fresh[i] else of_items.fresh[j]):
                item = of_items.near[j, t]
                met[count] = item
                count += stamp[item] != i
                stamp[item] = i
        new = 0
        for m in range(count):
            item = met[m]
            met[new] = item
            new += searched[lists.cell[item]] != i and groups[item] != lists.queries.groups[i]
        met[new : new + 3] = met[0]
        values, found = lists.values[i], lists.found[i]
        for m in range(0, new, 4):
            _multiply(lists.queries.vectors[i], lists.items.vectors, met[m : m + 4], products)
            for p in range(min(4, new - m)):
                item = met[m + p]
                value = products[p] + bias[item]
                if value > values[-1]:
                    _put(values, found, value, item, groups, repeated)


@compiled(REORDER)
def _multiply(a, vectors, items, products):
    """The products of a row with four others at a time: a core waits for four of them at once."""
    b0, b1, b2, b3 = vectors[items[0]], vectors[items[1]], vectors[items[2]], vectors[items[3]]
    s0 = s1 = s2 = s3 = np.float32(0)
    for c in range(len(a)):
        s0 += a[c] * b0[c]
        s1 += a[c] * b1[c]
        s2 += a[c] * b2[c]
        s3 += a[c] * b3[c]
    products[0], products[1], products[2], products[3] = s0, s1, s2, s3


@compiled()
def _back_links(near, needed, most):
    """(n, most) int32: for each item, items that have it in `near`, the first places first."""
    out = np.full((len(near), most), -1, np.int32)
    filled = np.zeros(len(near), np.int32)
    for place in range(near.shape[1]):
        for i in range(len(near)):
            j = near[i, place]
            if j >= 0 and needed[i] and filled[j] < most:
                out[j, filled[j]] = i
                filled[j] += 1
    return out


@compiled()
def _new_first(near, old, fresh, stamp):
    """Order each row of `near`: what is not in the same row of `old` first, counted in `fresh`."""
    row = np.empty(near.shape[1], np.int32)
    for i in range(len(near)):
        stamp[-1] = i
        for item in old[i]:
            stamp[item] = i
        row[:] = near[i]
        count = 0
        for item in row:
            if stamp[item] != i:
                near[i, count] = item
                count += 1
        fresh[i] = count
        for item in row:
            if stamp[item] == i:
                near[i, count] = item
                count += 1
