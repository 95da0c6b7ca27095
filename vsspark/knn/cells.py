"""Cells of projected rows: the main directions of a set of items, and k-means in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn import exact

DIRECTIONS = 256
CELL_ROWS = 256  # items per cell, on average


class Cells(NamedTuple):
    """Items in cell order."""

    basis: np.ndarray  # (d, p) float32, orthonormal columns
    centres: np.ndarray  # (c, p) float32
    order: np.ndarray  # (n,) the item at each place
    starts: np.ndarray  # (c + 1,) where each cell begins
    vectors: np.ndarray  # (n, p) float32 projected items in cell order
    bias: np.ndarray  # (n,) float32


def divide(items: np.ndarray, bias: np.ndarray, rng: np.random.Generator) -> Cells:
    n, d = items.shape
    width = min(d, DIRECTIONS)
    sample = items[np.sort(rng.choice(n, min(n, 4096), replace=False))]
    basis = rng.standard_normal((d, width), dtype=np.float32)
    for _ in range(3):  # subspace iteration: as good as the eigenvectors for finding candidates, at a tenth of the time
        product = sample.T @ (sample @ basis)
        # LAPACK's panels are too small for threads to help, and where cores are busy they wait for each other.
        with exact.blas().limit(limits=1):
            basis = np.linalg.qr(product)[0]
    projected = items @ basis
    count = max(1, n // CELL_ROWS)
    training = projected[np.sort(rng.choice(n, min(n, 48 * count), replace=False))]
    centres = training[np.sort(rng.choice(len(training), count, replace=False))]
    for _ in range(6):
        cell = _nearest(training, centres)
        order = np.argsort(cell, kind="stable")
        filled, first = np.unique(cell[order], return_index=True)
        sums = np.add.reduceat(training[order], first, axis=0)
        centres[filled] = sums / np.diff(np.append(first, len(order)))[:, None]
    cell = _nearest(projected, centres)
    order = np.argsort(cell, kind="stable")
    return Cells(
        basis, centres, order, np.searchsorted(cell[order], np.arange(count + 1)), projected[order], bias[order]
    )


def _nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    half = (centres * centres).sum(axis=1) / 2
    return np.concatenate([(x[i : i + 4096] @ centres.T - half).argmax(axis=1) for i in range(0, len(x), 4096)])


def nearest_cells(x: np.ndarray, centres: np.ndarray, most: int) -> np.ndarray:
    """(n, up to `most`) the cells nearest to each row, nearest first."""
    half = (centres * centres).sum(axis=1) / 2
    most = min(len(centres), most)
    out = np.empty((len(x), most), np.int32)
    for i in range(0, len(x), 4096):
        scores = half - x[i : i + 4096] @ centres.T
        some = np.argpartition(scores, most - 1, axis=1)[:, :most]
        out[i : i + 4096] = np.take_along_axis(some, np.argsort(np.take_along_axis(scores, some, 1), axis=1), 1)
    return out
