"""The first frame of a picture file: opened, checked by its header, decoded."""

from __future__ import annotations

import io
from contextlib import suppress

from PIL import Image, features

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.optional import jxl_size, optional_format
from vsspark.images.png import Png
from vsspark.images.samples import load_eight_bits

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF") + (("AVIF",) if features.check("avif") else ())
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def open_image(content: bytes, config: ImagesConfig) -> Image.Image:
    """The picture, its header read."""
    optional = optional_format(content)
    if optional == "JXL":  # its library decodes a file as it opens it
        check_size(*(jxl_size(content) or (0, 0)), config)
    return Image.open(io.BytesIO(content), formats=(optional,) if optional else FORMATS)


def check_size(width: int, height: int, config: ImagesConfig) -> None:
    if width * height > config.max_pixels:
        raise ImageError(
            Reason.TOO_MANY_PIXELS, f"{width}x{height}, images.max_pixels = {config.max_pixels} pixels are allowed"
        )


def load_first_frame(image: Image.Image, content: bytes, png: Png | None) -> Image.Image:
    """The first frame that a browser shows, in 8 bits a channel."""
    if image.format == "PNG" and image.info.get("default_image"):
        with suppress(EOFError, OSError, SyntaxError, ValueError):  # the frames are broken
            image.load()
            image.seek(1)  # the picture before it is for viewers without animations
            return load_eight_bits(image, content, png)
        image = Image.open(io.BytesIO(content), formats=("PNG",))
    return load_eight_bits(image, content, png)


def check_tiles(image: Image.Image, config: ImagesConfig) -> None:
    """Raises ImageError for a TIFF in tiles too large: each is decoded whole, even if the picture covers a corner."""
    if image.format == "TIFF":
        pixels = image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0)
        if pixels > config.max_pixels:
            raise ImageError(Reason.TOO_MANY_PIXELS, f"tiles of {pixels} pixels, allowed are {config.max_pixels}")
