"""Decoded pictures to 8 bits a channel, with the one transparent colour of a PNG as alpha."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image

from vsspark.images.png import GRAY_ALPHA, Png

_BAND = 2**18  # pixels handled at a time
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE = 258, 262, 281
_WHITE_IS_ZERO = 0
_NATIVE = ";16B" if sys.byteorder == "little" else ";16L"
# PIL keeps the high byte of 16 bits. Read in the other byte order it keeps the low one.
_LOW_BYTES = {";16B": ";16L", ";16L": ";16B", ";16N": _NATIVE}


def load_eight_bits(image: Image.Image, content: bytes, png: Png | None) -> Image.Image:
    """The picture, decoded, 8 bits a channel. image: opened from `content`.

    16 bits a channel are cut to the upper 8, unless the samples have fewer bits that count; see `sample_bits`.
    A BMP whose alpha is 0 everywhere is opaque, and what a GIF's first frame leaves open is clear, as in browsers.
    """
    rawmode = _rawmode(image)
    frame = image.tile[0].extents if image.format == "GIF" and image.tile else None
    image.load()
    if frame is not None and frame != (0, 0, *image.size):
        return _on_clear_screen(image, frame)
    key = png.transparent if png else None
    if image.mode.startswith("I;16") or image.mode == "I":
        return _gray(image, _declared_bits(image, png), key)
    if rawmode[-4:] in _LOW_BYTES:
        return _several_channels(image, content, png)
    if key:
        top = 2**png.depth - 1
        samples = tuple(sample * 255 // top for sample in key)
        image.info["transparency"] = samples if len(samples) > 1 else samples[0]
    if image.format == "BMP" and image.mode == "RGBA" and image.getextrema()[3] == (0, 0):
        return image.convert("RGB")
    return image


def sample_bits(declared: int | None, largest: int) -> int:
    """How many of a sample's 16 bits count.

    declared: by the file's own word (sBIT of a PNG; MaxSampleValue, or BitsPerSample below 16, of a TIFF); it holds
    unless a pixel is larger. Without one, the largest pixel decides: 8, 10 or 12 bits where all pixels fit into so few.
    No 16-bit photo is that dark: 12 bits of 16 are 6 % of white. 14 bits must be declared.
    """
    for bits in (8, 10, 12) if declared is None else (max(declared, 8),):
        if largest < 2**bits:
            return bits
    return 16


def _on_clear_screen(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """The GIF, clear around its frame, where PIL shows the palette's first colour."""
    (left, top, right, bottom), (width, height) = frame, image.size
    image = image.convert("RGBA")
    for around in ((0, 0, width, top), (0, bottom, width, height), (0, 0, left, height), (right, 0, width, height)):
        if around[0] < around[2] and around[1] < around[3]:
            image.paste((255, 255, 255, 0), around)
    return image


def _rawmode(image: Image.Image) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args if isinstance(args, str) or not args else args[0])


def _declared_bits(image: Image.Image, png: Png | None) -> int | None:
    if png is not None:
        return png.significant
    if image.format != "TIFF":
        return None
    bits, largest = image.tag_v2.get(_BITS_PER_SAMPLE, (16,)), image.tag_v2.get(_MAX_SAMPLE_VALUE)
    if max(bits) < 16:
        return max(bits)
    largest = max(largest) if isinstance(largest, tuple) else largest
    return largest.bit_length() if isinstance(largest, int) and 0 < largest < 2**16 else None


def _gray(image: Image.Image, declared: int | None, key: tuple[int, ...] | None) -> Image.Image:
    samples = np.asarray(image)
    if image.mode == "I":
        samples = samples.clip(0, 2**16 - 1)
    small = (samples >> sample_bits(declared, int(samples.max())) - 8).astype(np.uint8)
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        small = 255 - small  # PIL does it for 8 bits only
    small = Image.fromarray(small)
    if key:
        small.putalpha(Image.fromarray(np.where(samples == key[0], 0, 255).astype(np.uint8)))
    return small


def _several_channels(image: Image.Image, content: bytes, png: Png | None) -> Image.Image:
    """The picture, of which PIL holds the high bytes; with the low ones too where they count."""
    extrema, colours = image.getextrema(), len(image.getbands()) - image.mode.endswith("A")
    declared = _declared_bits(image, png)
    bits = sample_bits(declared, max(most for _, most in extrema[:colours]) << 8)
    key = png.transparent if png else None
    little_ink = image.mode == "CMYK" and declared is None  # nearly white paper, not few bits
    if key is None and (bits == 16 or little_ink):
        return image
    shifts = np.full(len(extrema), 16 - bits, np.uint16)
    if extrema[-1][1] >= 2 ** (bits - 8):
        shifts[colours:] = 0  # an alpha of all 16 bits
    low, channels = _low_bytes(image, content, png)
    key = None if key is None else np.array(key, np.uint16)
    alpha = None if key is None else Image.new("L", image.size)
    width, height = image.size
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = (0, top, width, min(top + rows, height))
        samples = np.asarray(image.crop(band)).astype(np.uint16) << 8 | np.asarray(low.crop(band))[:, :, channels]
        if alpha is not None:
            alpha.paste(Image.fromarray(np.where((samples == key).all(axis=2), 0, 255).astype(np.uint8)), band)
        image.paste(Image.fromarray((samples << shifts >> 8).astype(np.uint8), mode=image.mode), band)
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _low_bytes(image: Image.Image, content: bytes, png: Png | None) -> tuple[Image.Image, list[int]]:
    """A picture with the low bytes of the samples, and its channel for each of the image's.

    It is of another decode, so it takes as long again.
    """
    if png is not None and png.colour == GRAY_ALPHA:
        # Not one of PIL's modes. Samples of 2 x 16 bits lie in a PNG as those of 4 x 8 do.
        header = b"IHDR" + content[16:24] + bytes((8, 6)) + content[26:29]
        pieces = content[:12], header, struct.pack(">L", zlib.crc32(header)), memoryview(content)[33:]
        low = Image.open(io.BytesIO(b"".join(pieces)), formats=("PNG",))
        low.load()
        return low, [1] * (len(image.getbands()) - 1) + [3]
    low = Image.open(io.BytesIO(content), formats=(image.format,))
    rawmode = _rawmode(low)
    swapped = rawmode[:-4] + _LOW_BYTES[rawmode[-4:]]
    low.tile = [
        tile._replace(args=swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:])) for tile in low.tile
    ]
    low.load()
    return low, list(range(len(low.getbands())))
