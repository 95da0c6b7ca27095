"""Fits a network to pairs and categories, with a checkpoint and a judgement behind every epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vsspark.config import ShopTrainingConfig
from vsspark.progress import log
from vsspark.training.cluster import Cluster

FITTED = "fitted.npz"  # written last: the weights of the best epoch
_SMOOTHING = 0.1  # of the category labels


class Objective(NamedTuple):
    """What a network of two outputs is trained for; see `pair_loss` and `category_loss`."""

    class_weights: np.ndarray  # (c,) of the categories
    config: ShopTrainingConfig

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
            embedding, product, weight, config.temperature, category, config.hard_negatives
        )
        known = tf.cast(category >= 0, tf.float32)
        return loss + config.category_pair_weight * pair_loss(embedding, category, known, config.temperature)


def pair_loss(embedding, label, weight, temperature: float, category=None, hard_negatives: float = 1.0):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, eq. 2): the rows of a label against all
    others in the batch.

    embedding: (n, e) of unit norm; label: (n,); weight: (n,) of each row in the mean. With `category`, (n,), -1 =
    none, a row of another label and the same category counts `hard_negatives` times, as hard negatives do in Robinson
    et al. 2021 (arXiv:2010.04592).
    """
    itself = tf.eye(tf.shape(label)[0])
    same = tf.cast(label[:, None] == label[None, :], tf.float32) - itself
    logits = tf.matmul(embedding, embedding, transpose_b=True) / temperature - 1e9 * itself
    counted = logits
    if category is not None:
        akin = (category[:, None] == category[None, :]) & (category[:, None] >= 0) & (label[:, None] != label[None, :])
        counted += tf.cast(akin, tf.float32) * math.log(hard_negatives)
    log_share = logits - tf.reduce_logsumexp(counted, 1, keepdims=True)
    per_row = -tf.reduce_sum(same * log_share, 1) / tf.maximum(tf.reduce_sum(same, 1), 1.0)
    return tf.reduce_sum(per_row * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)


def category_loss(probabilities, category, class_weights, smoothing: float):
    """Cross-entropy of smoothed labels (Szegedy et al. 2016, arXiv:1512.00567), rare classes weighted up; rows
    without a category count nothing.
    """
    known = tf.cast(category >= 0, tf.float32)
    index = tf.maximum(category, 0)
    classes = tf.shape(probabilities)[1]
    target = (1 - smoothing) * tf.one_hot(index, classes) + smoothing / tf.cast(classes, tf.float32)
    per_row = (
        -tf.reduce_sum(target * tf.math.log(tf.maximum(probabilities, 1e-7)), 1)
        * tf.gather(class_weights, index)
        * known
    )
    return tf.reduce_sum(per_row) / tf.maximum(tf.reduce_sum(known), 1.0)


def class_weights(counts: np.ndarray, config: ShopTrainingConfig) -> np.ndarray:
    """(c,) float32: rare categories count more, by the root of how rare they are; 1 on average over the pictures. The
    published recipe has no weights.

    counts: (c,) pictures per category.
    """
    if config.recipe == "transfer":
        return np.ones(len(counts), np.float32)
    counts = np.maximum(counts, 1)
    weights = 1 / np.sqrt(counts)
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


@dataclass
class Progress:
    """Where a fit stands; written beside each checkpoint."""

    epoch: int = 0  # finished
    best: float = -math.inf  # the best held-out figure; the start's own counts
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: keras.Model,
    objective: Objective,
    optimizer: keras.optimizers.Optimizer,
    data: Callable[[int], tf.data.Dataset],
    steps: int,
    judge: Callable[[], dict[str, float]],
    epochs: int,
    folder: Path,
    cluster: Cluster = Cluster(),  # noqa: B008 - frozen
) -> Progress:
    """Trains until `epochs`, or until `config.patience` epochs brought nothing; the network then has the weights of
    its best epoch.

    data(epoch) -> ((anchors, positives), labels), at least `steps` of them; judge() -> figures, the one to be
    maximised under "held_out". `folder` keeps last.npz (the checkpoint), best.npz and in the end fitted.npz; a call
    that finds them goes on. In a cluster the network and the optimizer are made under the strategy's scope, and the
    first worker writes.
    """
    optimizer.build(network.trainable_variables)
    variables = [*network.variables, *optimizer.variables]
    finished = restore(folder / FITTED, network.variables)
    if finished is not None:
        return finished
    progress = restore(folder / "last.npz", variables)
    if progress is None:
        figures = judge()
        progress = Progress(best=figures["held_out"], history=[{"epoch": 0} | figures])
        if cluster.first:
            _save(folder / "best.npz", network.variables, progress)
            _save(folder / "last.npz", variables, progress)
    step = _step(network, objective, optimizer, cluster.strategy)
    while progress.epoch < epochs and progress.epoch - progress.best_epoch < objective.config.patience:
        losses = _epoch(step, data, progress.epoch, steps)
        figures = {"loss": float(np.mean(losses))} | judge()
        progress.epoch += 1
        progress.history.append({"epoch": progress.epoch} | figures)
        better = figures["held_out"] > progress.best
        if better:
            progress.best, progress.best_epoch = figures["held_out"], progress.epoch
        if cluster.first:
            if better:
                _save(folder / "best.npz", network.variables, progress)
            _save(folder / "last.npz", variables, progress)
        log.info(
            "%-10s %s", "epoch", json.dumps({name: round(value, 4) for name, value in progress.history[-1].items()})
        )
    cluster.await_first((folder / FITTED).exists)
    if cluster.first:
        restore(folder / "best.npz", network.variables)
        _save(folder / FITTED, network.variables, progress)
    restore(folder / FITTED, network.variables)
    return progress


def train_unjudged(
    network: keras.Model,
    objective: Objective,
    optimizer: keras.optimizers.Optimizer,
    data: Callable[[int], tf.data.Dataset],
    steps: int,
    epochs: int,
) -> None:
    """Exactly so many epochs, without a judge or a checkpoint; data and steps as in `fit`."""
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


def _save(file: Path, variables: list, progress: Progress) -> None:
    """One file, moved into place when it is whole: a kill leaves the checkpoint before it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as out:
        np.savez(
            out,
            progress=json.dumps(asdict(progress)),
            **{f"v{i}": np.asarray(variable) for i, variable in enumerate(variables)},
        )
    partial.replace(file)


def restore(file: Path, variables: list) -> Progress | None:
    """Sets the variables from a checkpoint and returns where it stood; None, and nothing set, where there is none."""
    if not file.exists():
        return None
    with np.load(file) as saved:
        for i, variable in enumerate(variables):
            variable.assign(saved[f"v{i}"])
        return Progress(**json.loads(str(saved["progress"])))
