"""Cells of projected rows: the main directions of a set of items, and k-means in them.

BLAS multiplies blocks of rows on one thread each: threads change no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from vsspark.knn import exact
from vsspark.knn.compiled import compiled

DIRECTIONS = 256
CELL_ROWS = 256  # items per cell, on average
_BLOCK = 2048  # rows


class Cells(NamedTuple):
    """Items in cell order."""

    basis: np.ndarray  # (d, p) float32, orthonormal columns
    centres: np.ndarray  # (c, p) float32
    order: np.ndarray  # (n,) the item at each place
    starts: np.ndarray  # (c + 1,) where each cell begins
    vectors: np.ndarray  # (n, p) float32 projected items in cell order


def divide(items: np.ndarray, rng: np.random.Generator, threads: int) -> Cells:
    """The cells of (n, d) items: n * d * DIRECTIONS and n^2 / CELL_ROWS * DIRECTIONS multiplications."""
    n, d = items.shape
    width = min(d, DIRECTIONS)
    sample = items[np.sort(rng.choice(n, min(n, 2 * _BLOCK), replace=False))]
    basis = rng.standard_normal((d, width), dtype=np.float32)
    for _ in range(3):  # subspace iteration: as good as the eigenvectors for finding candidates, at a tenth of the time
        parts = _of_blocks(lambda rows, basis=basis: rows.T @ (rows @ basis), sample, threads)
        # LAPACK's panels are too small for threads to help, and where cores are busy they wait for each other.
        with exact.blas().limit(limits=1):
            basis = np.linalg.qr(sum(parts))[0]
    projected = project(items, basis, threads)
    count = max(1, n // CELL_ROWS)
    training = projected[np.sort(rng.choice(n, min(n, 48 * count), replace=False))]
    centres = training[np.sort(rng.choice(len(training), count, replace=False))]
    for _ in range(6):
        cell = nearest_cells(training, centres, 1, threads)[:, 0]
        order = np.argsort(cell, kind="stable")
        filled, first = np.unique(cell[order], return_index=True)
        sums = np.add.reduceat(training[order], first, axis=0)
        centres[filled] = sums / np.diff(np.append(first, len(order)))[:, None]
    cell = nearest_cells(projected, centres, 1, threads)[:, 0]
    order = np.argsort(cell, kind="stable")
    return Cells(basis, centres, order, np.searchsorted(cell[order], np.arange(count + 1)), projected[order])


def project(x: np.ndarray, basis: np.ndarray, threads: int) -> np.ndarray:
    """(n, p) float32."""
    return np.concatenate(_of_blocks(lambda rows: rows @ basis, x, threads))


def nearest_cells(x: np.ndarray, centres: np.ndarray, most: int, threads: int) -> np.ndarray:
    """(n, up to `most`) int32: the cells nearest to each row, nearest first."""
    half = (centres * centres).sum(axis=1) / 2
    most = min(len(centres), most)
    return np.concatenate(_of_blocks(lambda rows: _largest(rows @ centres.T, half, most), x, threads))


def _of_blocks(work: Callable[[np.ndarray], np.ndarray], x: np.ndarray, threads: int) -> list[np.ndarray]:
    blocks = [x[i : i + _BLOCK] for i in range(0, len(x), _BLOCK)]
    with exact.blas().limit(limits=1), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, blocks))


@compiled()
def _largest(products, less, most):
    """(n, most) int32: the columns with the largest products - less, largest first; equal ones by number."""
    out = np.empty((len(products), most), np.int32)
    best = np.empty(most, np.float32)
    for i in range(len(products)):
        best[:] = -np.inf
        for j in range(products.shape[1]):
            value = products[i, j] - less[j]
            if value > best[-1]:
                end = most - 1
                while end > 0 and best[end - 1] < value:
                    best[end], out[i, end] = best[end - 1], out[i, end - 1]
                    end -= 1
                best[end], out[i, end] = value, j
    return out
