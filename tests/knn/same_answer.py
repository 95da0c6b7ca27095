"""Prints a digest of the lists that joins give on hard rows; run in a process of its own, under another BLAS kernel
or number of threads.

python same_answer.py FILE.npy THREADS: a line per case, "name digest". The rows are ordered differently in every call.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np
from threadpoolctl import threadpool_info

from vsspark.knn import search, self_join

METRICS = ("cosine", "l2", "l1", "hamming")


def hard_rows(d: int, n: int = 1200, seed: int = 0) -> np.ndarray:
    """(n, d) float32: half are copies of others, some differ from others in one last place, two are zero."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    x[n // 2 :] = x[rng.integers(0, n // 2, n - n // 2)]
    near = rng.choice(n, n // 6, replace=False)
    x[near] = x[rng.integers(0, n // 2, len(near))]
    column = rng.integers(0, d, len(near))
    x[near, column] = np.nextafter(x[near, column], np.float32(np.inf))
    x[[3, n - 5]] = 0
    x[: n // 8] *= np.float32(2.5)
    return x


def digest(values: np.ndarray, ids: np.ndarray) -> str:
    """A hash of every bit of the lists."""
    return hashlib.sha256(values.astype("<f4").tobytes() + ids.astype("<i8").tobytes()).hexdigest()[:16]


def main() -> None:
    real, threads = np.load(sys.argv[1]), int(sys.argv[2])
    kernels = {info.get("architecture") for info in threadpool_info() if info["user_api"] == "blas"}
    print("kernel", *sorted(str(kernel) for kernel in kernels))
    rng = np.random.default_rng()
    cases = {f"{d} numbers": hard_rows(d, 600 if d < 1000 else 350) for d in (1, 3, 40, 1280, 4096)}
    for name, x in ({"embeddings": real} | cases).items():
        order, tile_rows = rng.permutation(len(x)), int(rng.choice([64, 100, 256, 512, 8192]))
        back = np.argsort(order)
        groups = np.arange(len(x)) % (len(x) * 2 // 3)
        for metric in METRICS:
            values, ids = self_join(x[order], 10, metric, ids=order, tile_rows=tile_rows, threads=threads)
            print(f"{name}, {metric}:", digest(values[back], ids[back]))
            values, ids = self_join(
                x[order], 10, metric, ids=order, groups=groups[order], tile_rows=tile_rows, threads=threads
            )
            print(f"{name}, {metric}, groups:", digest(values[back], ids[back]))
            some = order < 50
            values, ids = search(
                x[:50], x[order][~some], 10, metric, item_ids=order[~some], tile_rows=tile_rows, threads=threads
            )
            print(f"{name}, {metric}, search:", digest(values, ids))


if __name__ == "__main__":
    main()
