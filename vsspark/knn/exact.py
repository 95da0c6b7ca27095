"""Exact joins of prepared rows: one product per pair of tiles, selected from while it is in cache, serving rows and columns."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from vsspark.knn import metrics, topk
from vsspark.knn.topk import TopK

TILE = 512  # rows: a tile of products is 1 MiB and stays in a core's own cache; larger tiles raise the product's rate by under 2 %
_IN_ORDER = np.arange(TILE)


class Rows(NamedTuple):
    """Prepared rows, who they are, and their lists."""

    vectors: np.ndarray  # (n, d) float32, or (n, words) uint64
    bias: np.ndarray  # (n,) float32
    ids: np.ndarray  # (n,) int64
    groups: np.ndarray  # (n,) int64
    top: TopK


@lru_cache(maxsize=1)
def blas() -> ThreadpoolController:
    """The handle on BLAS's thread count, looked up once: a look-up walks every library of the process."""
    return ThreadpoolController()


def default_threads() -> int:
    """Threads to use: OMP_NUM_THREADS where it is set (Spark sets it to spark.task.cpus), else every core this process may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else len(os.sched_getaffinity(0))


def join(left: Rows, right: Rows, metric: str, both: bool, threads: int | None = None, tile: int = TILE) -> None:
    """Offer `right` to the lists of `left` and, if `both`, `left` to the lists of `right`.

    `left is right` joins rows with themselves: each pair of tiles is computed once. Each thread takes the next pair of tiles and runs
    a single-threaded product and the selection from it; two threads never select into one tile's lists at once.
    Memory beside the rows: threads * tile^2 * 4 bytes.
    """
    tile = -(-min(tile, TILE) // metrics.PAD) * metrics.PAD
    lefts, rights = range(0, len(left.ids), tile), range(0, len(right.ids), tile)
    pairs = iter([(i, j) for i in lefts for j in rights if left is not right or i <= j])
    count = len(lefts) * len(rights)
    locks = [threading.Lock() for _ in lefts], [threading.Lock() for _ in rights]
    locks = (locks[0], locks[0]) if left is right else locks
    threads = max(1, min(threads or default_threads(), count))

    def work() -> None:
        space = np.empty((tile, tile), np.float32)
        for i, j in pairs:
            a, b = _cut(left, i, tile), _cut(right, j, tile)
            vectors = metrics.padded(a.vectors), metrics.padded(b.vectors)
            out = space.reshape(-1)[: len(vectors[0]) * len(vectors[1])].reshape(len(vectors[0]), len(vectors[1]))
            metrics.fill(metric, *vectors, out)
            diagonal = left is right and i == j
            held = [locks[0][i // tile]] + ([locks[1][j // tile]] if both and not diagonal else [])
            for lock in held:
                lock.acquire()
            try:
                topk.offer_tile(out, _IN_ORDER[: len(a.ids)], a.bias, b.bias, a.ids, a.groups, b.ids, b.groups, a.top, b.top, both and not diagonal)
            finally:
                for lock in held:
                    lock.release()

    run_on_threads(work, threads)


def run_on_threads(work: Callable[[], None], threads: int) -> None:
    """Run `work`, which takes pieces until none is left, on so many threads, with BLAS on one thread in each."""
    with blas().limit(limits=1):
        if threads == 1:
            work()
            return
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()


def _cut(rows: Rows, start: int, tile: int) -> Rows:
    stop = min(start + tile, len(rows.ids))
    return Rows(rows.vectors[start:stop], rows.bias[start:stop], rows.ids[start:stop], rows.groups[start:stop], rows.top.rows(start, stop))
