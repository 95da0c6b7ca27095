"""Trains the student: epochs with checkpoints, early stopping on held-out photos, resumable after a kill."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsspark.default_encoder.config import DistillationConfig
from vsspark.default_encoder.feed import Batch, Source, batches
from vsspark.encoders.default import HINTS
from vsspark.encoders.model_files import content_hash
from vsspark.errors import ConfigError
from vsspark.progress import log
from vsspark.training.checkpoint import FitState, read_state, restore, save
from vsspark.training.losses import balanced_weights, pair_loss

_TEMPERATURE = 0.1  # of the pair loss
_WARM_UP = 200  # steps
_NOT_OF_THE_RUN = {"minutes", "threads", "work", "output", "name"}


@dataclass
class StudentState(FitState):
    """Where a run stands over all its calls."""

    seconds: float = 0.0  # of training so far
    images: int = 0
    settings: str = ""  # of the run; a checkpoint of another one is no place to go on from


def fit_student(
    student,
    sources: Sequence[Source],
    judge: Callable[[object], dict[str, float]],
    config: DistillationConfig,
    folder: Path,
) -> StudentState | None:
    """Trains until `config.epochs`, or until `patience` epochs brought nothing; None when `config.minutes` ended the
    call before that.

    student: a keras.Model as `vsspark.encoders.default` builds it.
    judge(student) -> figures on held-out data, the one to be maximised under "held_out".
    `folder` gets last.npz (the checkpoint), best.weights.h5 and history.jsonl.
    """
    import keras

    folder.mkdir(parents=True, exist_ok=True)
    learner = _learner(student, sources[0].examples.cells.shape[-1])
    grid = student.get_layer(HINTS[0]).output.shape[1]
    optimizer = keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay, clipnorm=5.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(learner.trainable_variables)
    variables = [*learner.variables, *optimizer.variables]
    state = _start_state(folder / "last.npz", variables, config)
    update = _updater(
        learner, optimizer, config, balanced_weights(sum(source.examples.answer.sum(0) for source in sources))
    )
    call_start = time.monotonic()
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        epoch_start = time.monotonic()
        losses = []
        for step, batch in enumerate(batches(sources, config, grid, state.epoch)):
            optimizer.learning_rate = _rate(state.epoch * config.steps + step, config)
            losses.append(update(batch))
            state.images += len(batch.images)
        seconds = time.monotonic() - epoch_start
        state.epoch += 1
        state.seconds += seconds
        figures = dict(
            zip(("loss", "teacher", "cells", "category", "pair"), np.mean(losses, axis=0).tolist(), strict=True)
        ) | judge(student)
        if figures["held_out"] > state.best:
            state.best, state.best_epoch = figures["held_out"], state.epoch
            student.save_weights(folder / "partial.weights.h5")
            (folder / "partial.weights.h5").replace(folder / "best.weights.h5")
        save(folder / "last.npz", variables, state)
        line = {"epoch": state.epoch, "images_per_s": round(config.steps * config.batch_size / seconds)} | {
            k: round(v, 4) for k, v in figures.items()
        }
        with (folder / "history.jsonl").open("a") as history:
            history.write(json.dumps(line) + "\n")
        log.info("%-10s %s", "epoch", json.dumps(line))
        if (
            config.minutes is not None
            and time.monotonic() - call_start > 60 * config.minutes
            and state.epoch < config.epochs
        ):
            return None
    return state


def _rate(step: int, config: DistillationConfig) -> float:
    total = config.epochs * config.steps
    warm = min(1.0, (step + 1) / min(_WARM_UP, max(1, total // 10)))
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))))


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


def _updater(
    learner, optimizer, config: DistillationConfig, category_weights: np.ndarray
) -> Callable[[Batch], np.ndarray]:
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
            pair = pair_loss(tf.concat([generic, semantic], 1) * 0.5**0.5, product, None, _TEMPERATURE)
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


def _start_state(checkpoint: Path, variables: list, config: DistillationConfig) -> StudentState:
    """Where the run stands, the variables as they were then. Raises ConfigError for another run's checkpoint."""
    settings = content_hash(config.model_dump_json(exclude=_NOT_OF_THE_RUN).encode())
    state = read_state(checkpoint, StudentState)
    if state is None:
        return StudentState(settings=settings)
    if state.settings != settings:
        raise ConfigError(
            f"work: {checkpoint.parent} holds a run with other settings; give another folder, or remove that one"
        )
    return restore(checkpoint, variables, StudentState)
