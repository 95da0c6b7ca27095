"""Views and the teacher's features for them, kept on disk: made once, read by every epoch.

A pool is a folder: views.npy (n, side, side, 3) uint8, features.npy (n, 1696) float16, cells.npy (n, 7, 7, d)
float16; the last two with no columns where there is no teacher.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsspark.default_encoder.teacher import TEACHER_CELLS, TEACHER_DIM, TEACHER_SIDE, Teacher
from vsspark.progress import log
from vsspark.training.views import mixed_view, random_view, whole_view


@dataclass(frozen=True)
class Photo:
    """A picture to learn from; `read` gives it as RGB uint8 (h, w, 3)."""

    read: Callable[[], np.ndarray]
    product: int
    category: int


@dataclass(frozen=True)
class Pool:
    views: np.ndarray  # (n, side, side, 3) uint8, memory-mapped
    features: np.ndarray  # (n, 1696) float16
    cells: np.ndarray  # (n, 7, 7, d) float16, memory-mapped
    photo: np.ndarray  # (n,) int64
    product: np.ndarray  # (n,) int64
    category: np.ndarray  # (n,) int64, -1 = mixed


class Recipe(NamedTuple):
    """The views of each photo: the whole, `crops` random ones, and `mixes` mixed with another photo."""

    crops: int
    mixes: int
    side: int  # pixels of the views on disk
    seed: int


def build_pool(folder: Path, photos: Sequence[Photo], recipe: Recipe, teacher: Teacher | None, batch: int = 64) -> Pool:
    """The pool in `folder`: reused when it is there for the same request, continued where a killed run left it."""
    crops, mixes, side, _ = recipe
    per_photo = 1 + crops + mixes
    request = {"photos": len(photos), **recipe._asdict(), "teacher": teacher and teacher.name}
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "state.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {}
    fresh = state.get("request") != request
    start = 0 if fresh else state["done"]
    if fresh:
        state_file.unlink(missing_ok=True)  # it would vouch for files that are no longer those it describes
    n = len(photos) * per_photo
    views = np.lib.format.open_memmap(folder / "views.npy", "w+" if fresh else "r+", np.uint8, (n, side, side, 3))
    features = np.lib.format.open_memmap(
        folder / "features.npy", "w+" if fresh else "r+", np.float16, (n, TEACHER_DIM if teacher else 0)
    )
    grid = (n, TEACHER_CELLS, TEACHER_CELLS, teacher.by_cell.matrix.shape[1] if teacher else 0)
    cells = np.lib.format.open_memmap(folder / "cells.npy", "w+" if fresh else "r+", np.float16, grid)
    begin = time.monotonic()
    step = max(1, batch // per_photo)
    with ThreadPoolExecutor(2) as threads:
        for first in range(start, len(photos), step):
            part = range(first, min(first + step, len(photos)))
            large = np.concatenate(list(threads.map(lambda i: _views_of(photos, i, recipe), part)))
            rows = slice(first * per_photo, first * per_photo + len(large))
            if teacher is not None:
                features[rows], cells[rows] = teacher.answer(large)
            views[rows] = list(threads.map(lambda view: whole_view(view, side), large))
            if first // step % 20 == 19 or part[-1] + 1 == len(photos):
                partial = state_file.with_suffix(".partial")
                partial.write_text(json.dumps({"request": request, "done": part[-1] + 1}))
                partial.replace(state_file)
                rate = (part[-1] + 1 - start) * per_photo / (time.monotonic() - begin)
                log.info("%-10s %d of %d photos, %.0f views/s", folder.name, part[-1] + 1, len(photos), rate)
    category = np.repeat(np.array([photo.category for photo in photos]), per_photo).reshape(-1, per_photo)
    category[:, 1 + crops :] = -1
    photo = np.repeat(np.arange(len(photos)), per_photo)
    product = np.repeat(np.array([photo.product for photo in photos]), per_photo)
    views, cells = (np.load(folder / name, mmap_mode="r") for name in ("views.npy", "cells.npy"))
    return Pool(views, np.load(folder / "features.npy"), cells, photo, product, category.ravel())


def _views_of(photos: Sequence[Photo], i: int, recipe: Recipe) -> np.ndarray:
    rng = np.random.default_rng([recipe.seed, i])
    photo = photos[i].read()
    views = [whole_view(photo, TEACHER_SIDE)]
    views += [random_view(photo, TEACHER_SIDE, rng) for _ in range(recipe.crops)]
    for _ in range(recipe.mixes):
        other = photos[rng.integers(len(photos))].read()
        views.append(
            mixed_view(random_view(photo, TEACHER_SIDE, rng, 0.5), random_view(other, TEACHER_SIDE, rng, 0.5), rng)
        )
    return np.stack(views)
