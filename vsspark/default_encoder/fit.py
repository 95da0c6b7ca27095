"""Trains the student: epochs with checkpoints, early stopping on what was held out, resumable after a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsspark.default_encoder.config import TrainingConfig
from vsspark.default_encoder.feed import Batch, Examples, batches
from vsspark.encoders.default import HINTS
from vsspark.encoders.model_files import content_hash
from vsspark.errors import ConfigError
from vsspark.progress import log

_TEMPERATURE = 0.1  # of the pair loss
_WARM_UP = 200  # steps
_NOT_OF_THE_RUN = {"minutes", "threads", "work", "output", "name"}


@dataclass
class Progress:
    """Where a run stands; written beside each checkpoint."""

    epoch: int = 0  # finished
    best: float = -math.inf  # the best held-out figure
    best_epoch: int = 0
    seconds: float = 0.0  # of training so far, over all calls
    images: int = 0
    settings: str = ""  # of the run; a checkpoint of another one is no place to go on from


def fit(
    student,
    sources: Sequence[Examples],
    shares: Sequence[float],
    judge: Callable[[object], dict[str, float]],
    config: TrainingConfig,
    folder: Path,
) -> Progress | None:
    """Trains until `config.epochs`, or until `patience` epochs brought nothing; None when `config.minutes` ended the
    call before that.

    student: a keras.Model as `vsspark.encoders.default` builds it.
    judge(student) -> figures on held-out data, the one to be maximised under "held_out".
    `folder` gets last.npz (the checkpoint), best.weights.h5 and history.jsonl.
    """
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    learner = _learner(student, sources[0].cells.shape[-1])
    grid = student.get_layer(HINTS[0]).output.shape[1]
    optimizer = keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay, clipnorm=5.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(learner.trainable_variables)
    progress = _restore(folder, learner, optimizer, config)
    update = _updater(learner, optimizer, config, _category_weights(sources))
    began = time.monotonic()
    while progress.epoch < config.epochs and progress.epoch - progress.best_epoch < config.patience:
        started = time.monotonic()
        losses = []
        for step, batch in enumerate(
            batches(sources, shares, config.batch_size, config.side, grid, config.seed, progress.epoch, config.steps)
        ):
            optimizer.learning_rate = _rate(progress.epoch * config.steps + step, config)
            losses.append(update(batch))
            progress.images += len(batch.images)
        seconds = time.monotonic() - started
        progress.epoch += 1
        progress.seconds += seconds
        figures = dict(
            zip(("loss", "teacher", "cells", "category", "pair"), np.mean(losses, axis=0).tolist(), strict=True)
        ) | judge(student)
        if figures["held_out"] > progress.best:
            progress.best, progress.best_epoch = figures["held_out"], progress.epoch
            student.save_weights(folder / "partial.weights.h5")
            (folder / "partial.weights.h5").replace(folder / "best.weights.h5")
        _save(folder, learner, optimizer, progress)
        line = {"epoch": progress.epoch, "images_per_s": round(config.steps * config.batch_size / seconds)} | {
            k: round(v, 4) for k, v in figures.items()
        }
        with (folder / "history.jsonl").open("a") as history:
            history.write(json.dumps(line) + "\n")
        log.info("%-10s %s", "epoch", json.dumps(line))
        if (
            config.minutes is not None
            and time.monotonic() - began > 60 * config.minutes
            and progress.epoch < config.epochs
        ):
            return None
    return progress


def _rate(step: int, config: TrainingConfig) -> float:
    total = config.epochs * config.steps
    warm = min(1.0, (step + 1) / min(_WARM_UP, max(1, total // 10)))
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))))


def _category_weights(sources: Sequence[Examples]) -> np.ndarray:
    """(c,) float32: rare categories count more, by the root of how rare they are; 1 on average over the examples."""
    count = np.maximum(sum(source.answer.sum(0) for source in sources), 1)
    weights = np.sqrt(count.sum() / (len(count) * count))
    return (weights / (weights * count).sum() * count.sum()).astype(np.float32)


def _learner(student, cell_dim: int):
    """The student with one output more, for its training alone: what the teacher sees in each cell, (n, grid, grid,
    cell_dim), unit norm each.
    """
    import keras
    from keras import layers, ops

    outputs = [student.get_layer(name).output for name in ("generic", "semantic", "category")]
    if cell_dim:
        fine, coarse = (ops.cast(student.get_layer(name).output, "float32") for name in HINTS)
        both = layers.Concatenate()([fine, layers.Resizing(*fine.shape[1:3])(coarse)])
        outputs.append(layers.UnitNormalization()(layers.Dense(cell_dim, name="by_cell")(both)))
    return keras.Model(student.input, outputs)


def _updater(learner, optimizer, config: TrainingConfig, category_weights: np.ndarray) -> Callable[[Batch], np.ndarray]:
    """update(batch) -> the losses (total, teacher, cells, category, pair) after one update of the learner."""
    import tensorflow as tf

    weights = tf.constant(category_weights)

    @tf.function(reduce_retracing=True)
    def step(images, target, cells, answer, product):
        with tf.GradientTape() as tape:
            generic, semantic, probabilities, *by_cell = learner(images, training=True)
            teacher = tf.reduce_mean(1.0 - tf.reduce_sum(generic * target, 1))
            in_cells = tf.reduce_mean(1.0 - tf.reduce_sum(by_cell[0] * cells, 3)) if by_cell else tf.constant(0.0)
            per_row = -tf.reduce_sum(answer * weights * tf.math.log(tf.maximum(probabilities, 1e-7)), 1)
            categorical = tf.reduce_sum(per_row) / tf.maximum(tf.reduce_sum(answer), 1.0)
            pair = _pair_loss(tf.concat([generic, semantic], 1) * 0.5**0.5, product)
            total = (
                config.teacher_weight * teacher
                + config.cell_weight * in_cells
                + config.category_weight * categorical
                + config.pair_weight * pair
            )
        optimizer.apply_gradients(
            zip(tape.gradient(total, learner.trainable_variables), learner.trainable_variables, strict=True)
        )
        return tf.stack([total, teacher, in_cells, categorical, pair])

    def update(batch: Batch) -> np.ndarray:
        return step(
            *(tf.constant(v) for v in (batch.images, batch.target, batch.cells, batch.answer, batch.product))
        ).numpy()

    return update


def _pair_loss(embedding, product):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362): views of one product against all others in
    the batch.
    """
    import tensorflow as tf

    itself = tf.eye(tf.shape(product)[0])
    same = tf.cast(product[:, None] == product[None, :], tf.float32) - itself
    logits = tf.matmul(embedding, embedding, transpose_b=True) / _TEMPERATURE - 1e9 * itself
    log_share = logits - tf.reduce_logsumexp(logits, 1, keepdims=True)
    pairs = tf.reduce_sum(same, 1)
    per_row = -tf.reduce_sum(same * log_share, 1) / tf.maximum(pairs, 1.0)
    return tf.reduce_sum(per_row) / tf.maximum(tf.reduce_sum(tf.cast(pairs > 0, tf.float32)), 1.0)


