"""Decoded pictures to 8-bit RGB arrays: palettes, 16 bits, alpha, CMYK and colour profiles."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

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
    """(h, w, 3) uint8: palettes looked up, 16 bits cut to 8, alpha composited on white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        gray = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def foreign(profile: bytes | None) -> bool:
    """Whether a colour profile is anything but sRGB, which names itself in ASCII or, since version 4, UTF-16."""
    return bool(profile) and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def to_srgb(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """(h, w, 3) uint8 through the file's own profile; without a usable one, PIL's plain conversion."""
    if foreign(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile for another colour space, or a broken one: viewers ignore it too
    return np.asarray(image.convert("RGB"))
