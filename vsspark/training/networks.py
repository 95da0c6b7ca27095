"""The parts of a fitted encoder: the trunk (a backbone up to its pooled features), the heads behind it, and the whole
of both.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vsspark.config import TrainingConfig
from vsspark.encoders.backbones import BACKBONES
from vsspark.encoders.model_files import check_weights, load_weights
from vsspark.encoders.parts import beside, colour_histogram, sharpened
from vsspark.errors import ConfigError

if TYPE_CHECKING:
    import keras

_COLOURS, _COLOUR_WIDTH = 256, 0.1  # numbers and width of the colours beside the embedding, see `sharpened`
# Of the unit embedding before the category head: logits of a unit vector could not tell 10 categories apart.
HEAD_SCALE = 16.0


class Mixture(NamedTuple):
    """The parts that are concatenated with the heads' embedding."""

    roots: float = 0.0  # length of the roots of the category probabilities, where the embedding's is 1
    colour: float = 0.0  # share of the colours' similarity, where the embedding's is 1


PLAIN = Mixture()


def check_backbone(config: TrainingConfig) -> None:
    """Raises ConfigError for an unknown network, and for a missing or wrong weights file: checked before hours of work,
    not after.
    """
    if config.backbone not in BACKBONES:
        raise ConfigError(f"training.backbone: got {config.backbone!r}; known are {', '.join(BACKBONES)}")
    if config.weights is None:
        raise ConfigError(
            "training.weights: needed; give the backbone's weights without its top as an HDF5 file, "
            "or imagenet for Keras's own download"
        )
    if config.weights != "imagenet":
        check_weights(config.weights, "training.weights")


def build_backbone(config: TrainingConfig) -> keras.Model:
    """The `keras.applications` network without its top, at `side` pixels, its weights loaded; preprocessing is the
    trunk's.

    Raises what `check_backbone` raises, and ConfigError for weights that do not fit.
    """
    import keras

    check_backbone(config)
    from_file = config.weights != "imagenet"
    builder = getattr(keras.applications, BACKBONES[config.backbone].builder)
    side = config.side if config.pyramid == (1,) else None  # pictures of several sizes go through the one network
    backbone = builder(include_top=False, weights=None if from_file else "imagenet", input_shape=(side, side, 3))
    if from_file:
        load_weights(backbone, Path(config.weights), config.backbone, "training.weights")
    return backbone


