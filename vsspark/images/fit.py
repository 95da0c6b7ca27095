"""Pictures as published image models want them: resized by Pillow, then cut from the centre.

The resize is the one that `preprocessor_config.json` files mean: Pillow's, on 8-bit pixels, antialiased. It starts from the whole
picture: a JPEG that its decoder shrinks first, even to eight times the size, keeps no cosine of .9999.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Fit:
    """One of `resized` and `shortest_edge` is given; pixels."""

    size: tuple[int, int]  # (height, width) of the result; what a resize leaves over is cut off, what lacks is black
    resized: tuple[int, int] | None  # (height, width) whatever the picture's proportions
    shortest_edge: int | None  # the shorter side; the proportions stay
    resample: int  # Pillow's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming
    antialias: bool = True  # False: pixels between those that are met do not count, as in Keras's own resize
    cut_first: bool = False  # the picture is cut to the proportions of `resized`, then resized

    def apply(self, pixels: np.ndarray, natural: tuple[int, int] | None = None) -> np.ndarray:
        """(h, w, 3) uint8 of `size`.

        natural: (height, width) of the picture that these pixels are a small copy of; None = they are the picture.
        """
        if self.cut_first:
            high, wide = pixels.shape[:2]
            pixels = _centre(
                pixels,
                (
                    min(high, wide * self.resized[0] // self.resized[1]),
                    min(wide, high * self.resized[1] // self.resized[0]),
                ),
            )
        height, width = self.resized or self._with_proportions(*(natural or pixels.shape[:2]))
        if pixels.shape[:2] != (height, width) and not self.antialias:
            kind = cv2.INTER_LINEAR if self.resample == Image.Resampling.BILINEAR else cv2.INTER_NEAREST_EXACT
            pixels = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=kind)
        elif pixels.shape[:2] != (height, width):
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling(self.resample)))
        return _centre(pixels, self.size)

    def _with_proportions(self, height: int, width: int) -> tuple[int, int]:
        long = max(int(self.shortest_edge * max(height, width) / min(height, width)), 1)
        return (self.shortest_edge, long) if height <= width else (long, self.shortest_edge)


def _centre(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    for axis, side in enumerate(size):
        spare = pixels.shape[axis] - side
        if spare > 0:
            pixels = pixels.take(range(spare // 2, spare // 2 + side), axis)
        elif spare < 0:
            before = (1 - spare) // 2
            pad = [(0, 0)] * 3
            pad[axis] = (before, -spare - before)
            pixels = np.pad(pixels, pad)
    return np.ascontiguousarray(pixels)
