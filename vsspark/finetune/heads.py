"""The heads, fitted on cached features: seconds an epoch, whatever the backbone costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from vsspark.config import ShopTrainingConfig
from vsspark.finetune.features import Features
from vsspark.finetune.fit import PairModel, Progress, fit
from vsspark.finetune.judge import judge_on
from vsspark.finetune.networks import build_heads
from vsspark.finetune.pairs import draw_pairs
from vsspark.finetune.start import start_projection

_SHARES = (0.3, 0.6, 0.1)  # of the embedding's squared length before the first step: categories, products, the backbone's own
_STARTED_ON = 20_000  # views the closed form is solved on, at most


def fit_heads(train: Features, validation: Features, weights: np.ndarray, config: ShopTrainingConfig, folder: Path) -> tuple[keras.Model, Progress]:
    """The heads of the best epoch, and every epoch's figures on the held-out products. weights: (c,) of the categories."""
    keras.utils.set_random_seed(config.seed)
    heads = build_heads(train.views.shape[2], len(weights), config)
    if config.recipe == "transfer":
        # Keras's default rate of .001 would hardly leave the start; 1 is the one of Adadelta's paper (Zeiler 2012, arXiv:1212.5701).
        optimizer = keras.optimizers.Adadelta(1.0)
    else:
        optimizer = keras.optimizers.AdamW(config.learning_rate, weight_decay=1e-3)
        heads.get_layer("projection").set_weights(_start(train, config))
    batch = min(config.batch_size, len(train.product))

    judge = judge_on(heads, validation.views[:, 0], validation.product, validation.category)
    data = partial(feature_pairs, train, batch, config.seed)
    return heads, fit(PairModel(heads, weights, config), optimizer, data, judge, config.epochs, config.patience, folder)


def feature_pairs(features: Features, batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
    """tf.data of ((anchors, positives) float32 (b, d), (product, category)): an epoch of random views of random pairs."""
    count, views, dim = features.views.shape

    def batches() -> Iterator:
        rng = np.random.default_rng([seed, epoch])
        anchor, positive = draw_pairs(features.product, rng)
        one = rng.integers(views, size=count)
        other = (one + rng.integers(1, max(views, 2), size=count)) % views  # of a single picture, another view
        for start in range(0, count - batch_size + 1, batch_size):
            rows = slice(start, start + batch_size)
            pair = tuple(features.views[picture[rows], view[rows]].astype(np.float32) for picture, view in ((anchor, one), (positive, other)))
            yield pair, (features.product[anchor[rows]], features.category[anchor[rows]])

    given = tf.TensorSpec((batch_size, dim), tf.float32)
    labels = (tf.TensorSpec((batch_size,), tf.int64), tf.TensorSpec((batch_size,), tf.int32))
    rows = tf.data.Dataset.from_generator(batches, output_signature=((given, given), labels))
    return rows.apply(tf.data.experimental.assert_cardinality(count // batch_size)).prefetch(2)


def _start(train: Features, config: ShopTrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    count, views, dim = train.views.shape
    step = -(-count * views // _STARTED_ON)
    x = train.views.reshape(-1, dim)[::step].astype(np.float32)
    product, category = (np.repeat(label, views)[::step] for label in (train.product, train.category))
    return start_projection(x, product, category, config.embedding_dim, _SHARES)
