"""The encoder that ships with the package: a small residual network with two outputs, an embedding and category
probabilities.

The embedding is made of three unit vectors, weighted, side by side: the roots of the category probabilities
(`category`), what the garment looks like (`look`: half what an ImageNet network would see, half where edges of which
direction lie), and which colours it has (`colour`). The last two are sharpened: see parts.py. Edges and colours need
no training and keep what a small network forgets. What the category head itself looks at (`semantic`) is no part: it
has learnt drawn garments best, and finds less on photos than any other.

Plain 3x3 convolutions rather than depthwise ones: on CPU they train two to four times as many images a second at
equal quality per parameter, and 1.9 million parameters in 16 bits are 3.8 MB. Residual blocks after He et al. 2016
(arXiv:1512.03385), average-pooled shortcuts after He et al. 2019 (arXiv:1812.01187); the head after the two-headed
network of visual search for fashion; edges by direction after Dalal and Triggs 2005 (histograms of oriented
gradients).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vsspark.encoders.parts import beside, colour_histogram, sharpened

if TYPE_CHECKING:
    import keras

GENERIC, OUTLINE = 192, 64  # numbers of what an ImageNet network would see, and of where edges lie
SHARPENED = {"look": (768, 0.15), "colour": (256, 0.1)}  # part: (numbers, width), see `sharpened`
WEIGHTS = {"category": 0.4, "look": 1.0, "colour": 0.3}  # of each part's similarity in the embedding's
# Layers, 8 and 4 cells a side at 128 pixels, from which training has the teacher's cells foretold.
HINTS = ("stage3_block2_relu", "stage4_block1_relu")
_WIDTHS = (32, 64, 128, 256)  # channels of the four stages, each at half the size of the one before
_BLOCKS = (1, 1, 2, 1)  # residual blocks per stage
_SEMANTIC = 256  # numbers before the category head
_ROWS = 4  # bands from top to bottom that are told apart; the last stage has as many rows at 128 pixels
_CELLS = 8  # a side, of the outline
_DIRECTIONS = 8  # of edges
_HEAD_SCALE = 16.0


def build(num_categories: int, input_size: tuple[int | None, int | None]) -> keras.Model:
    """The network without weights: float RGB 0..255 (n, h, w, 3) -> [embedding (n, d) of unit norm, category
    probabilities (n, c)].

    d is num_categories more than the sum over SHARPENED. input_size: (h, w) in pixels, each at least 64. Pixels are
    scaled inside the network.
    """
    import keras
    from keras import layers, ops

    image = keras.Input((*input_size, 3), name="image")
    scaled = layers.Rescaling(1 / 64.0, offset=-2.0, name="scale", dtype="float32")(image)
    x = _conv(scaled, _WIDTHS[0], 3, "stem", stride=2)
    x = layers.ReLU(name="stem_relu")(x)
    levels = []
    for stage, (width, blocks) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True), start=1):
        for block in range(1, blocks + 1):
            x = _residual(x, width, f"stage{stage}_block{block}", shrink=block == 1)
            levels += [ops.mean(ops.cast(x, "float32"), axis=(1, 2)), _deviation(ops.cast(x, "float32"))]
    # Averaged along rows only: a garment's top differs from its bottom, while left and right mirror each other.
    x = ops.mean(ops.cast(x, "float32"), axis=2, keepdims=True)
    if x.shape[1] != _ROWS:  # another input size than the shipped one
        x = layers.Resizing(_ROWS, 1, name="rows", dtype="float32")(x)
    x = layers.Flatten(name="pool", dtype="float32")(x)
    semantic = layers.UnitNormalization(name="semantic", dtype="float32")(
        layers.Dense(_SEMANTIC, name="projection", dtype="float32")(x)
    )
    # A unit vector's logits would start near zero and grow slowly; stretched, the head learns at the same rate as the
    # rest.
    stretched = layers.Rescaling(_HEAD_SCALE, name="stretch", dtype="float32")(semantic)
    category = layers.Dense(num_categories, activation="softmax", name="category", dtype="float32")(stretched)
    generic = _unit_part(layers.Concatenate(name="levels", dtype="float32")([x, *levels]), "generic", GENERIC)
    look = beside([generic, _outline(scaled)], [1, 1], "look")
    parts = {
        "category": ops.sqrt(category + 1e-12),
        "look": sharpened(look, *SHARPENED["look"], name="look_waves"),
        "colour": sharpened(colour_histogram(image), *SHARPENED["colour"], name="colour_waves"),
    }
    embedding = beside(list(parts.values()), [WEIGHTS[name] for name in parts], "embedding")
    network = keras.Model(image, [embedding, category], name="default")
    network.get_layer("edges").set_weights([_edge_filters()])
    return network


def _deviation(x):
    """(n, c): the standard deviation over the picture."""
    from keras import ops

    return ops.sqrt(ops.mean(ops.square(x - ops.mean(x, axis=(1, 2), keepdims=True)), axis=(1, 2)) + 1e-6)


def _outline(scaled):
    """(n, d): how strong edges of each direction are in each cell, relative to the cell's others."""
    from keras import layers, ops

    gray = ops.mean(ops.cast(scaled, "float32"), axis=3, keepdims=True)
    edges = layers.Conv2D(_DIRECTIONS, 3, use_bias=False, name="edges", trainable=False, dtype="float32")(gray)
    x = ops.square(ops.cast(edges, "float32"))
    x = ops.square(x) / (ops.sum(x, axis=3, keepdims=True) ** 1.5 + 1e-4)  # sharpens the direction, keeps the strength
    x = _cells(x)
    x = x / (ops.sqrt(ops.sum(ops.square(x), axis=3, keepdims=True)) + 0.05)
    return _unit_part(layers.Flatten(name="outline_cells", dtype="float32")(x), "outline", OUTLINE, trainable=False)


def _cells(x):
    """(n, cells, cells, c): means over areas."""
    from keras import layers

    return layers.AveragePooling2D((x.shape[1] // _CELLS, x.shape[2] // _CELLS), dtype="float32")(x)


def _unit_part(x, name: str, numbers: int, trainable: bool = True):
    from keras import layers

    x = layers.Dense(numbers, name=f"{name}_projection", trainable=trainable, dtype="float32")(x)
    return layers.UnitNormalization(name=name, dtype="float32")(x)


def _edge_filters() -> np.ndarray:
    """(3, 3, 1, directions): Sobel's, turned."""
    angle = np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS
    across = np.outer([1, 2, 1], [-1, 0, 1]) / 8
    return (across[:, :, None] * np.cos(angle) + across.T[:, :, None] * np.sin(angle)).astype(np.float32)[:, :, None]


def _residual(x, width: int, name: str, shrink: bool):
    from keras import layers

    y = _conv(x, width, 3, f"{name}_a", stride=2 if shrink else 1)
    y = layers.ReLU(name=f"{name}_a_relu")(y)
    y = _conv(y, width, 3, f"{name}_b")
    if shrink:
        x = layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x)
        x = _conv(x, width, 1, f"{name}_skip")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _conv(x, width: int, size: int, name: str, stride: int = 1):
    from keras import layers

    x = layers.Conv2D(
        width, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
