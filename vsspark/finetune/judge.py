"""How an encoder does on products it was not fitted on: category head, nearest pictures, calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vsspark.finetune.reader import decode_picture, read_groups
from vsspark.training.measure import best_temperature, calibration_error, nearest_agrees
from vsspark.training.views import whole_view

_AT_MOST = 4000  # pictures judged by: 600 MB at 224 pixels, and a distance of every one to every other
_BATCH = 32
_ROOTS = (0.0, 0.5, 1.0)  # lengths tried for the roots of the probabilities beside an embedding of length 1


class Pictures(NamedTuple):
    """The whole pictures of the validation split, as the finished encoder will see them."""

    pixels: np.ndarray  # (n, side, side, 3) uint8
    product: np.ndarray  # (n,) int64
    category: np.ndarray  # (n,) int32, -1 = none


def validation_pictures(folder: str, side: int) -> Pictures:
    """The first 4,000 pictures of the validation split."""
    pixels, product, category = [], [], []
    for group in read_groups(folder, "validation"):
        pixels += [whole_view(decode_picture(data), side) for data in group.picture]
        product.append(group.product)
        category.append(group.category)
        if len(pixels) >= _AT_MOST:
            break
    return Pictures(np.stack(pixels[:_AT_MOST]), np.concatenate(product)[:_AT_MOST], np.concatenate(category)[:_AT_MOST])


def traced(network) -> Callable:
    """The network as one TensorFlow function, for `encode`: traced when it first runs, and not for every epoch again."""
    import tensorflow as tf

    return tf.function(lambda given: network(given, training=False), reduce_retracing=True)


def encode(answer: Callable, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings (n, e), probabilities (n, c)) float32. answer: a `traced` network; given: (n, ...) as it takes them, any dtype."""
    parts = [answer(given[start : start + _BATCH].astype(np.float32)) for start in range(0, len(given), _BATCH)]
    return tuple(np.concatenate([part[i].numpy() for part in parts]) for i in (0, 1))


def judge_on(network, given: np.ndarray, product: np.ndarray, category: np.ndarray) -> Callable[[], dict[str, float]]:
    """A function that gives the network's present figures on these pictures or features."""
    answer = traced(network)
    return lambda: figures_of(*encode(answer, given), product, category)


def figures_of(embedding: np.ndarray, probabilities: np.ndarray, product: np.ndarray, category: np.ndarray) -> dict[str, float]:
    """Shares in [0, 1]; "held_out" is the mean of what is said of categories and what is said of products: neither can be bought with the other.

    top1: the head's; category_at_1, product_at_1: the nearest other picture's, by cosine. What the pictures cannot answer is left out.
    """
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    known = category >= 0
    found = {}
    if known.any():
        found["top1"] = float((probabilities[known].argmax(1) == category[known]).mean())
        found["category_at_1"] = nearest_agrees(unit[known], category[known])
    if len(np.unique(product)) < len(product):
        found["product_at_1"] = nearest_agrees(unit, product)
    found = {name: value for name, value in found.items() if np.isfinite(value)}
    about = [[found[name] for name in names if name in found] for names in (("top1", "category_at_1"), ("product_at_1",))]
    sides = [np.mean(figures) for figures in about if figures]
    return found | {"held_out": float(np.mean(sides)) if sides else 0.0}


def weigh_roots(embedding: np.ndarray, probabilities: np.ndarray, product: np.ndarray, category: np.ndarray) -> float:
    """The shortest length of the roots of the probabilities (see `networks.join`) that does no worse on these pictures than the best, but for chance.

    Chance: one standard error of the best one's share (the rule of Breiman et al. 1984). A few dozen held-out pictures would else choose by lot.
    """
    roots = np.sqrt(np.maximum(probabilities, 0))
    found = {length: figures_of(np.hstack([embedding, length * roots]), probabilities, product, category)["held_out"] for length in _ROOTS}
    best = max(found.values())
    return min(length for length, figure in found.items() if figure >= best - np.sqrt(best * (1 - best) / len(product)))


def temperature_of(probabilities: np.ndarray, category: np.ndarray) -> float:
    """The temperature at which probabilities mean what they say on these pictures (Guo et al. 2017, arXiv:1706.04599); 1 where no category is known.

    probabilities: (n, c); category: (n,), -1 = none.
    """
    known = category >= 0
    return best_temperature(np.log(np.maximum(probabilities[known], 1e-12)), category[known]) if known.any() else 1.0


def set_temperature(head, temperature: float) -> None:
    """Divides what a softmax layer (Dense) computes its probabilities from."""
    head.set_weights([weights / temperature for weights in head.get_weights()])


def judge_finished(network, pictures: Pictures, categories: int) -> tuple[dict[str, float], np.ndarray]:
    """(figures with the calibration error, confusion (c, c) int64: true by predicted) of a finished encoder."""
    embedding, probabilities = encode(traced(network), pictures.pixels)
    figures = figures_of(embedding, probabilities, pictures.product, pictures.category)
    known = pictures.category >= 0
    confusion = np.zeros((categories, categories), np.int64)
    np.add.at(confusion, (pictures.category[known], probabilities[known].argmax(1)), 1)
    if known.any():
        figures["calibration_error"] = calibration_error(probabilities[known], pictures.category[known])
    return figures, confusion
