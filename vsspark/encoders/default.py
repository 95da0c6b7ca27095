"""The encoder that ships with the package: a small residual network with two outputs, an embedding and category probabilities computed from it.

Plain 3x3 convolutions rather than depthwise ones: on CPU they train two to four times as many images a second at equal quality per parameter,
and 1.8 million parameters in 16 bits are 3.5 MB. Residual blocks after He et al. 2016 (arXiv:1512.03385), average-pooled shortcuts after
He et al. 2019 (arXiv:1812.01187); the two outputs after the two-headed network of visual search for fashion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

EMBEDDING_DIM = 256
_WIDTHS = (32, 64, 128, 256)  # channels of the four stages, each at half the size of the one before
_ROWS = 4  # bands from top to bottom that are told apart; the last stage has as many rows at 128 pixels
_HEAD_SCALE = 16.0
_BLOCKS = (1, 1, 2, 1)  # residual blocks per stage


def build(num_categories: int, input_size: tuple[int | None, int | None]) -> keras.Model:
    """The network without weights: float RGB 0..255 (n, h, w, 3) -> [embedding (n, 256) of unit norm, category probabilities (n, c)].

    input_size: (h, w) in pixels, each at least 64; None = any, for training. Pixels are scaled inside the network.
    """
    import keras
    from keras import layers, ops

    image = keras.Input((*input_size, 3), name="image")
    x = layers.Rescaling(1 / 64.0, offset=-2.0, name="scale")(image)
    x = _conv(x, _WIDTHS[0], 3, "stem", stride=2)
    x = layers.ReLU(name="stem_relu")(x)
    for stage, (width, blocks) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True), start=1):
        for block in range(1, blocks + 1):
            x = _residual(x, width, f"stage{stage}_block{block}", shrink=block == 1)
    # Averaged along rows only: a garment's top differs from its bottom, while left and right mirror each other.
    x = ops.mean(ops.cast(x, "float32"), axis=2, keepdims=True)
    if x.shape[1] != _ROWS:  # another input size than the shipped one, or any
        x = layers.Resizing(_ROWS, 1, name="rows", dtype="float32")(x)
    x = layers.Flatten(name="pool", dtype="float32")(x)
    x = layers.Dense(EMBEDDING_DIM, name="projection", dtype="float32")(x)
    embedding = layers.UnitNormalization(name="embedding", dtype="float32")(x)
    # A unit vector's logits would start near zero and grow slowly; stretched, the head learns at the same rate as the rest.
    stretched = layers.Rescaling(_HEAD_SCALE, name="stretch", dtype="float32")(embedding)
    category = layers.Dense(num_categories, activation="softmax", name="category", dtype="float32")(stretched)
    return keras.Model(image, [embedding, category], name="default")


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

    x = layers.Conv2D(width, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
