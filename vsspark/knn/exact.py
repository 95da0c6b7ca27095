"""Exact joins: one BLAS product per pair of tiles estimates, `values.pair_value` decides, and each pair serves its
row and its column.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from vsspark.knn import metrics, topk, values
from vsspark.knn.compiled import read_only
from vsspark.knn.eligibility import Eligibility, Facts
from vsspark.knn.topk import Side, TopK

TILE = 512  # rows: a tile of products is 1 MiB and stays in a core's own cache; larger ones gain under 2 %
_IN_ORDER = np.arange(TILE)


class Rows(NamedTuple):
    """Rows, who they are, and their lists."""

    vectors: np.ndarray  # (n, d) float32 rows as given, or (n, words) uint64 bits for hamming
    ids: np.ndarray  # (n,) int64
    groups: np.ndarray  # (n,) int64
    top: TopK
    facts: Facts | None = None  # of the rows, where conditions decide who may be whose neighbour


@lru_cache(maxsize=1)
def blas() -> ThreadpoolController:
    """The handle on BLAS's thread count, made once: making it inspects every library of the process."""
    return ThreadpoolController()


def default_threads() -> int:
    """Threads to use: OMP_NUM_THREADS where it is set (Spark sets it to spark.task.cpus), else every core this
    process may run on.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else len(os.sched_getaffinity(0))


def join(
    left: Rows,
    right: Rows,
    metric: str,
    both: bool,
    similarity: bool = False,
    threads: int | None = None,
    tile: int = TILE,
    eligibility: Eligibility | None = None,
) -> None:
    """Offer `right` to the lists of `left` and, if `both`, `left` to the lists of `right`.

    `left is right` joins rows with themselves: each pair of tiles is computed once. Each thread takes the next pair
    of tiles and runs a single-threaded product and the selection from it; two threads never select into one tile's
    lists at once. similarity: values are 1 / (1 + distance) instead of minus the distance; hamming's are always minus
    the distance. Memory beside the rows: threads * tile^2 * 4 bytes; a second copy of the rows for l2, and for cosine
    where rows are not of unit length. Cost: n^2 * d multiplications by BLAS, and a float64 sum for each pair whose
    estimate is within `Measure.slack` of its list's floor: about k * ln(n / k) a row, and all pairs of rows that are
    nearer to each other than slack without being equal. eligibility: which pairs may be in a list; for one direction
    between two different sides.
    """
    measure, estimated = metrics.estimates(
        metric, similarity, *([left.vectors] if left is right else [left.vectors, right.vectors])
    )
    rows = side(left, estimated[0], measure, right.top.values.shape[1] if both or left is right else 0)
    cols = rows if left is right else side(right, estimated[-1], measure, left.top.values.shape[1])
    if eligibility is not None:
        cols = cols._replace(needed=np.ones(len(cols.ids), bool))  # of equal rows, the lower ids may not be eligible
    vectors = estimated[0].vectors, estimated[-1].vectors
    join_sides(rows, cols, vectors, metric, measure, both, threads, tile, eligibility)


def join_sides(
    rows: Side,
    cols: Side,
    vectors: tuple[np.ndarray, np.ndarray],
    metric: str,
    measure: values.Measure,
    both: bool,
    threads: int | None = None,
    tile: int = TILE,
    eligibility: Eligibility | None = None,
) -> None:
    """`join` of sides whose estimates are computed from `vectors`; `rows is cols` joins rows with themselves."""
    tile = max(1, min(tile, TILE))
    room = (tile + -tile % metrics.PAD) ** 2
    lefts, rights = range(0, len(rows.ids), tile), range(0, len(cols.ids), tile)
    itself = rows is cols
    count = len(lefts) * len(rights)
    # A row's own tile first, or the first of the other side: from there on its floor is high, and few pairs need
    # their value.
    pairs = [(i, j) for i in lefts for j in rights if not itself or i <= j]
    pairs = iter(sorted(pairs, key=lambda pair: pair[0] != pair[1]) if itself else pairs)
    locks = [threading.Lock() for _ in lefts], [threading.Lock() for _ in rights]
    locks = (locks[0], locks[0]) if itself else locks
    threads = max(1, min(threads or default_threads(), count))

    def work() -> None:
        space, lanes = np.empty(room, np.float32), np.empty(values.LANES)
        for i, j in pairs:
            a, b = rows.rows(i, i + tile), cols.rows(j, j + tile)
            out = metrics.fill(metric, vectors[0][i : i + tile], vectors[1][j : j + tile], space)
            if eligibility is not None:
                eligibility.strike_out(out, i, j, (len(a.ids), len(b.ids)))
            diagonal = itself and i == j
            held = [locks[0][i // tile]] + ([locks[1][j // tile]] if both and not diagonal else [])
            for lock in held:
                lock.acquire()
            try:
                if measure.kind != values.ESTIMATE and (diagonal if itself else j == 0):
                    _raise_floors(out, a, b, measure, lanes)
                topk.offer_tile(out, _IN_ORDER[: len(a.ids)], a, b, both and not diagonal, measure, lanes)
            finally:
                for lock in held:
                    lock.release()

    run_on_threads(work, threads)


def _raise_floors(tile: np.ndarray, rows: Side, cols: Side, measure: values.Measure, lanes: np.ndarray) -> None:
    """Raise the floors of the rows by the estimates of a tile, so that few of its pairs need their value."""
    nominated = topk.empty(len(rows.ids), rows.top.values.shape[1])
    nominees = rows._replace(top=nominated, least=nominated.floor)
    topk.offer_tile(tile, _IN_ORDER[: len(rows.ids)], nominees, cols, False, values.BY_ESTIMATE, lanes)
    topk.raise_floors(nominated.values[:, -1], rows, measure)


def run_on_threads(work: Callable[[], None], threads: int) -> None:
    """Run `work`, which takes pieces until none is left, on so many threads, with BLAS on one thread in each."""
    with blas().limit(limits=1):
        if threads == 1:
            work()
            return
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()


def side(rows: Rows, estimated: metrics.Estimated, measure: values.Measure, k: int) -> Side:
    """The rows as `topk.offer_tile` takes them. k: places of the lists they are offered to."""
    n, least = len(rows.ids), values.least_estimates(measure, rows.top.floor)
    if measure.kind == values.ESTIMATE:
        nothing = np.empty((n, 0), np.float32)  # bits are not read: the kernel need not be compiled for them
        return topk.by_estimate(nothing, estimated.bias, rows.ids, rows.groups, rows.top)._replace(least=least)
    needed = needed_items(rows.vectors, estimated.squares, rows.ids, rows.groups, k)
    inverses = values.inverses(estimated.squares)
    who = read_only(rows.ids), read_only(rows.groups)
    return Side(read_only(rows.vectors), inverses, estimated.bias, *who, needed, rows.top, least)


def needed_items(x: np.ndarray, squares: np.ndarray, ids: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """(n,) bool: False where so many equal rows with lower ids come first that the row can be in no list of k.

    Without it, a thousand copies of one picture would mean a million float64 sums. Of equal rows the lowest id of
    each group counts, and of those the k + 1 lowest: a list takes no more of them, one may be the query's own group.
    """
    needed = np.ones(len(x), bool)
    order = np.lexsort((ids, squares))
    ties = np.flatnonzero(np.diff(squares[order]) == 0)
    if not len(ties):
        return needed
    equal = np.fromiter(((x[order[t]] == x[order[t + 1]]).all() for t in ties), bool, len(ties))
    end, seen = -1, set()
    for t in ties[equal]:
        if t != end:  # a run of equal rows begins
            seen = {groups[order[t]]}
        end = t + 1
        row = order[end]
        needed[row] = groups[row] not in seen and len(seen) <= k
        seen.add(groups[row])
    return needed