def build_trunk(config: TrainingConfig, backbone: keras.Model) -> keras.Model:
    """RGB 0..255 float32 (n, side, side, 3) -> features (n, d): every layer of `feature_layers` averaged over each of
    `bands`, side by side; the mean of those of every size in `pyramid`.

    Each part has unit norm, so that none drowns the others. The published re-training (`transfer`) takes what the
    network says last, as it is.
    """
    import keras

    transfer = config.recipe == "transfer"
    pixels = keras.Input((config.side, config.side, 3), name="rgb")
    prepare = getattr(keras.applications, BACKBONES[config.backbone].module).preprocess_input
    layers = feature_layers(backbone, config.layers or ((backbone.layers[-1].name,) if transfer else None), config.side)
    maps_of = keras.Model(backbone.input, [backbone.get_layer(name).output for name in layers], name=config.backbone)
    sizes = []
    for shrink in config.pyramid:
        smaller = keras.layers.AveragePooling2D(shrink, name=f"by_{shrink}")(pixels) if shrink > 1 else pixels
        maps = maps_of(prepare(smaller))
        maps = maps if isinstance(maps, list | tuple) else [maps]
        bands = [
            band
            for name, part in zip(layers, maps, strict=True)
            for band in _bands(part, config.bands, name, config.side // shrink)
        ]
        parts = [keras.layers.GlobalAveragePooling2D(name=f"pool_{shrink}_{i}")(band) for i, band in enumerate(bands)]
        if not transfer:
            parts = [keras.layers.UnitNormalization(name=f"unit_{shrink}_{i}")(part) for i, part in enumerate(parts)]
        sizes.append(parts[0] if len(parts) == 1 else keras.layers.Concatenate(name=f"features_{shrink}")(parts))
    return keras.Model(
        pixels, sizes[0] if len(sizes) == 1 else keras.layers.Average(name="features")(sizes), name="trunk"
    )


def _bands(part: keras.KerasTensor, bands: int, layer: str, side: int) -> list[keras.KerasTensor]:
    """A layer's map (n, h, w, c) cut across into bands of h / bands rows each, top to bottom. Raises ConfigError
    where it has fewer rows.
    """
    import keras

    height = part.shape[1]
    if bands > height:
        raise ConfigError(
            f"training.bands: got {bands}, the map of {layer} has {height} rows at {side} pixels; "
            "give fewer bands or more pixels"
        )
    edges = [height * i // bands for i in range(bands + 1)]
    return [keras.layers.Cropping2D(((top, height - end), (0, 0)))(part) for top, end in pairwise(edges)]


def feature_layers(backbone: keras.Model, names: tuple[str, ...] | None, side: int) -> list[str]:
    """The layers whose outputs are the features, of pictures of that side; None = the last one, and the last sum of
    each of the two coarsest resolutions.

    What a network says last names the object; where residual networks add up what they know, cut, pattern and
    stitching are still told apart. A resolution without sums gives its last layer. Raises ConfigError for a layer
    without a map, listing those that have one.
    """
    maps = {layer.name: layer for layer in backbone.layers if len(getattr(layer.output, "shape", ())) == 4}
    if names is not None:
        missing = [name for name in names if name not in maps]
        if missing:
            raise ConfigError(f"training.layers: {backbone.name} has no map {missing[0]!r}; it has {', '.join(maps)}")
        return list(names)
    import keras

    # A backbone for pictures of several sizes does not know how high its maps are before it is given one.
    outputs = keras.Model(backbone.input, [layer.output for layer in maps.values()])(keras.Input((side, side, 3)))
    height = {name: part.shape[1] for name, part in zip(maps, outputs, strict=True)}
    last = list(maps)[-1]
    layers = [last]
    for rows in sorted({rows for rows in height.values() if rows >= height[last]})[:2]:
        candidates = [name for name in maps if height[name] == rows]
        layers.append(([name for name in candidates if type(maps[name]).__name__ == "Add"] or candidates)[-1])
    return list(dict.fromkeys(layers))


def build_heads(features: int, categories: int, config: TrainingConfig) -> keras.Model:
    """Features (n, d) -> [embedding (n, e) of unit norm, category probabilities (n, c) computed from it].

    recipe transfer: the embedding is fc1, 4096 wide and not normalised, as in the published re-training.
    """
    import keras
    from keras import layers

    features_in = keras.Input((features,), name="features")
    if config.recipe == "transfer":
        embedding = layers.Dense(4096, activation="relu", name="fc1")(features_in)
        probabilities = layers.Dense(categories, activation="softmax", name="category")(embedding)
    else:
        embedding = layers.UnitNormalization(name="embedding")(
            layers.Dense(config.embedding_dim, name="projection")(features_in)
        )
        probabilities = layers.Dense(categories, activation="softmax", name="category")(
            layers.Rescaling(HEAD_SCALE, name="stretch")(embedding)
        )
    return keras.Model(features_in, [embedding, probabilities], name="heads")


def with_mirror_image(trunk: keras.Model, flip: bool) -> keras.Model:
    """RGB 0..255 (n, side, side, 3) -> features; flip: the mean of a picture's and its mirror image's."""
    import keras

    if not flip:
        return trunk
    pixels = keras.Input(trunk.input_shape[1:], name="rgb")
    both = [trunk(pixels), trunk(keras.ops.flip(pixels, axis=2))]
    return keras.Model(pixels, keras.layers.Average(name="both_sides")(both), name="trunk_of_both_sides")


def build_encoder(trunk: keras.Model, heads: keras.Model, flip: bool, mixture: Mixture = PLAIN) -> keras.Model:
    """RGB 0..255 (n, side, side, 3) -> [embedding, probabilities], the embedding as `mixed` makes it; flip: see
    `with_mirror_image`.
    """
    import keras

    pixels = keras.Input(trunk.input_shape[1:], name="rgb")
    embedding, probabilities = heads(with_mirror_image(trunk, flip)(pixels))
    return keras.Model(
        pixels,
        [mixed(embedding, probabilities, colour_histogram(pixels) if mixture.colour else None, mixture), probabilities],
        name="vsspark_encoder",
    )


def mixed(
    embedding: keras.KerasTensor, probabilities: keras.KerasTensor, colours: keras.KerasTensor | None, mixture: Mixture
) -> keras.KerasTensor:
    """(n, d) of unit norm: the embedding and what the mixture has beside it. colours: see `colour_histogram`; None
    where the mixture has none.
    """
    import keras

    parts, weights = [embedding], [1.0]
    if mixture.colour:
        parts.append(sharpened(colours, _COLOURS, _COLOUR_WIDTH, "colours"))
        weights.append(mixture.colour)
    if mixture.roots:
        parts.append(keras.ops.sqrt(probabilities))
        weights.append(mixture.roots**2)
    return embedding if len(parts) == 1 else beside(parts, weights, "whole_embedding")
