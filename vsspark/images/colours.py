"""Decoded pictures to 8-bit RGB arrays: palettes, 16 bits, alpha, CMYK and colour profiles."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

QUICK_PROFILE = 4096  # bytes of a profile that is only curves and a matrix
_INVISIBLE = 3  # levels between two profiles of the same colours
_LEVELS = np.arange(0, 256, 51, np.uint8)
_PROBE = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(12, 18, 3)
_BAND = 2**20  # pixels converted at a time: PIL holds an RGB pixel in 4 bytes, and converts into a copy


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
    """(h, w, 3) uint8: palettes looked up, integers of 16 bits cut to 8, alpha composited on white."""
    if image.mode == "I":
        gray = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def opaque_bitmap(image: Image.Image) -> Image.Image:
    """The picture without an alpha that hides all of it, as programs leave it in 32-bit BMP files; else the same one."""
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


@lru_cache(maxsize=64)
def foreign(profile: bytes | None) -> bool:
    """Whether a colour profile shows RGB otherwise than sRGB does, by its numbers, whatever its name; False for one that
    is of no use for RGB.
    """
    if not profile:
        return False
    if len(profile) > QUICK_PROFILE:
        return True  # it may hold programs over a grid: converted, with the time limit of a decode
    shown = _through(Image.fromarray(_PROBE), profile)
    return shown is not None and int(np.abs(np.asarray(shown, np.int16) - _PROBE).max()) > _INVISIBLE


def to_srgb(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """(h, w, 3) uint8 through the file's own profile; without a usable one, PIL's plain conversion."""
    wanted = profile and (image.mode == "CMYK" or foreign(profile))
    shown = _through(image, profile) if wanted else None
    return np.asarray(image.convert("RGB") if shown is None else shown)


def _through(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture through a profile; None for one of another colour space, or a broken one: viewers ignore it too."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
