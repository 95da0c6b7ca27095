"""How an encoder does on products it was not fitted on: category head, nearest pictures, calibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vsspark.encoders.parts import colour_histogram
from vsspark.evaluation.calibration import best_temperature, calibration_error
from vsspark.evaluation.measures import nearest_agrees
from vsspark.training.inference import encode, traced
from vsspark.training.networks import Mixture, mixed
from vsspark.training.reader import decode_picture, read_groups
from vsspark.training.views import whole_view

# Pictures judged by, a distance of every one to every other, and what they take in memory.
_AT_MOST, _AT_MOST_BYTES = 4000, 600 * 2**20
_FEW = 20  # pictures whose product has another among the held-out ones: fewer say nothing about products
_ROOTS = (0.0, 0.5, 1.0)  # lengths tried for the roots of the probabilities beside an embedding of length 1
_COLOUR = 0.1  # share of the colours' similarity where the embedding's is 1


class Pictures(NamedTuple):
    """The whole pictures of the validation split, as the finished encoder will see them."""

    pixels: np.ndarray  # (n, side, side, 3) uint8
    product: np.ndarray  # (n,) int64
    category: np.ndarray  # (n,) int32, -1 = none


def validation_pictures(folder: str, side: int) -> Pictures:
    """The first pictures of the validation split, as many as are held at once."""
    most = min(_AT_MOST, _AT_MOST_BYTES // (side * side * 3))
    pixels, product, category = [], [], []
    for group in read_groups(folder, "validation"):
        pixels += [whole_view(decode_picture(data), side) for data in group.picture]
        product.append(group.product)
        category.append(group.category)
        if len(pixels) >= most:
            break
    return Pictures(np.stack(pixels[:most]), np.concatenate(product)[:most], np.concatenate(category)[:most])


def judge_on(network, inputs: np.ndarray, product: np.ndarray, category: np.ndarray) -> Callable[[], dict[str, float]]:
    """A function that gives the network's present figures on these pictures or features."""
    answer = traced(network)
    return lambda: figures_of(*encode(answer, inputs), product, category)


def figures_of(
    embedding: np.ndarray, probabilities: np.ndarray, product: np.ndarray, category: np.ndarray
) -> dict[str, float]:
    """Shares in [0, 1]; "held_out" is the mean of the figures on categories and of those on products, so that a gain in
    one cannot hide a loss in the other.

    top1: the head's; category_at_1, product_at_1: the nearest other picture's, by cosine. What the pictures cannot
    answer is left out.
    """
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    has_category = category >= 0
    figures = {}
    if has_category.any():
        figures["top1"] = float((probabilities[has_category].argmax(1) == category[has_category]).mean())
        figures["category_at_1"] = nearest_agrees(unit[has_category], category[has_category])
    if len(np.unique(product)) < len(product):
        figures["product_at_1"] = nearest_agrees(unit, product)
    figures = {name: value for name, value in figures.items() if np.isfinite(value)}
    about = [
        [figures[name] for name in names if name in figures] for names in (("top1", "category_at_1"), ("product_at_1",))
    ]
    sides = [np.mean(side) for side in about if side]
    return figures | {"held_out": float(np.mean(sides)) if sides else 0.0}


def choose_mixture(
    embedding: np.ndarray, probabilities: np.ndarray, colours: np.ndarray, product: np.ndarray, category: np.ndarray
) -> Mixture:
    """The best mixture on these pictures: colours where products have several pictures, unless they do worse by more
    than chance; then the shortest roots of the probabilities that do no worse than the best, but for chance.

    embedding: (n, e); probabilities: (n, c); colours: (n, 405), see `colour_histogram`. Chance: one standard error of
    the better one's share, of as many pictures as can answer (the rule of Breiman et al. 1984). A few dozen held-out
    pictures would else choose by lot.
    """
    _, index, count = np.unique(product, return_inverse=True, return_counts=True)
    of_several, labelled = int((count[index] > 1).sum()), int((category >= 0).sum())
    answering = min(number for number in (of_several, labelled, len(product)) if number)

    def figure(mixture: Mixture) -> float:
        return figures_of(
            np.asarray(mixed(embedding, probabilities, colours, mixture)), probabilities, product, category
        )["held_out"]

    def chance(share: float) -> float:
        return float(np.sqrt(share * (1 - share) / answering))

    colour = 0.0
    if of_several >= _FEW:
        without = figure(Mixture())
        colour = _COLOUR if figure(Mixture(colour=_COLOUR)) >= without - chance(without) else 0.0
    figures = {length: figure(Mixture(length, colour)) for length in _ROOTS}
    best = max(figures.values())
    return Mixture(min(length for length, value in figures.items() if value >= best - chance(best)), colour)


def features_and_colours(trunk, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(features (n, d), `colour_histogram` (n, 405)) float32 of pictures (n, side, side, 3) uint8."""
    import keras

    rgb = keras.Input(pixels.shape[1:])
    return encode(traced(keras.Model(rgb, [trunk(rgb), colour_histogram(rgb)])), pixels)


def temperature_of(probabilities: np.ndarray, category: np.ndarray) -> float:
    """The temperature that calibrates probabilities on these pictures (Guo et al. 2017, arXiv:1706.04599); 1 where no
    category is known.

    probabilities: (n, c); category: (n,), -1 = none.
    """
    has_category = category >= 0
    return (
        best_temperature(np.log(np.maximum(probabilities[has_category], 1e-12)), category[has_category])
        if has_category.any()
        else 1.0
    )


def set_temperature(head, temperature: float) -> None:
    """Divides what a softmax layer (Dense) computes its probabilities from."""
    head.set_weights([weights / temperature for weights in head.get_weights()])


def judge_finished(
    embedding: np.ndarray, probabilities: np.ndarray, pictures: Pictures
) -> tuple[dict[str, float], np.ndarray]:
    """(figures with the calibration error, confusion (c, c) int64: true by predicted) of a finished encoder on these
    pictures.
    """
    categories = probabilities.shape[1]
    figures = figures_of(embedding, probabilities, pictures.product, pictures.category)
    has_category = pictures.category >= 0
    confusion = np.zeros((categories, categories), np.int64)
    np.add.at(confusion, (pictures.category[has_category], probabilities[has_category].argmax(1)), 1)
    if has_category.any():
        figures["calibration_error"] = calibration_error(probabilities[has_category], pictures.category[has_category])
    return figures, confusion
