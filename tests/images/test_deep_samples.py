"""10, 12 and 16 bits a channel, transparent colours, and alpha that says nothing."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsspark.config import ImagesConfig
from vsspark.images.decode import decode_image

sys.path.insert(0, str(Path(__file__).parent))
from mutations import chunk, encoded, tiff

CONFIG = ImagesConfig()
SIDE = 40
SIZE = (SIDE, SIDE)
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of a PNG's colour types


def png(samples: np.ndarray, depth: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG of these samples: (h, w, channels), big-endian 16 bits, 8 bits or packed to fewer; no filter."""
    height, width = samples.shape[:2]
    if depth == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[:, :, 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def deep_tiff(samples: np.ndarray, tags: dict[int, int] | None = None, compress: bool = False) -> bytes:
    """A little-endian TIFF of 16-bit samples, one value in a tag; `tags` are added."""
    height, width, channels = samples.shape
    content = samples.astype("<u2").tobytes()
    content = zlib.compress(content) if compress else content
    given = {256: width, 257: height, 258: 16, 259: 8 if compress else 1, 262: 2 if channels == 3 else 1}
    given |= {273: -1, 277: channels, 278: height, 279: len(content)} | (tags or {})
    if channels == 1:
        return tiff(given, content)
    # Three numbers do not fit beside the tag: they lie before the picture.
    return tiff({**given, 258: -2}, content, struct.pack("<3H", 16, 16, 16))


def picture(largest: int, channels: int) -> np.ndarray:
    """(SIDE, SIDE, channels) a ramp up to that number."""
    ramp = np.linspace(0, largest, SIDE).round().astype(np.uint16)
    ramps = [ramp[None, :].repeat(SIDE, axis=0), ramp[:, None].repeat(SIDE, axis=1), ramp[::-1][None].repeat(SIDE, 0)]
    return np.stack(ramps[:channels], axis=2)


def expected(samples: np.ndarray, bits: int) -> np.ndarray:
    """(h, w, 3) 0 to 255."""
    return (samples / (2**bits - 1) * 255).repeat(3 // samples.shape[2], axis=2)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tiff", "tiff-deflate"])
def test_fewer_bits_in_sixteen_are_as_bright_as_they_were_meant(kind, channels, bits):
    samples = picture(2**bits - 1, channels)
    if kind == "png":
        data = png(samples, 16, 0 if channels == 1 else 2)
    else:
        data = deep_tiff(samples, compress=kind == "tiff-deflate")
    np.testing.assert_allclose(decode_image(data, SIZE, CONFIG), expected(samples, bits), atol=1.5)


@pytest.mark.parametrize(("colour", "bits"), [(4, 12), (6, 12), (4, 10), (6, 16)])
@pytest.mark.parametrize("opaque", ["same bits", "all bits"])
def test_alpha_beside_fewer_bits(colour, bits, opaque):
    samples = picture(2**bits - 1, CHANNELS[colour] - 1)
    alpha = np.full((SIDE, SIDE, 1), 2**bits - 1 if opaque == "same bits" else 65535, np.uint16)
    alpha[:10] = 0
    data = png(np.concatenate([samples, alpha], axis=2), 16, colour)
    wanted = expected(samples, bits)
    wanted[:10] = 255
    np.testing.assert_allclose(decode_image(data, SIZE, CONFIG), wanted, atol=1.5)


def test_what_the_file_says_of_its_bits_comes_before_its_pixels():
    """A dark picture of 16 bits is dark; one of 14 bits is known by its own word alone."""
    for channels, colour in ((1, 0), (3, 2)):
        dark, fourteen = picture(4000, channels), picture(2**14 - 1, channels)
        says_16, says_14, says_12 = (chunk(b"sBIT", bytes((bits,)) * channels) for bits in (16, 14, 12))
        for data, samples, bits in (
            (png(dark, 16, colour, says_16), dark, 16),
            (deep_tiff(dark, {281: 65535}), dark, 16),
            (png(fourteen, 16, colour, says_14), fourteen, 14),
            (deep_tiff(fourteen, {281: 2**14 - 1}), fourteen, 14),
            (png(picture(1000, channels), 16, colour, says_12), picture(1000, channels), 12),
            # As the standard wants it: 12 significant bits, stretched to 16.
            (png(picture(65535, channels), 16, colour, says_12), picture(65535, channels), 16),
        ):
            np.testing.assert_allclose(decode_image(data, SIZE, CONFIG), expected(samples, bits), atol=1.5)


def test_a_tiff_of_twelve_bits_packed():
    samples = picture(4095, 1)[:, :, 0]
    pairs = samples.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1])[:, None] >> np.array([16, 8, 0]) & 255
    content = packed.astype(np.uint8).tobytes()
    tags = {256: SIDE, 257: SIDE, 258: 12, 259: 1, 262: 1, 273: -1, 277: 1, 278: SIDE, 279: len(content)}
    wanted = expected(samples[:, :, None], 12)
    np.testing.assert_allclose(decode_image(tiff(tags, content), SIZE, CONFIG), wanted, atol=1.5)


