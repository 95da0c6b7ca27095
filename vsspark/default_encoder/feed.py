"""Batches for the trainer: views from the pools, mirrored, shifted and relit a little, made ahead in threads.

A batch is determined by (seed, epoch, step) alone, so a run that was killed goes on with the batches it would have
seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from vsspark.default_encoder.config import DistillationConfig
from vsspark.training.views import relight


@dataclass(frozen=True)
class Examples:
    """Views with what the student shall answer for each."""

    views: np.ndarray  # (n, side, side, 3) uint8
    target: np.ndarray  # (n, d) float32, unit norm, or zero where no teacher answers
    # (n, g, g, d') float16: the same by cell of the view, each of unit norm; d' = 0 where no teacher answers.
    cells: np.ndarray
    product: np.ndarray  # (n,) int64
    answer: np.ndarray  # (n, c) float32: how probable each category is; a row of zeros = nobody knows


class Source(NamedTuple):
    """Examples and their share of every batch."""

    examples: Examples
    share: float


@dataclass(frozen=True)
class Batch:
    images: np.ndarray  # (n, side, side, 3) float32, 0..255
    target: np.ndarray
    cells: np.ndarray  # (n, grid, grid, d') float32, of what the image shows
    product: np.ndarray  # (n,) int64, unique over all sources
    answer: np.ndarray


def batches(sources: Sequence[Source], config: DistillationConfig, grid: int, epoch: int) -> Iterator[Batch]:
    """config.steps batches of config.batch_size views; two views of each product, so that every batch has pairs.

    grid: cells of the student's map, per side.
    """
    steps = config.steps

    def start(step: int):
        return threads.submit(_batch, sources, config, grid, (config.seed, epoch, step))

    with ThreadPoolExecutor(2) as threads:
        ahead = [start(step) for step in range(min(3, steps))]
        for step in range(steps):
            if step + 3 < steps:
                ahead.append(start(step + 3))
            yield ahead.pop(0).result()


def _batch(sources: Sequence[Source], config: DistillationConfig, grid: int, key: tuple[int, int, int]) -> Batch:
    rng = np.random.default_rng(key)
    images, target, cells, product, answer = [], [], [], [], []
    for number, (source, share) in enumerate(sources):
        rows = _pairs(source.product, round(config.batch_size * share) // 2, rng)
        for row in rows:
            window = _window(source.views.shape[1], rng)
            images.append(_augment(source.views[row], window, config.side, rng))
            cells.append(_cells_within(source.cells[row], window, grid))
        target.append(source.target[rows])
        product.append(source.product[rows] * len(sources) + number)
        answer.append(source.answer[rows])
    return Batch(
        np.stack(images).astype(np.float32),
        np.concatenate(target),
        np.stack(cells),
        np.concatenate(product),
        np.concatenate(answer),
    )


def _pairs(product: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers of `pairs` random views, each followed by another view of the same product. Rows of a product lie
    together.
    """
    first = rng.integers(0, len(product), pairs)
    start, end = np.searchsorted(product, product[first], "left"), np.searchsorted(product, product[first], "right")
    other = start + rng.integers(0, 2**31, pairs) % np.maximum(end - start, 1)
    return np.stack([first, other], 1).ravel()


@dataclass(frozen=True)
class _Window:
    """The square of a view that the network sees."""

    top: int
    left: int
    size: int
    full: int  # pixels of the view a side
    mirror: bool


def _window(full: int, rng: np.random.Generator) -> _Window:
    """Most of the view, mirrored half of the time."""
    size = int(rng.integers(int(full * 0.86), full + 1))
    top, left = rng.integers(0, full - size + 1, 2)
    return _Window(int(top), int(left), size, full, bool(rng.random() < 0.5))


def _augment(view: np.ndarray, window: _Window, side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) uint8: the window's part of the view, relit half of the time."""
    view = view[window.top : window.top + window.size, window.left : window.left + window.size]
    if window.mirror:
        view = view[:, ::-1]
    view = cv2.resize(
        np.ascontiguousarray(view),
        (side, side),
        interpolation=cv2.INTER_AREA if side < window.size else cv2.INTER_LINEAR,
    )
    return relight(view, rng) if rng.random() < 0.5 else view


def _cells_within(cells: np.ndarray, window: _Window, grid: int) -> np.ndarray:
    """(grid, grid, d) float32: a view's cells (g, g, d), linearly between them, at the centres of the window's own."""
    down = _between(window.top, window, cells.shape[0], grid)
    across = _between(window.left, window, cells.shape[1], grid)
    across = across[::-1] if window.mirror else across
    rows = np.tensordot(down, cells.astype(np.float32), 1)  # (grid, g, d)
    return np.matmul(across, rows)


def _between(start: int, window: _Window, count: int, grid: int) -> np.ndarray:
    """(grid, count) float32: how much each of `count` cells of the whole says about each of the window's."""
    centre = (start + (np.arange(grid) + 0.5) / grid * window.size) / window.full * count - 0.5
    return np.maximum(0, 1 - np.abs(np.clip(centre, 0, count - 1)[:, None] - np.arange(count))).astype(np.float32)
