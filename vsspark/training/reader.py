"""The training set through Petastorm's readers into tf.data: plain pictures in order, or pairs of views in random
order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import cv2
import numpy as np

from vsspark.training import legacy_arrow  # noqa: F401 - before petastorm

# isort: split
from petastorm import make_batch_reader
from petastorm.errors import NoDataAvailableError

from vsspark.config import TrainingConfig
from vsspark.errors import ConfigError
from vsspark.images.foreground import find_foreground
from vsspark.training.pairs import draw_pairs, pair_weights
from vsspark.training.views import before_another, random_view, whole_view

LEAST_AREA = 0.1  # of a picture, in a random view: shops show products close up
_SHUFFLE = 2048  # pairs held, still as JPEG, while they wait for their turn


class Group(NamedTuple):
    """Pictures that were read together; arrays of n rows."""

    image_id: np.ndarray  # int64
    product: np.ndarray  # int64
    category: np.ndarray  # int32, -1 = none
    picture: np.ndarray  # JPEG bytes


def read_groups(folder: str, split: str, seed: int | None = None, shard: tuple[int, int] = (0, 1)) -> Iterator[Group]:
    """The rows of one split, a row group at a time.

    seed: the order of the row groups; None = as they are stored. shard: (which, of how many); every row is in exactly
    one of them.
    """
    with warnings.catch_warnings():
        # It would have its own row reader decode pictures; ours are decoded further down, in parallel.
        warnings.simplefilter("ignore")
        reader = make_batch_reader(
            f"file://{folder}",
            schema_fields=[*Group._fields, "split"],
            # Its thread pool did not come back from join() when an epoch left a reader before its end; tf.data reads
            # ahead in a thread of its own.
            reader_pool_type="dummy",
            shuffle_row_groups=seed is not None,
            seed=seed,
            cur_shard=shard[0] if shard[1] > 1 else None,
            shard_count=shard[1] if shard[1] > 1 else None,
            num_epochs=1,
        )
    try:
        for group in reader:
            # Not by a predicate of Petastorm's: it sends the rows through a data frame with holes, which rounds
            # 64-bit ids to doubles.
            of_split = group.split == split
            if of_split.any():
                yield Group(*(getattr(group, name)[of_split] for name in Group._fields))
    finally:  # a `with` would do the same and print a line about a cache that is not used
        reader.stop()
        reader.join()


def check_shares(folder: str, workers: int) -> None:
    """Raises ConfigError where one of several workers would have no pictures: in every worker, so that none waits for
    the others.
    """
    for worker in range(workers):
        try:
            if next(read_groups(folder, "train", shard=(worker, workers)), None) is None:
                raise ConfigError(
                    f"TF_CONFIG: {workers} workers, but all pictures of {folder} "
                    f"that worker {worker} would read are held out; start fewer"
                )
        except NoDataAvailableError:
            raise ConfigError(
                f"TF_CONFIG: {workers} workers, but {folder} has fewer row groups than that; "
                "start fewer, or give another training.path"
            ) from None


def pair_dataset(folder: str, config: TrainingConfig, batch_size: int, epoch: int, shard: tuple[int, int] = (0, 1)):
    """tf.data of ((anchors, positives) uint8 (b, side, side, 3), (product, category, weight), each (b,)): the train
    split, again and again.

    Every picture is an anchor once before any is twice; see `draw_pairs`. Views depend on config.seed, epoch and
    picture alone, not on who reads first; config.backgrounds of them are laid before another background.
    """
    import tensorflow as tf

    side, seed = config.side, config.seed

    def groups():
        rng = np.random.default_rng([seed, epoch, shard[0]])
        for group in read_groups(folder, "train", int(rng.integers(1, 2**31)), shard):
            anchor, positive = draw_pairs(group.product, rng)
            weight = pair_weights(anchor, positive)
            yield (
                group.picture[anchor],
                group.picture[positive],
                group.image_id[anchor],
                group.product[anchor],
                group.category[anchor],
                weight,
            )

    def views(anchor, positive, image_id, *labels):
        two = tf.numpy_function(
            lambda a, p, i: np.stack(_two_views(a, p, int(i), config, epoch)), [anchor, positive, image_id], tf.uint8
        )
        two = tf.ensure_shape(two, (2, side, side, 3))
        return (two[0], two[1]), labels

    signature = [
        tf.TensorSpec((None,), kind) for kind in (tf.string, tf.string, tf.int64, tf.int64, tf.int32, tf.float32)
    ]
    rows = tf.data.Dataset.from_generator(groups, output_signature=tuple(signature)).unbatch()
    rows = rows.shuffle(_SHUFFLE, seed=seed + epoch).map(views, num_parallel_calls=config.threads)
    return rows.repeat().batch(batch_size, drop_remainder=True).prefetch(2)


def decode_picture(data: bytes) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a picture of the training set."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def picture_views(data: bytes, image_id: int, views: int, config: TrainingConfig) -> np.ndarray:
    """(views, side, side, 3) uint8: the whole picture, then random views of it, the same in every run;
    config.backgrounds of those before another background.
    """
    picture = np.ascontiguousarray(decode_picture(data))
    foreground = cache(lambda: find_foreground(picture))
    chance = (np.random.default_rng([config.seed, image_id, view]) for view in range(1, views))
    return np.stack(
        [whole_view(picture, config.side)] + [_random_view(picture, foreground, config, rng) for rng in chance]
    )


def _random_view(
    picture: np.ndarray,
    foreground: Callable[[], np.ndarray | None],
    config: TrainingConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    if config.backgrounds and rng.random() < config.backgrounds and (mask := foreground()) is not None:
        picture = before_another(picture, mask, rng)
    return random_view(picture, config.side, rng, LEAST_AREA)


def _two_views(
    anchor: bytes, positive: bytes, image_id: int, config: TrainingConfig, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([config.seed, epoch, image_id])
    pictures = [np.ascontiguousarray(decode_picture(data)) for data in (anchor, positive)]
    return tuple(_random_view(picture, partial(find_foreground, picture), config, rng) for picture in pictures)