@pytest.mark.parametrize("bits", [12, 16])
def test_a_deep_tiff_whose_zero_is_white(bits):
    samples = picture(2**bits - 1, 1)
    pixels = decode_image(deep_tiff(samples, {262: 0}), SIZE, CONFIG)
    np.testing.assert_allclose(pixels, 255 - expected(samples, bits), atol=1.5)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colour", [0, 2])
def test_the_transparent_colour_lies_on_white(colour, depth):
    if colour == 2 and depth < 8:
        pytest.skip("no such PNG")
    most = 2**depth - 1
    samples = np.zeros((SIDE, SIDE, CHANNELS[colour]), np.uint16)
    samples[:, 20:] = most
    samples[30:, :20] = most // 2 + most // 5  # alike in the high byte, not the same
    samples[35:, :20] = most // 2 + most // 5 - (depth == 16)
    key = samples[38, 5] if depth > 1 else samples[0, 0]
    data = png(samples, depth, colour, chunk(b"tRNS", key.astype(">u2").tobytes()))
    wanted = (samples / most * 255).repeat(3 // CHANNELS[colour], axis=2)
    wanted[(samples == key).all(axis=2)] = 255
    np.testing.assert_allclose(decode_image(data, SIZE, CONFIG), wanted, atol=1.5)


def bmp(alpha: np.ndarray, masks: bool) -> bytes:
    """A 32-bit BMP of colour 200, 40, 90: of version 4 with masks, or of version 3 without."""
    pixels = np.empty((SIDE, SIDE, 4), np.uint8)
    pixels[...] = 90, 40, 200, 0
    pixels[:, :, 3] = alpha
    size = 108 if masks else 40
    header = struct.pack("<LllHHLLllLL", size, SIDE, SIDE, 1, 32, 3 if masks else 0, pixels.nbytes, 2835, 2835, 0, 0)
    if masks:
        header += struct.pack("<4L", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    start = 14 + len(header)
    return b"BM" + struct.pack("<LHHL", start + pixels.nbytes, 0, 0, start) + header + pixels[::-1].tobytes()


@pytest.mark.parametrize("masks", [True, False])
def test_a_bmp_whose_alpha_is_all_zero_is_opaque(masks):
    pixels = decode_image(bmp(np.zeros(SIZE, np.uint8), masks), SIZE, CONFIG)
    np.testing.assert_allclose(pixels, np.broadcast_to((200, 40, 90), pixels.shape), atol=1)


def test_a_bmp_with_alpha_lies_on_white():
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:20] = 0
    pixels = decode_image(bmp(alpha, masks=True), SIZE, CONFIG)
    np.testing.assert_allclose(pixels[:20], 255, atol=1)
    np.testing.assert_allclose(pixels[20:], np.broadcast_to((200, 40, 90), pixels[20:].shape), atol=1)


def test_a_transparent_png_stays_white():
    clear = encoded(Image.new("RGBA", SIZE, (200, 40, 90, 0)), "PNG")
    np.testing.assert_array_equal(decode_image(clear, SIZE, CONFIG), 255)
