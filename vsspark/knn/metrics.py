"""What a metric makes of rows and of a tile: prepared vectors, biases, the compiled or BLAS call that fills a tile, distances back from values.

Inside the engine every metric is a value, higher is nearer: cosine; -d^2 / 2 for l2 (product + biases); -distance for l1 and hamming.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from vsspark.knn.compiled import REORDER, compiled

METRICS = ("cosine", "l2", "l1", "hamming")
ON_GPU = ("cosine", "l2")  # those that a GPU is asked for
PAD = 256  # a tile's edges are padded to it, so that BLAS takes the same kernel for every tile and a pair's product has the same bits in all
UNIT = 2.5e-7  # rows whose length is 1 within two roundings of float32 are used in place
SHORTEST = 16  # dimensions; fewer are padded with zeros for the same reason: BLAS has other kernels for very small products


class Frame(NamedTuple):
    """How l2 rows are moved and scaled before float32 products, shared by queries and items: distances keep their ratios, cancellation shrinks."""

    centre: np.ndarray  # (d,) float64
    scale: float


@compiled(REORDER)
def square_norms(x):
    """(n,) float64 sums of squares of the rows."""
    out = np.empty(len(x), np.float64)
    for i in range(len(x)):
        total = 0.0
        for c in range(x.shape[1]):
            total += np.float64(x[i, c]) * np.float64(x[i, c])
        out[i] = total
    return out


@compiled()
def _scaled(x, factors):
    """Each row times its factor, rounded once: without a float64 copy of the rows, and exactly 1 for a positive row of one dimension."""
    out = np.empty(x.shape, np.float32)
    for i in range(len(x)):
        for c in range(x.shape[1]):
            out[i, c] = np.float64(x[i, c]) * factors[i]
    return out


@compiled()
def _moved(x, centre, scale):
    """(x - centre) * scale, rounded once, without a float64 copy of the rows."""
    out = np.empty(x.shape, np.float32)
    for i in range(len(x)):
        for c in range(x.shape[1]):
            out[i, c] = (np.float64(x[i, c]) - centre[c]) * scale
    return out


@compiled(REORDER)
def _largest_distance(x, centre):
    most = 0.0
    for i in range(len(x)):
        total = 0.0
        for c in range(x.shape[1]):
            total += (np.float64(x[i, c]) - centre[c]) ** 2
        most = max(most, total)
    return np.sqrt(most)


def checked(x: np.ndarray, what: str) -> np.ndarray:
    """The rows as a C-contiguous (n, d) float32 array.

    Raises ValueError for another shape or dtype, no dimensions, and for rows that hold NaN or infinity (the first of them are named).
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind not in "fiub":
        raise ValueError(f"{what}: expected a numeric array of shape (n, d), d >= 1, got {x.dtype} {x.shape}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        x = np.ascontiguousarray(x, np.float32)
    bad = np.flatnonzero(~np.isfinite(square_norms(x)))
    if len(bad):
        raise ValueError(f"{what}: {len(bad)} rows hold NaN or infinity, the first are rows {bad[:5].tolist()}; drop or quarantine them")
    return x


def frame(*parts: np.ndarray) -> Frame:
    """The mean of all rows, and the power of two that brings the largest distance from it to about 1."""
    rows = sum(len(part) for part in parts)
    centre = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / max(1, rows)
    radius = max(_largest_distance(part, centre) for part in parts)
    return Frame(centre, 2.0 ** -np.ceil(np.log2(radius)) if radius > 0 else 1.0)


def prepare(x: np.ndarray, metric: str, moved: Frame | None = None, thresholds: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, bias): what tiles are filled from, and what is added to products, for checked rows.

    cosine: unit rows, a zero row stays zero and so has cosine 0 to everything; l1: the rows;
    l2: centred, scaled rows and minus half their squared norms; hamming: one bit per dimension, set where x > threshold (0 by default: the
    sign), packed into uint64 words.
    """
    bias = np.zeros(len(x), np.float32)
    if metric == "hamming":
        bits = np.packbits(x > (np.float32(0) if thresholds is None else np.asarray(thresholds, np.float32)), axis=1)
        return np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64), bias
    if metric == "cosine":
        norms = np.sqrt(square_norms(x))
        if np.abs(norms - 1).max(initial=0) > UNIT:
            x = _scaled(x, 1 / np.where(norms > 0, norms, 1))
    if metric == "l2":
        x = _moved(x, moved.centre, moved.scale)
        bias = (square_norms(x) * -0.5).astype(np.float32)
    if metric != "l1" and x.shape[1] < SHORTEST:
        x = np.pad(x, ((0, 0), (0, SHORTEST - x.shape[1])))
    return x, bias


def padded(rows: np.ndarray) -> np.ndarray:
    """The rows followed by zero rows up to a multiple of PAD; the same array where nothing is missing."""
    return np.pad(rows, ((0, -len(rows) % PAD), (0, 0))) if len(rows) % PAD else rows


def fill(metric: str, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """Write the products of two padded tiles of prepared vectors into out (len(left), len(right)) float32."""
    if metric in ("cosine", "l2"):
        # The product of an array with its own transpose goes to another BLAS routine, whose last bits differ: never hand over the same memory.
        np.matmul(left, (right.copy() if np.shares_memory(left, right) else right).T, out=out)
    elif metric == "hamming":
        _fill_hamming(left, right, out)
    else:
        _fill_differences(left, right, metric == "l1", out)


@compiled(REORDER)
def _fill_differences(left, right, absolute, out):
    """out = -sum |a - b|, or -sum (a - b)^2 / 2: four by four pairs at a time, so that each load from a row serves four sums."""
    d = left.shape[1]
    for block in range(0, len(right), 64):  # 64 rows of the right tile stay in the second-level cache
        for i in range(0, len(left), 4):
            a0, a1, a2, a3 = left[i], left[i + 1], left[i + 2], left[i + 3]
            for j in range(block, block + 64, 2):
                b0, b1 = right[j], right[j + 1]
                s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = np.float32(0)
                if absolute:
                    for c in range(d):
                        s00 += abs(a0[c] - b0[c])
                        s01 += abs(a0[c] - b1[c])
                        s10 += abs(a1[c] - b0[c])
                        s11 += abs(a1[c] - b1[c])
                        s20 += abs(a2[c] - b0[c])
                        s21 += abs(a2[c] - b1[c])
                        s30 += abs(a3[c] - b0[c])
                        s31 += abs(a3[c] - b1[c])
                    scale = np.float32(-1)
                else:
                    for c in range(d):
                        s00 += (a0[c] - b0[c]) ** 2
                        s01 += (a0[c] - b1[c]) ** 2
                        s10 += (a1[c] - b0[c]) ** 2
                        s11 += (a1[c] - b1[c]) ** 2
                        s20 += (a2[c] - b0[c]) ** 2
                        s21 += (a2[c] - b1[c]) ** 2
                        s30 += (a3[c] - b0[c]) ** 2
                        s31 += (a3[c] - b1[c]) ** 2
                    scale = np.float32(-0.5)
                out[i, j], out[i, j + 1] = scale * s00, scale * s01
                out[i + 1, j], out[i + 1, j + 1] = scale * s10, scale * s11
                out[i + 2, j], out[i + 2, j + 1] = scale * s20, scale * s21
                out[i + 3, j], out[i + 3, j + 1] = scale * s30, scale * s31


@intrinsic
def _popcount(typing_context, word):
    """The number of set bits of a uint64: one instruction where the CPU has it, in vector lanes where it has that."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled()
def _fill_hamming(left, right, out):
    """out = -(number of bits that differ). Words outermost, pairs innermost: the loop over a tile's columns runs in vector lanes."""
    columns = np.ascontiguousarray(right.T)
    counts = np.empty(len(right), np.int64)
    for i in range(len(left)):
        counts[:] = 0
        for w in range(left.shape[1]):
            _count_bits(left[i, w], columns[w], counts)
        for j in range(len(right)):
            out[i, j] = -np.float32(counts[j])


@compiled()
def _count_bits(word, words, counts):
    for j in range(len(words)):
        counts[j] += _popcount(word ^ words[j])
