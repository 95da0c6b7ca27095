"""What embeddings are put together from: parts that stand side by side, so that a cosine is the weighted mean of the
parts' own similarities.

A mean of plain cosines calls two pictures alike that are somewhat alike in everything. A sharpened part counts only
where it is nearly equal: the same garment in another pose is then found by its colour, and in another colour by its
shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

_LIGHTNESS, _HUES = 5, 9  # bins of a histogram of Lab: of L, and of a and b each
_HUE_RANGE = 50.0  # of a and b, either side of grey; what is more colourful counts into the last bin
_PAPER = (93.0, 4.0)  # lighter, and nearer to grey: a studio's background, which says nothing of the product
_SIDE = 32  # pixels a side, about, that colours are counted on
_D65 = np.array([0.950456, 1.0, 1.088754], np.float32)
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32
)


def beside(parts: Sequence[keras.KerasTensor], weights: Sequence[float], name: str) -> keras.KerasTensor:
    """(n, sum of d) of unit norm: the parts, (n, d) of unit norm each, in shares of the cosine that are as the
    weights.
    """
    from keras import layers, ops

    scaled = [part * float(weight) ** 0.5 for part, weight in zip(parts, weights, strict=True)]
    return layers.UnitNormalization(name=name, dtype="float32")(ops.concatenate(scaled, axis=1))


def sharpened(x: keras.KerasTensor, numbers: int, width: float, name: str, seed: int = 1) -> keras.KerasTensor:
    """(n, numbers) of unit norm whose cosine is about exp((cosine of x - 1) / width), with a standard error of up to
    1 / sqrt(numbers).

    x: (n, d) of unit norm; rows of zeros are alike among themselves and exp(-.5 / width) to others. numbers: even.
    Random Fourier features of the Gaussian kernel (Rahimi & Recht 2007), their directions orthogonal in blocks of d,
    which makes them more exact (Yu et al. 2016, arXiv:1610.09072). Nothing is learnt: the directions come from the
    seed.
    """
    from keras import layers, ops

    waves = layers.Dense(numbers // 2, use_bias=False, trainable=False, name=name, dtype="float32")
    waves.build((None, x.shape[1]))
    waves.set_weights([_directions(x.shape[1], numbers // 2, seed) / np.float32(width**0.5)])
    turned = waves(x)
    return ops.concatenate([ops.cos(turned), ops.sin(turned)], axis=1) / (numbers // 2) ** 0.5


def colour_histogram(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """(n, 405) of unit norm: roots of how much of the picture has which colour of Lab, white paper left out; zeros
    where nothing but paper is.

    rgb: (n, h, w, 3), 0..255. Every pixel counts into the nearest bins, linearly, so that a little more light changes
    little. The cosine of two of them is the overlap of two distributions (Bhattacharyya 1943).
    """
    from keras import layers, ops

    shrink = max(1, min(rgb.shape[1:3]) // _SIDE)
    lab = _lab(layers.AveragePooling2D(shrink, dtype="float32")(rgb))
    pixels = layers.Reshape((lab.shape[1] * lab.shape[2], 3), dtype="float32")(lab)
    light, green_red, blue_yellow = (pixels[:, :, i : i + 1] for i in range(3))
    paper = ops.logical_and(light > _PAPER[0], ops.maximum(ops.abs(green_red), ops.abs(blue_yellow)) < _PAPER[1])
    of_light = _into_bins(light, 0.0, 100.0, _LIGHTNESS) * (1 - ops.cast(paper, "float32"))
    of_green_red, of_blue_yellow = (_into_bins(hue, -_HUE_RANGE, _HUE_RANGE, _HUES) for hue in (green_red, blue_yellow))
    hues = of_green_red[:, :, :, None] * of_blue_yellow[:, :, None, :]
    hues = layers.Reshape((pixels.shape[1], _HUES * _HUES), dtype="float32")(hues)
    counts = layers.Flatten(dtype="float32")(ops.matmul(ops.transpose(of_light, (0, 2, 1)), hues))
    return layers.UnitNormalization(name="colour_histogram", dtype="float32")(ops.sqrt(counts))


def _lab(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """CIE L (0..100), a and b of sRGB 0..255, for daylight (D65)."""
    from keras import ops

    srgb = rgb / 255.0
    linear = ops.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = ops.matmul(linear, (_XYZ / _D65[:, None]).T)
    root = ops.where(xyz > (6 / 29) ** 3, ops.maximum(xyz, 1e-6) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = (root[..., i] for i in range(3))
    return ops.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=3)


def _into_bins(value: keras.KerasTensor, low: float, high: float, bins: int) -> keras.KerasTensor:
    """(n, p, bins): the share of each value (n, p, 1) that falls into each bin, linear between the bins' centres."""
    from keras import ops

    at = ops.clip((value - low) / (high - low) * bins - 0.5, 0.0, bins - 1.0)
    return ops.maximum(0.0, 1 - ops.abs(at - np.arange(bins, dtype=np.float32)))


def _directions(dim: int, count: int, seed: int) -> np.ndarray:
    """(dim, count) float32: as many as dim orthogonal to each other, lengths as those of normally distributed
    vectors.
    """
    rng = np.random.default_rng(seed)
    blocks = [
        np.linalg.qr(rng.normal(size=(dim, dim)))[0] * np.sqrt(rng.chisquare(dim, dim)) for _ in range(-(-count // dim))
    ]
    return np.hstack(blocks)[:, :count].astype(np.float32)
