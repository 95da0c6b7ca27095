"""The heads, fitted on cached features: seconds an epoch, whatever the backbone costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vsspark.blocks.head import Head, Sample, fit_softmax_head
from vsspark.config import TrainingConfig
from vsspark.progress import log
from vsspark.training.checkpoint import FitState
from vsspark.training.features import Features
from vsspark.training.fit import Objective, Training, Workplace, fit, train
from vsspark.training.inference import encode, traced
from vsspark.training.judge import figures_of, judge_on
from vsspark.training.networks import HEAD_SCALE, build_heads
from vsspark.training.pairs import draw_pairs, pair_weights
from vsspark.training.start import discriminant_parts, once_each, weigh_parts

# Of the embedding's squared length before the first step: categories, products, the backbone's own. Which is best the
# held-out products say.
_SHARES = ((0.1, 0.88, 0.02), (0.3, 0.68, 0.02), (0.6, 0.38, 0.02), (0.9, 0.08, 0.02))
_SHARES_FILE = "shares.json"
_ENOUGH, _FOLDS = 400, 4  # held-out pictures that choose alone; parts that are left out in turns where there are fewer
_START_VIEWS = 20_000  # views the closed form is solved on, at most


def fit_heads(
    features: Features, validation: Features, weights: np.ndarray, config: TrainingConfig, folder: Path
) -> tuple[keras.Model, FitState]:
    """The heads of the best epoch, and every epoch's figures on the held-out products. weights: (c,) of the
    categories.
    """
    heads = _new_heads(features, weights, config)
    if config.recipe == "two_headed" and not ((folder / "last.npz").exists() and (folder / _SHARES_FILE).exists()):
        _start(heads, features, validation, config, folder)
    judge = judge_on(heads, validation.views[:, 0], validation.product, validation.category)
    training = Training(heads, Objective(weights, config), _optimizer(config), *_data(features, config))
    return heads, fit(training, judge, config.epochs, Workplace(folder))


def refit_heads(
    everything: Features, weights: np.ndarray, config: TrainingConfig, folder: Path, epochs: int
) -> keras.Model:
    """The heads fitted again, on the held-out products too: in a small shop every product counts.

    folder, epochs: of the `fit_heads` before, whose shares and best epoch these heads take.
    """
    heads = _new_heads(everything, weights, config)
    if config.recipe == "two_headed":
        start = _closed_form(everything, config)
        _set_start(
            heads, traced(heads), start, tuple(json.loads((folder / _SHARES_FILE).read_text(encoding="utf-8"))), config
        )
    log.info(
        "%-10s heads once more, %d epochs, on the held-out products too: %d pictures",
        "last",
        epochs,
        len(everything.product),
    )
    train(Training(heads, Objective(weights, config), _optimizer(config), *_data(everything, config)), epochs)
    return heads


def _new_heads(features: Features, weights: np.ndarray, config: TrainingConfig) -> keras.Model:
    keras.utils.set_random_seed(config.seed)
    return build_heads(features.views.shape[2], len(weights), config)


def _optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    if config.recipe == "transfer":
        # Keras's default rate of .001 would hardly leave the start; 1 is the one of Adadelta's paper (Zeiler 2012,
        # arXiv:1212.5701).
        return keras.optimizers.Adadelta(1.0)
    return keras.optimizers.AdamW(config.learning_rate, weight_decay=1e-3)


def _data(features: Features, config: TrainingConfig) -> tuple[partial, int]:
    """(an epoch's pairs by its number, its steps)."""
    batch = min(config.batch_size, len(features.product))
    return partial(feature_pairs, features, batch, config.seed), len(features.product) // batch


def feature_pairs(features: Features, batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
    """tf.data of ((anchors, positives) float32 (b, d), (product, category, weight)): an epoch of random views of
    random pairs.
    """
    count, views, dim = features.views.shape

    def batches() -> Iterator:
        rng = np.random.default_rng([seed, epoch])
        anchor, positive = draw_pairs(features.product, rng)
        one = rng.integers(views, size=count)
        other = (one + rng.integers(1, max(views, 2), size=count)) % views  # of a single picture, another view
        for start in range(0, count - batch_size + 1, batch_size):
            rows = slice(start, start + batch_size)
            pair = tuple(
                features.views[picture[rows], view[rows]].astype(np.float32)
                for picture, view in ((anchor, one), (positive, other))
            )
            yield (
                pair,
                (
                    features.product[anchor[rows]],
                    features.category[anchor[rows]],
                    pair_weights(anchor[rows], positive[rows]),
                ),
            )

    rows = tf.TensorSpec((batch_size, dim), tf.float32)
    labels = (
        tf.TensorSpec((batch_size,), tf.int64),
        tf.TensorSpec((batch_size,), tf.int32),
        tf.TensorSpec((batch_size,), tf.float32),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=((rows, rows), labels)).prefetch(2)


class _ClosedForm(NamedTuple):
    """The closed form's parts, before the shares."""

    x: np.ndarray  # (n, d) views
    product: np.ndarray  # (n,)
    category: np.ndarray  # (n,), -1 = none
    parts: list[np.ndarray]  # directions, see `discriminant_parts`


def _closed_form(features: Features, config: TrainingConfig) -> _ClosedForm:
    count, views, dim = features.views.shape
    rows = np.sort(np.random.default_rng(config.seed).permutation(count * views)[:_START_VIEWS])
    x = features.views.reshape(-1, dim)[rows].astype(np.float32)
    product, category = features.product[rows // views], features.category[rows // views]
    weight = once_each(features.views[:, 0], features.product)[rows // views]
    # The whole picture, which is searched, as much as its parts together.
    weight = weight * np.where(rows % views == 0, max(views - 1, 1), 1)
    return _ClosedForm(x, product, category, discriminant_parts(x, product, category, config.embedding_dim, weight))


def _set_start(
    heads: keras.Model, answer: Callable, start: _ClosedForm, shares: tuple[float, ...], config: TrainingConfig
) -> None:
    """Sets the heads to the closed form with these shares, and the category layer to the softmax regression on its
    embeddings. answer: the heads, `traced`.
    """
    heads.get_layer("projection").set_weights(weigh_parts(start.x, start.parts, shares, config.embedding_dim))
    embedding = encode(answer, start.x)[0]
    has_category = start.category >= 0
    head = fit_softmax_head(
        Sample(embedding[has_category], start.category[has_category].astype(str), start.product[has_category]),
        0.0,
        config.seed,
    )
    heads.get_layer("category").set_weights(_by_index(head, heads.output_shape[1][1]))


def _start(heads: keras.Model, train: Features, validation: Features, config: TrainingConfig, folder: Path) -> None:
    """Sets the heads to the closed form in the shares that do best on held-out products, and writes the shares to the
    folder.

    A few dozen held-out pictures would choose by lot: where there are not many, parts of the products learnt from are
    left out in turns too.
    """
    answer, figures, pictures = traced(heads), np.zeros(len(_SHARES)), 0
    of_all = _closed_form(train, config)
    for seen, unseen in _folds(train, validation, config.seed):
        start = of_all if seen is train else _closed_form(seen, config)
        pictures += len(unseen.product)
        for i, shares in enumerate(_SHARES):
            _set_start(heads, answer, start, shares, config)
            figures[i] += figures_of(*encode(answer, unseen.views[:, 0]), unseen.product, unseen.category)[
                "held_out"
            ] * len(unseen.product)
    log.info("%-10s shares %s", "start", dict(zip(_SHARES, (figures / pictures).round(3).tolist(), strict=True)))
    best = _SHARES[int(figures.argmax())]
    folder.mkdir(parents=True, exist_ok=True)
    partial_file = folder / f"{_SHARES_FILE}.partial"
    partial_file.write_text(json.dumps(best), encoding="utf-8")
    partial_file.replace(folder / _SHARES_FILE)
    _set_start(heads, answer, of_all, best, config)


def _folds(train: Features, validation: Features, seed: int) -> Iterator[tuple[Features, Features]]:
    """(seen, unseen) by whole products: the split itself, and where few pictures are held out, the parts of `train`
    in turns; one copy at a time.
    """
    yield train, validation
    if len(validation.product) >= _ENOUGH:
        return
    names, index = np.unique(train.product, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(names)) % _FOLDS)[index]
    for each in range(_FOLDS):
        out = fold == each
        # A handful of products has parts that nothing can be learnt without.
        if out.any() and (~out).any() and (train.category[~out] >= 0).any():
            yield train.rows(~out), train.rows(np.flatnonzero(out)[:_ENOUGH])


def _by_index(head: Head, categories: int) -> list[np.ndarray]:
    """Kernel and bias of the category layer; a category without pictures is never predicted."""
    kernel, bias = np.zeros((len(head.weights), categories), np.float32), np.full(categories, -20.0, np.float32)
    columns = [int(name) for name in head.categories]
    kernel[:, columns], bias[columns] = head.weights / HEAD_SCALE, head.bias
    return [kernel, bias]
