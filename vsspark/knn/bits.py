"""The values of a few pairs of rows by NumPy alone, with the bits of `values.pair_value`: for a process that answers at
once, where importing Numba would take longer than the search.
"""

from __future__ import annotations

import numpy as np

VERSION = 2  # of the bits that a pair's value has; lists made by another are searched again, not merged with
LANES = 32  # partial sums: independent additions for every vector width up to 16 doubles
ROUNDING = 2.0**-24  # the relative error of one rounding to float32


def cosines(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float32. rows: (n, d) float32; query: (d,) float32."""
    inverse = _inverses(_sums(rows.astype(np.float64) ** 2)), _inverses(_sums(query[None].astype(np.float64) ** 2))
    return (_sums(rows.astype(np.float64) * query) * (inverse[0] * inverse[1])).astype(np.float32)


def distances(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float32: l2, as `cosines`."""
    return np.sqrt(_sums((rows.astype(np.float64) - query) ** 2)).astype(np.float32)


def _sums(terms: np.ndarray) -> np.ndarray:
    """(n,) float64: the sum of each row (n, d), in the order of `values.dot`."""
    n, d = terms.shape
    lanes, whole = np.zeros((n, LANES)), d - d % LANES
    for start in range(0, whole, LANES):
        lanes += terms[:, start : start + LANES]
    lanes[:, : d - whole] += terms[:, whole:]
    width = LANES // 2
    while width:
        lanes[:, :width] += lanes[:, width : 2 * width]
        width //= 2
    return lanes[:, 0]


def _inverses(squares: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(squares)
    return np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
