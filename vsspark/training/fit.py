"""Fits a network to pairs and categories, with a checkpoint and a judgement behind every epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vsspark.config import TrainingConfig
from vsspark.progress import log
from vsspark.training.checkpoint import FitState, restore, save
from vsspark.training.cluster import Cluster
from vsspark.training.losses import balanced_weights, category_loss, pair_loss

FITTED = "fitted.npz"  # written last: the weights of the best epoch
_SMOOTHING = 0.1  # of the category labels


class Objective(NamedTuple):
    """What a network of two outputs is trained for; see `pair_loss` and `category_loss`."""

    class_weights: np.ndarray  # (c,) of the categories
    config: TrainingConfig

    def loss(self, network: keras.Model, pair, labels):
        """The loss of one batch. pair: (anchors, positives), each (b, ...); labels: product, category and weight,
        each (b,).
        """
        config = self.config
        product, category, weight = (tf.tile(label, [2]) for label in labels)
        embedding, probabilities = network(tf.cast(tf.concat(pair, 0), tf.float32), training=True)
        if config.recipe == "transfer":
            return category_loss(probabilities, category, self.class_weights, 0.0)
        loss = config.category_weight * category_loss(probabilities, category, self.class_weights, _SMOOTHING)
        loss += config.pair_weight * pair_loss(
            embedding, product, weight, config.temperature, (category, config.hard_negatives)
        )
        has_category = tf.cast(category >= 0, tf.float32)
        return loss + config.category_pair_weight * pair_loss(embedding, category, has_category, config.temperature)


def class_weights(counts: np.ndarray, config: TrainingConfig) -> np.ndarray:
    """(c,) float32 of the categories: see `balanced_weights`. The published recipe has no weights.

    counts: (c,) pictures per category.
    """
    return np.ones(len(counts), np.float32) if config.recipe == "transfer" else balanced_weights(counts)


class Training(NamedTuple):
    """A network, what it is trained for and on; in a cluster network and optimizer are made under the strategy's
    scope.
    """

    network: keras.Model
    objective: Objective
    optimizer: keras.optimizers.Optimizer
    data: Callable[[int], tf.data.Dataset]  # epoch -> ((anchors, positives), labels), at least `steps` of them
    steps: int  # per epoch


class Workplace(NamedTuple):
    """Where a fit keeps its checkpoints, and its place among the workers."""

    folder: Path
    cluster: Cluster = Cluster()


def fit(training: Training, judge: Callable[[], dict[str, float]], epochs: int, workplace: Workplace) -> FitState:
    """Trains until `epochs`, or until `config.patience` epochs brought nothing; the network then has the weights of
    its best epoch.

    judge() -> figures, the one to be maximised under "held_out". The folder gets last.npz (the checkpoint), best.npz
    and in the end fitted.npz; a call that finds them goes on. In a cluster the first worker writes.
    """
    network, objective, optimizer, data, steps = training
    folder, cluster = workplace
    optimizer.build(network.trainable_variables)
    variables = [*network.variables, *optimizer.variables]
    final = restore(folder / FITTED, network.variables)
    if final is not None:
        return final
    state = restore(folder / "last.npz", variables)
    if state is None:
        figures = judge()
        state = FitState(best=figures["held_out"], history=[{"epoch": 0} | figures])
        if cluster.first:
            save(folder / "best.npz", network.variables, state)
            save(folder / "last.npz", variables, state)
    step = _step(network, objective, optimizer, cluster.strategy)
    while state.epoch < epochs and state.epoch - state.best_epoch < objective.config.patience:
        losses = _epoch(step, data, state.epoch, steps)
        figures = {"loss": float(np.mean(losses))} | judge()
        state.epoch += 1
        state.history.append({"epoch": state.epoch} | figures)
        better = figures["held_out"] > state.best
        if better:
            state.best, state.best_epoch = figures["held_out"], state.epoch
        if cluster.first:
            if better:
                save(folder / "best.npz", network.variables, state)
            save(folder / "last.npz", variables, state)
        log.info("%-10s %s", "epoch", json.dumps({name: round(value, 4) for name, value in state.history[-1].items()}))
    cluster.await_first((folder / FITTED).exists)
    if cluster.first:
        restore(folder / "best.npz", network.variables)
        save(folder / FITTED, network.variables, state)
    restore(folder / FITTED, network.variables)
    return state


def train(training: Training, epochs: int) -> None:
    """Trains exactly so many epochs, without a judge or a checkpoint."""
    network, objective, optimizer, data, steps = training
    optimizer.build(network.trainable_variables)
    step = _step(network, objective, optimizer, None)
    for epoch in range(epochs):
        _epoch(step, data, epoch, steps)


def _epoch(step: Callable, data: Callable[[int], tf.data.Dataset], epoch: int, steps: int) -> list:
    """The batches' losses."""
    return [step(*batch) for batch in islice(data(epoch), steps)]


def _step(network: keras.Model, objective: Objective, optimizer: keras.optimizers.Optimizer, strategy) -> Callable:
    """step(pair, labels) -> the batch's loss, after one update of the network; over all workers where there are
    several.

    Not Keras's own `fit`: with several workers 3.15 fails to reduce nested batches.
    """
    workers = strategy.num_replicas_in_sync if strategy else 1

    def update(pair, labels):
        with tf.GradientTape() as tape:
            loss = objective.loss(network, pair, labels) / workers  # gradients are summed over the workers
        optimizer.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    @tf.function(reduce_retracing=True)
    def step(pair, labels):
        return (
            strategy.reduce("SUM", strategy.run(update, (pair, labels)), axis=None)
            if strategy
            else update(pair, labels)
        )

    return step
