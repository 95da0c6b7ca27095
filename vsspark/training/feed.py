"""Batches for the trainer: views from the pools, mirrored, shifted and relit a little, made ahead in threads.

A batch is determined by (seed, epoch, step) alone, so a run that was killed goes on with the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from vsspark.training.views import relight


@dataclass(frozen=True)
class Examples:
    """Views with what the student shall answer for each."""

    views: np.ndarray  # (n, side, side, 3) uint8
    target: np.ndarray  # (n, d) float32, unit norm, or zero where no teacher answers
    product: np.ndarray  # (n,) int64
    answer: np.ndarray  # (n, c) float32: how probable each category is; a row of zeros = nobody knows


@dataclass(frozen=True)
class Batch:
    images: np.ndarray  # (n, side, side, 3) float32, 0..255
    target: np.ndarray
    product: np.ndarray  # (n,) int64, unique over all sources
    answer: np.ndarray


def batches(sources: Sequence[Examples], shares: Sequence[float], size: int, side: int, seed: int, epoch: int, steps: int) -> Iterator[Batch]:
    """`steps` batches, `shares` of each from the sources; two views of each product drawn, so that every batch has pairs."""
    with ThreadPoolExecutor(2) as threads:
        ahead = [threads.submit(_batch, sources, shares, size, side, (seed, epoch, step)) for step in range(min(3, steps))]
        for step in range(steps):
            if step + 3 < steps:
                ahead.append(threads.submit(_batch, sources, shares, size, side, (seed, epoch, step + 3)))
            yield ahead.pop(0).result()


def _batch(sources: Sequence[Examples], shares: Sequence[float], size: int, side: int, key: tuple[int, int, int]) -> Batch:
    rng = np.random.default_rng(key)
    images, target, product, answer = [], [], [], []
    for number, (source, share) in enumerate(zip(sources, shares, strict=True)):
        rows = _pairs(source.product, round(size * share) // 2, rng)
        images += [_augment(source.views[row], side, rng) for row in rows]
        target.append(source.target[rows])
        product.append(source.product[rows] * len(sources) + number)
        answer.append(source.answer[rows])
    return Batch(np.stack(images).astype(np.float32), np.concatenate(target), np.concatenate(product), np.concatenate(answer))


def _pairs(product: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of `pairs` random views, each followed by another view of the same product. Rows of a product lie together."""
    first = rng.integers(0, len(product), pairs)
    start, end = np.searchsorted(product, product[first], "left"), np.searchsorted(product, product[first], "right")
    other = start + rng.integers(0, 2**31, pairs) % np.maximum(end - start, 1)
    return np.stack([first, other], 1).ravel()


def _augment(view: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) uint8: most of the view, mirrored half of the time, relit half of the time."""
    full = view.shape[0]
    window = int(rng.integers(int(full * 0.86), full + 1))
    y, x = rng.integers(0, full - window + 1, 2)
    view = view[y : y + window, x : x + window]
    if rng.random() < 0.5:
        view = view[:, ::-1]
    view = cv2.resize(np.ascontiguousarray(view), (side, side), interpolation=cv2.INTER_AREA if side < window else cv2.INTER_LINEAR)
    return relight(view, rng) if rng.random() < 0.5 else view
