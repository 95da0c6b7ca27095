"""Estimates: what a metric makes of rows and of a tile, so that BLAS or compiled loops fill it with float32 numbers
near the values.

An estimate is product + (bias of the row + bias of the column), higher is nearer: the cosine; -d^2 / 2 for l2, of
rows moved and scaled; -distance for l1; for hamming the exact number of bits that differ, negative.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from vsspark.knn import values
from vsspark.knn.compiled import REORDER, compiled, read_only
from vsspark.knn.values import ROUNDING, Measure

METRICS = ("cosine", "l2", "l1", "hamming")
ON_GPU = ("cosine", "l2")  # those that a GPU estimates
PAD = 64  # rows: l1's compiled loop takes whole blocks of them
UNIT = 1e-6  # rows whose length is 1 within this are multiplied in place; it is part of the slack


class Estimated(NamedTuple):
    """One side's rows as estimates are computed from them."""

    vectors: np.ndarray  # (n, d) float32, or (n, words) uint64
    bias: np.ndarray  # (n,) float32
    squares: np.ndarray | None  # (n,) float64 squared lengths of the rows as given; None for bits


class Frame(NamedTuple):
    """How l2 rows are moved and scaled before float32 products: distances keep their ratios, cancellation shrinks."""

    centre: np.ndarray  # (d,) float64
    scale: float


@compiled()
def _scaled(x, factors):
    """Each row times its factor, rounded once: without a float64 copy of the rows, and exactly 1 for a positive row
    of one dimension.
    """
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

    Raises ValueError for another shape or dtype, no dimensions, and for rows that hold NaN or infinity (the first of
    them are named).
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind not in "fiub":
        raise ValueError(f"{what}: expected a numeric array of shape (n, d), d >= 1, got {x.dtype} {x.shape}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        x = np.ascontiguousarray(x, np.float32)
    bad = np.flatnonzero(~np.isfinite(values.squares(read_only(x))))
    if len(bad):
        raise ValueError(
            f"{what}: {len(bad)} rows hold NaN or infinity, the first are rows {bad[:5].tolist()}; "
            "drop or quarantine them"
        )
    return x


def frame(*parts: np.ndarray) -> Frame:
    """The mean of all rows, and the power of two that brings the largest distance from it to about 1."""
    rows = sum(len(part) for part in parts)
    centre = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / max(1, rows)
    radius = max(_largest_distance(part, centre) for part in parts)
    return Frame(centre, 2.0 ** -np.ceil(np.log2(radius)) if radius > 0 else 1.0)


def estimates(metric: str, similarity: bool, *parts: np.ndarray) -> tuple[Measure, list[Estimated]]:
    """How pairs of these rows are measured, and what their estimates are computed from.

    parts: one side's checked rows, or both sides'. The slack is the bound of a float32 sum of d products in any
    order, with or without fused operations (Higham, Accuracy and Stability of Numerical Algorithms, 3.1): d roundings
    of the sum of the products' sizes, which is at most 1 for rows no longer than 1. What is added to d covers the
    rounding of the rows, of the bias and of the value.
    """
    parts = tuple(read_only(x) for x in parts)
    d = parts[0].shape[1]
    if metric == "hamming":
        return values.BY_ESTIMATE, [Estimated(x, _no_bias(x), None) for x in parts]
    squares = [values.squares(x) for x in parts]
    slack = 1.01 * (d + 16) * ROUNDING
    if metric == "l1":
        found = [Estimated(x, _no_bias(x), n) for x, n in zip(parts, squares, strict=True)]
        return Measure(values.L1, similarity, slack, 1.0), found
    if metric == "cosine":
        found = [Estimated(_unit(x, n), _no_bias(x), n) for x, n in zip(parts, squares, strict=True)]
        return Measure(values.COSINE, similarity, slack + 2.1 * UNIT, 1.0), found
    moved = frame(*parts)
    found = []
    for x, n in zip(parts, squares, strict=True):
        vectors = _moved(x, moved.centre, moved.scale)
        found.append(Estimated(vectors, (values.squares(read_only(vectors)) * -0.5).astype(np.float32), n))
    return Measure(values.L2, similarity, slack, moved.scale), found


def _no_bias(x: np.ndarray) -> np.ndarray:
    return np.zeros(len(x), np.float32)


def _unit(x: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The rows at length 1, a zero row as it is; the same array where all of them nearly are."""
    lengths = np.sqrt(squares)
    if np.abs(lengths - 1)[lengths > 0].max(initial=0) <= UNIT:
        return x
    return _scaled(x, values.inverses(squares))


def bits(x: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """(n, words) uint64: one bit per dimension, set where x > threshold (0 by default: the sign)."""
    packed = np.packbits(x > (np.float32(0) if thresholds is None else np.asarray(thresholds, np.float32)), axis=1)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def fill(metric: str, left: np.ndarray, right: np.ndarray, space: np.ndarray) -> np.ndarray:
    """The products of two tiles: (>= len(left), >= len(right)) float32, in `space`; l1 pads the tiles to whole
    blocks.
    """
    if metric == "l1":
        left, right = padded(left), padded(right)
    out = space[: len(left) * len(right)].reshape(len(left), len(right))
    if metric == "l1":
        _fill_differences(left, right, out)
    elif metric == "hamming":
        _fill_hamming(left, right, out)
    else:
        np.matmul(left, right.T, out=out)
    return out


def padded(rows: np.ndarray) -> np.ndarray:
    """The rows followed by zero rows up to a multiple of PAD; the same array where nothing is missing."""
    return np.pad(rows, ((0, -len(rows) % PAD), (0, 0))) if len(rows) % PAD else rows


@compiled(REORDER)
def _fill_differences(left, right, out):
    """out = -sum |a - b|: four by two pairs at a time, so that each load from a row serves several sums."""
    d = left.shape[1]
    for block in range(0, len(right), 64):  # 64 rows of the right tile stay in the second-level cache
        for i in range(0, len(left), 4):
            a0, a1, a2, a3 = left[i], left[i + 1], left[i + 2], left[i + 3]
            for j in range(block, block + 64, 2):
                b0, b1 = right[j], right[j + 1]
                s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = np.float32(0)
                for c in range(d):
                    s00 += abs(a0[c] - b0[c])
                    s01 += abs(a0[c] - b1[c])
                    s10 += abs(a1[c] - b0[c])
                    s11 += abs(a1[c] - b1[c])
                    s20 += abs(a2[c] - b0[c])
                    s21 += abs(a2[c] - b1[c])
                    s30 += abs(a3[c] - b0[c])
                    s31 += abs(a3[c] - b1[c])
                out[i, j], out[i, j + 1] = -s00, -s01
                out[i + 1, j], out[i + 1, j + 1] = -s10, -s11
                out[i + 2, j], out[i + 2, j + 1] = -s20, -s21
                out[i + 3, j], out[i + 3, j + 1] = -s30, -s31


@intrinsic
def _popcount(typing_context, word):
    """The number of set bits of a uint64: one instruction where the CPU has it, in vector lanes where it has that."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled()
def _fill_hamming(left, right, out):
    """out = -(number of bits that differ). Words outermost, pairs innermost: the loop over a tile's columns runs in
    vector lanes.
    """
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