def _save(folder: Path, learner, optimizer, progress: Progress) -> None:
    """One file, moved into place when it is whole: a kill leaves the checkpoint before it."""
    store = {}
    optimizer.save_own_variables(store)
    arrays = {f"o{i}": np.asarray(v) for i, v in enumerate(store.values())} | {
        f"w{i}": w for i, w in enumerate(learner.get_weights())
    }
    with (folder / "last.partial").open("wb") as out:
        np.savez(out, progress=json.dumps(progress.__dict__), **arrays)
    (folder / "last.partial").replace(folder / "last.npz")


def _restore(folder: Path, learner, optimizer, config: TrainingConfig) -> Progress:
    """Where the run stands, the learner and the optimizer as they were then. Raises ConfigError where `folder` holds
    another run's checkpoint.
    """
    settings = content_hash(config.model_dump_json(exclude=_NOT_OF_THE_RUN).encode())
    if not (folder / "last.npz").exists():
        return Progress(settings=settings)
    with np.load(folder / "last.npz") as saved:
        if json.loads(str(saved["progress"])).get("settings") != settings:
            raise ConfigError(
                f"work: {folder} holds a run with other settings; give another folder, or remove that one"
            )
        learner.set_weights([saved[f"w{i}"] for i in range(len(learner.get_weights()))])
        count = sum(name.startswith("o") for name in saved.files)
        optimizer.load_own_variables({str(i): saved[f"o{i}"] for i in range(count)})
        return Progress(**json.loads(str(saved["progress"])))
