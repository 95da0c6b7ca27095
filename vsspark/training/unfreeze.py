"""The backbone's last layers, fitted with the heads on pictures that stream from the training set, on one worker or
several.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from vsspark.training.checkpoint import FitState
from vsspark.training.fit import Objective, Training, Workplace, fit
from vsspark.training.reader import check_shares, pair_dataset

if TYPE_CHECKING:
    from vsspark.training.training_set import TrainingSet


def unfreeze(backbone: keras.Model, layers: int) -> None:
    """Makes the last `layers` of the backbone trainable and freezes the others; batch normalisations stay frozen."""
    for layer in backbone.layers:
        layer.trainable = False
    for layer in backbone.layers[len(backbone.layers) - layers :]:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


def fit_unfrozen(
    network: keras.Model,
    objective: Objective,
    training_set: TrainingSet,
    judge: Callable[[], dict[str, float]],
    workplace: Workplace,
) -> FitState:
    """Trains whatever is trainable in the network, the backbone's last layers and the heads, at `unfrozen_rate` of
    the heads' rate.

    network: RGB to [embedding, probabilities], built under the cluster's scope; judge: of the same weights as they
    will be used. Every worker reads its own share of the row groups. Raises ConfigError where one would have none.
    """
    config, cluster = objective.config, workplace.cluster
    strategy = cluster.strategy
    workers = strategy.num_replicas_in_sync if strategy else 1
    check_shares(training_set.folder, max(1, len(cluster.addresses)))
    pictures = training_set.pictures["train"]
    batch = min(config.batch_size, pictures // workers)

    def data(epoch: int) -> tf.data.Dataset:
        def share(context=None) -> tf.data.Dataset:
            shard = (context.input_pipeline_id, context.num_input_pipelines) if context else (0, 1)
            return pair_dataset(training_set.folder, config, batch, epoch, shard)

        return strategy.distribute_datasets_from_function(share) if strategy else share()

    with strategy.scope() if strategy else contextlib.nullcontext():
        optimizer = keras.optimizers.Adam(config.learning_rate * config.unfrozen_rate)
        steps = max(1, pictures // (batch * workers))
        return fit(Training(network, objective, optimizer, data, steps), judge, config.unfrozen_epochs, workplace)
