"""The value of a pair of rows, the same bits on every machine, and the error of a float32 estimate of it.

Every list is ordered by `pair_value`: sums in float64, in LANES partial sums that are added up in one written order.
Nothing here may be reordered or fused by a compiler (no fastmath), and IEEE 754 defines each step. So the value
depends on the two rows alone: not on the CPU, its vector width, BLAS, a GPU, threads, tiles, or which of the two rows
comes first.

BLAS and GPUs only estimate. `least_estimate` is the bound that makes this exact: a pair whose estimate is lower has a
lower value than the floor, whatever the order in which the float32 sum was taken; every other pair gets its value
from `pair_value`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn.bits import LANES as LANES
from vsspark.knn.bits import ROUNDING as ROUNDING
from vsspark.knn.bits import VERSION as VERSION
from vsspark.knn.compiled import compiled

ESTIMATE, COSINE, L2, L1 = 0, 1, 2, 3


class Measure(NamedTuple):
    """How values and estimates are computed, for compiled code.

    kind: ESTIMATE (the estimate is the value: hamming's counts, products that only find candidates), COSINE, L2 or L1.
    similarity: values are 1 / (1 + distance) instead of minus the distance. COSINE ignores it.
    slack: the most by which an estimate may differ from the exact number; L1: as a share of the distance.
    scale: L2: estimates are of rows that were multiplied by it.
    """

    kind: int
    similarity: bool
    slack: float
    scale: float


BY_ESTIMATE = Measure(ESTIMATE, False, 0.0, 1.0)


@compiled()
def _total(lanes):
    """The sum of the lanes, pairwise, in one order. Overwrites them."""
    width = LANES // 2
    while width:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2
    return lanes[0]


@compiled()
def dot(a, b, lanes):
    """sum a * b in float64. a, b: (d,) float32; lanes: (LANES,) float64, overwritten."""
    lanes[:] = 0.0
    whole = len(a) - len(a) % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += np.float64(a[start + lane]) * np.float64(b[start + lane])
    for c in range(whole, len(a)):
        lanes[c - whole] += np.float64(a[c]) * np.float64(b[c])
    return _total(lanes)


@compiled()
def _square_distance(a, b, lanes):
    """sum (a - b)^2, as `dot`."""
    lanes[:] = 0.0
    whole = len(a) - len(a) % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            gap = np.float64(a[start + lane]) - np.float64(b[start + lane])
            lanes[lane] += gap * gap
    for c in range(whole, len(a)):
        gap = np.float64(a[c]) - np.float64(b[c])
        lanes[c - whole] += gap * gap
    return _total(lanes)


@compiled()
def _absolute_distance(a, b, lanes):
    """sum |a - b|, as `dot`."""
    lanes[:] = 0.0
    whole = len(a) - len(a) % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += abs(np.float64(a[start + lane]) - np.float64(b[start + lane]))
    for c in range(whole, len(a)):
        lanes[c - whole] += abs(np.float64(a[c]) - np.float64(b[c]))
    return _total(lanes)


@compiled()
def pair_value(measure, a, b, inverse_a, inverse_b, lanes):
    """The float32 value of a pair, higher is nearer: the float64 result rounded once.

    a, b: (d,) float32 rows as given. inverse_a, inverse_b: 1 / length of the rows, 0 for a zero row; used for COSINE
    alone.
    """
    if measure.kind == COSINE:
        return np.float32(dot(a, b, lanes) * (inverse_a * inverse_b))
    distance = np.sqrt(_square_distance(a, b, lanes)) if measure.kind == L2 else _absolute_distance(a, b, lanes)
    return np.float32(1 / (1 + distance)) if measure.similarity else np.float32(-distance)


@compiled()
def least_estimate(measure, floor):
    """The lowest float32 estimate that a pair of at least this value can have."""
    value = np.float64(floor)
    if measure.kind == ESTIMATE or value == -np.inf:
        return np.float32(floor)
    if measure.kind == COSINE:
        low = value - measure.slack
    else:
        # Rounding to float32 may have raised the value to the floor.
        distance = 1 / (value * (1 - ROUNDING)) - 1 if measure.similarity else -value * (1 + ROUNDING)
        low = (
            -distance * (1 + measure.slack)
            if measure.kind == L1
            else -0.5 * (distance * measure.scale) ** 2 - measure.slack
        )
    return np.float32(low - 2 * ROUNDING * abs(low))


@compiled()
def least_value(measure, estimate):
    """The lowest value, or a little less, that a pair with this float32 estimate can have."""
    low = np.float64(estimate)
    if measure.kind == ESTIMATE or low == -np.inf:
        return np.float32(estimate)
    if measure.kind == COSINE:
        value = low - measure.slack
    else:
        distance = (
            -low / (1 - measure.slack)
            if measure.kind == L1
            else np.sqrt(2 * max(0.0, measure.slack - low)) / measure.scale
        )
        value = 1 / (1 + distance) if measure.similarity else -distance
    return np.float32(value - 2 * ROUNDING * abs(value))


@compiled()
def least_estimates(measure, floors):
    """(n,) float32: `least_estimate` of each floor."""
    out = np.empty(len(floors), np.float32)
    for i in range(len(floors)):
        out[i] = least_estimate(measure, floors[i])
    return out


@compiled()
def squares(x):
    """(n,) float64: the squared lengths of float32 rows (n, d), with the bits of `dot`."""
    lanes = np.empty(LANES)
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = dot(x[i], x[i], lanes)
    return out


def inverses(lengths_squared: np.ndarray) -> np.ndarray:
    """(n,) float64: 1 / length, 0 for a zero row: its cosine to everything is 0."""
    lengths = np.sqrt(lengths_squared)
    return np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=lengths > 0)


@compiled()
def pair_values(measure, queries, items, query_inverses, item_inverses, positions):
    """(q, c) float32: the value of query r and item positions[r, s]; -inf where the position is negative."""
    lanes = np.empty(LANES)
    out = np.empty(positions.shape, np.float32)
    for r in range(len(positions)):
        for s in range(positions.shape[1]):
            p = positions[r, s]
            if p < 0:
                out[r, s] = -np.inf
            else:
                out[r, s] = pair_value(measure, queries[r], items[p], query_inverses[r], item_inverses[p], lanes)
    return out
