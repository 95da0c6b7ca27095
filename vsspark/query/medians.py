"""Hamming's thresholds as the batch has them (`knn.packing.median_thresholds`), without Spark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vsspark.query.vectors import Part

_SAMPLE = 4000  # images, as in the batch
_SEED = 42  # of Spark's xxhash64
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(0x9E3779B185EBCA87),
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0x165667B19E3779F9),
    np.uint64(0x85EBCA77C2B2AE63),
    np.uint64(0x27D4EB2F165667C5),
)


def median_thresholds(parts: Sequence[Part], image_ids: np.ndarray) -> np.ndarray | None:
    """(d,) float32: each dimension's median over the images with the smallest hashes; None without images.

    parts: of all embedded images.
    """
    if not parts:
        return None
    ids = np.concatenate([image_ids[part.images] for part in parts])
    order = np.lexsort((ids, spark_hash(ids)))[:_SAMPLE]
    picked = np.zeros(len(ids), bool)
    picked[order] = True
    rows, start = [], 0
    for part in parts:
        own = picked[start : start + len(part.images)]
        rows.append(part.vectors[part.rows[own]])
        start += len(part.images)
    return np.median(np.concatenate(rows), axis=0).astype(np.float32)


def spark_hash(ids: np.ndarray) -> np.ndarray:
    """(n,) int64: Spark's xxhash64(id, 1), of a long and an int."""
    with np.errstate(over="ignore"):
        words = ids.astype(np.int64).view(np.uint64)
        h = np.uint64(_SEED) + _P5 + np.uint64(8)
        h = h ^ (_rotated(words * _P2, 31) * _P1)
        h = _mixed(_rotated(h, 27) * _P1 + _P4)
        h = (h + _P5 + np.uint64(4)) ^ (np.uint64(1) * _P1)
        return _mixed(_rotated(h, 23) * _P2 + _P3).view(np.int64)


def _rotated(x: np.ndarray, bits: int) -> np.ndarray:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


def _mixed(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))
