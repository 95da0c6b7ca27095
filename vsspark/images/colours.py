"""Decoded pictures to 8-bit sRGB arrays: palettes, alpha, CMYK and colour profiles."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# A profile up to this size is converted to once and kept, and read by the calling thread: a larger one may hold
# programs to run over a grid.
QUICK_PROFILE = 4096
_BAND = 2**20  # pixels converted at a time: PIL holds an RGB pixel in 4 bytes, and converts into a copy
_ALIKE = 2  # levels of 255: a profile that moves no colour further means sRGB
_GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")


def in_bands(image: Image.Image, to_array: Callable[[Image.Image], np.ndarray], channels: int) -> np.ndarray:
    """(h, w, channels) uint8: `to_array` of the picture, a band of rows at a time to save memory."""
    width, height = image.size
    rows = max(1, _BAND // width)
    if rows >= height:
        return to_array(image)
    pixels = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, rows):
        pixels[top : top + rows] = to_array(image.crop((0, top, width, min(top + rows, height))))
    return pixels


def flatten(image: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8: palettes looked up, alpha composited on white."""
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


class Conversion:
    """From a profile's colours to sRGB."""

    def __init__(self, profile: bytes, mode: str):
        """mode: PIL's, of the picture. Raises PyCMSError, OSError or ValueError for a profile that cannot be used."""
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        gray, space = mode in _GRAY_MODES, source.profile.xcolor_space.strip()
        fitting = {"GRAY": gray, "RGB": mode != "CMYK", "CMYK": mode == "CMYK"}
        if not fitting.get(space):
            raise ValueError(f"a profile of {space} for a picture of mode {mode}")
        self._mode = "L" if space == "GRAY" else space
        self._transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), self._mode, "RGB")
        self.is_needed = self._mode == "CMYK" or self._largest_change() > _ALIKE

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 sRGB. pixels: (h, w, 4) CMYK, else (h, w, 3), of a gray picture with equal channels."""
        pixels = np.ascontiguousarray(pixels[:, :, 0]) if self._mode == "L" else pixels
        image = Image.fromarray(pixels, mode="CMYK") if self._mode == "CMYK" else Image.fromarray(pixels)
        return np.asarray(ImageCms.applyTransform(image, self._transform))

    def _largest_change(self) -> int:
        """Levels of 255, over a grid of colours."""
        levels = np.arange(0, 256, 51, dtype=np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(6, 36, 3)
        if self._mode == "L":
            grid = levels[None, :, None].repeat(3, axis=2)
        return int(np.abs(self.apply(grid).astype(int) - grid).max())


def conversion(profile: bytes | None, mode: str) -> Conversion | None:
    """How a picture of that mode comes to sRGB, by the numbers of its profile; its name means nothing.

    None where the pixels stay as they are: no profile, one that means sRGB, or one that is broken or for another kind
    of picture, which browsers ignore too.
    """
    if not profile:
        return None
    return (_kept if len(profile) <= QUICK_PROFILE else _conversion)(bytes(profile), mode)


def _conversion(profile: bytes, mode: str) -> Conversion | None:
    try:
        usable = Conversion(profile, mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return usable if usable.is_needed else None


_kept = lru_cache(maxsize=32)(_conversion)


def cmyk_to_rgb(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of (h, w, 4) CMYK without a profile, by PIL's plain conversion."""
    return np.asarray(Image.fromarray(pixels, mode="CMYK").convert("RGB"))
