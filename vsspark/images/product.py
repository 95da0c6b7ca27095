"""The part of a picture that shows the product, as encoders see it: cut out by its own box, else by a finder's, else
whole.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from vsspark.config import ImagesConfig
from vsspark.images.box import Box, parse_box
from vsspark.images.decode import Photo, decode_photo
from vsspark.images.fit import Fit
from vsspark.images.foreground import FINDER, SIDE, find_foreground, surrounding

_NEUTRAL = 255  # what a blanked background becomes


class Foreground(NamedTuple):
    """Where the product is in its picture."""

    box: Box
    mask: np.ndarray  # (h, w) bool, the box's part of a small copy of the picture: True where the product is


def decode_product(data: bytes, size: tuple[int, int] | Fit, config: ImagesConfig, box: str | None = None) -> Photo:
    """The product's part of the picture squashed to `size` = (height, width), or fitted, and the whole picture's own width and
    height.

    box: `images.box`; it wins over the finder that config.foreground asks for. Raises ImageError as `decode_photo`
    does.
    """
    own_box = parse_box(box)
    if own_box is not None or config.foreground == "none":
        return decode_photo(data, size, config, own_box)
    return crop(data, size, config, find_product(data, config))


def find_product(data: bytes, config: ImagesConfig) -> Foreground | None:
    """The foreground of the picture; None where no plausible one was found. Raises ImageError as `decode_photo` does.

    The picture is decoded for it once more, a JPEG at a fraction of its size; the crop is cut from the whole file.
    """
    small = decode_photo(data, (SIDE, SIDE), config)
    mask = find_foreground(small.pixels)
    if mask is None:
        return None
    left, top, right, bottom = surrounding(mask)
    box = Box(
        *(
            round(edge * side / SIDE)
            for edge, side in zip((left, top, right, bottom), (small.width, small.height) * 2, strict=True)
        )
    )
    if min(box.right - box.left, box.bottom - box.top) < config.min_side:
        return None
    return Foreground(box, mask[top:bottom, left:right])


def crop(data: bytes, size: tuple[int, int] | Fit, config: ImagesConfig, foreground: Foreground | None) -> Photo:
    """The foreground at `size`, its background white where config.foreground says blank; the whole picture where
    there is none.
    """
    if foreground is None:
        return decode_photo(data, size, config)
    photo = decode_photo(data, size, config, foreground.box)
    if config.foreground != "blank":
        return photo
    return photo._replace(pixels=blank_background(photo.pixels, _fitted(foreground, size)))


def _fitted(foreground: Foreground, size: tuple[int, int] | Fit) -> np.ndarray:
    """The mask of what a fit leaves of the foreground's box."""
    if not isinstance(size, Fit):
        return foreground.mask
    box = foreground.box
    mask = np.repeat(foreground.mask[:, :, None], 3, axis=2).astype(np.uint8) * 255
    return size.apply(mask, (box.bottom - box.top, box.right - box.left))[:, :, 0] > 127


def blank_background(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: the pixels, white where the mask is False, its edges softened. mask: bool, the same picture at
    any size.
    """
    share = cv2.resize(mask.astype(np.float32), pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)[:, :, None]
    return (pixels * share + _NEUTRAL * (1 - share) + 0.5).astype(np.uint8)


def preprocessing_mark(config: ImagesConfig) -> str:
    """The finder's mark in the model version; empty without a finder."""
    return "" if config.foreground == "none" else f"-{config.foreground}-{FINDER}"
