"""The frozen trunk's features of a few views of every picture, computed once and kept on disk; a killed run goes on
where it was.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsspark.config import TrainingConfig
from vsspark.encoders import Encoder
from vsspark.encoders.engines import load_engine
from vsspark.progress import log
from vsspark.training.reader import LEAST_AREA, picture_views, read_groups

_BATCH = 4  # as the job embeds on CPUs; a batch is padded to it


class Features(NamedTuple):
    """Every picture of a split, in the order of the training set."""

    views: np.ndarray  # (n, views, d) float16; view 0 is the whole picture, as the finished encoder sees it
    product: np.ndarray  # (n,) int64
    category: np.ndarray  # (n,) int32, -1 = none

    def rows(self, which: slice | np.ndarray) -> Features:
        """Some of the pictures; of a slice, not copied."""
        return Features(*(column[which] for column in self))


def compute_features(folder: str, split: str, views: int, trunk: Encoder, config: TrainingConfig) -> Features:
    """The features of a split, a row group at a time; row groups that an earlier call finished are read back."""
    cache = Path(folder).parent / "features" / trunk.model_version
    cache.mkdir(parents=True, exist_ok=True)
    engine = load_engine("onnxruntime", str(trunk.files["onnxruntime"]), _BATCH, config.threads)
    parts: list[Features] = []
    for group in read_groups(folder, split):
        recipe = repr((views, config.seed, config.side, config.backgrounds, config.flip, LEAST_AREA))
        file = cache / f"{hashlib.sha256(recipe.encode() + group.image_id.tobytes()).hexdigest()[:16]}.npy"
        if not file.exists():
            _save(file, _encode(group, views, engine, config))
        parts.append(Features(np.load(file), group.product, group.category))
        log.info("%-10s %s, %d pictures", "features", split, sum(len(part.product) for part in parts))
    if not parts:
        return Features(np.zeros((0, views, trunk.dim), np.float16), np.zeros(0, np.int64), np.zeros(0, np.int32))
    return Features(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _encode(group, views: int, engine, config: TrainingConfig) -> np.ndarray:
    pictures = []
    for data, image_id in zip(group.picture, group.image_id, strict=True):
        pixels = picture_views(data, int(image_id), views, config)
        features = _run(engine, np.concatenate([pixels, pixels[:1, :, ::-1]]) if config.flip else pixels)
        if config.flip:
            features[0] = (features[0] + features[-1]) / 2
        pictures.append(features[:views].astype(np.float16))
    return np.stack(pictures)


def _run(engine, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([engine.run(pixels[start : start + _BATCH])[0] for start in range(0, len(pixels), _BATCH)])


def _save(file: Path, array: np.ndarray) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("wb") as out:
        np.save(out, array)
    partial.replace(file)
