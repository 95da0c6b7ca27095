"""Small pictures in every format and flavour that is decoded, and ways to break them."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def tiff(tags: dict[int, int], payload: bytes, shorts: bytes = b"") -> bytes:
    """A TIFF of one strip or tile: every tag one LONG; the value -1 stands for the payload's place, -2 for the place of
    `shorts`, numbers of 16 bits.
    """
    place = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, value in sorted(tags.items()):
        if value == -2:
            entries += struct.pack("<HHLL", tag, 3, len(shorts) // 2, place)
        else:
            entries += struct.pack("<HHLL", tag, 4, 1, place + len(shorts) if value == -1 else value)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + shorts + payload


def deep_png(pixels: np.ndarray) -> bytes:
    """12 bits in 16, of red, green, blue and alpha."""
    height, width = pixels.shape[:2]
    rows = (pixels.astype(np.uint16) << 4).astype(">u2").view(np.uint8).reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">LLBBBBB", width, height, 16, 6, 0, 0, 0)
    chunks = (b"IHDR", header), (b"sBIT", bytes((12,) * 4)), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def with_chunks(png: bytes) -> bytes:
    """The PNG with its colours as numbers, a transparent colour and a text."""
    numbers = struct.pack(">8L", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
    chunks = (b"gAMA", struct.pack(">L", 100_000)), (b"cHRM", numbers), (b"tRNS", bytes(6)), (b"tEXt", b"a\0b")
    return png[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + png[33:]


def many_exifs(jpeg: bytes) -> bytes:
    return jpeg[:2] + jpeg[2:].replace(b"\xff\xdb", segment(0xE1, b"Exif\0\0more") * 20 + b"\xff\xdb", 1)


def seeds() -> dict[str, bytes]:
    noise = np.random.default_rng(5).integers(0, 255, (24, 32, 4), np.uint8)
    rgba = Image.fromarray(noise, "RGBA").resize((96, 72), Image.Resampling.BICUBIC)
    rgb, gray, palette = rgba.convert("RGB"), rgba.convert("L"), rgba.convert("RGB").quantize(32)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112], turned[0x010F], turned[0x011A] = 6, "maker", 300.0
    profile = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        .tobytes()
        .replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    )

    def frames() -> dict:
        # Made anew: saving as JPEG leaves its settings on a picture.
        return {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}

    tiles = {256: 96, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: 96, 323: 64, 324: -1}
    tile = zlib.compress(np.asarray(gray)[:64].tobytes())
    return {
        "jpeg": encoded(rgb.copy(), "JPEG"),
        "jpeg-progressive": encoded(rgb.copy(), "JPEG", progressive=True, subsampling=0),
        "jpeg-gray": encoded(gray.copy(), "JPEG"),
        "jpeg-cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "jpeg-exif-profile": encoded(
            rgb.copy(), "JPEG", exif=turned, icc_profile=profile, comment=b"a comment", restart_marker_blocks=2
        ),
        "jpeg-exif-segments": many_exifs(encoded(rgb.copy(), "JPEG", exif=turned)),
        "mpo": encoded(rgb.copy(), "MPO", **frames()),
        "png": encoded(rgb.copy(), "PNG"),
        "png-alpha-exif": encoded(rgba, "PNG", exif=turned, icc_profile=profile),
        "png-palette": encoded(palette, "PNG", transparency=3),
        "png-deep": encoded(deep, "PNG"),
        "png-12-bits": deep_png(np.asarray(rgba)),
        "png-numbers": with_chunks(encoded(rgb.copy(), "PNG")),
        "png-bilevel": encoded(gray.convert("1"), "PNG"),
        "png-animated": encoded(rgb.copy(), "PNG", **frames()),
        "gif": encoded(palette, "GIF", comment=b"a comment", transparency=3),
        "gif-animated": encoded(rgb.copy(), "GIF", **frames()),
        "webp": encoded(rgb.copy(), "WEBP", exif=turned, icc_profile=profile),
        "webp-alpha": encoded(rgba, "WEBP", lossless=True),
        "webp-animated": encoded(rgb.copy(), "WEBP", **frames()),
        "bmp": encoded(rgb.copy(), "BMP"),
        "bmp-palette": encoded(palette, "BMP"),
        "tiff": encoded(rgba, "TIFF"),
        "tiff-lzw": encoded(rgb.copy(), "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encoded(deep, "TIFF", compression="tiff_deflate"),
        "tiff-jpeg": encoded(rgb.copy(), "TIFF", compression="jpeg"),
        "tiff-fax": encoded(gray.convert("1"), "TIFF", compression="group4"),
        "tiff-cmyk-pages": encoded(rgb.convert("CMYK"), "TIFF", **frames()),
        "tiff-tiles": tiff(tiles | {325: len(tile)}, tile),
        "tiff-big": encoded(rgb.copy(), "TIFF", big_tiff=True),
        "avif": encoded(rgb.copy(), "AVIF", speed=10, exif=turned),
        "avif-animated": encoded(rgba, "AVIF", speed=10, save_all=True, append_images=[rgba.rotate(90)]),
    }


def mutated(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """The file with one to four things wrong with it; `other` is what pieces of another file are taken from."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        data = dice.choice(_WAYS)(data, other, dice)
    # Otherwise nothing behind a PNG's check sums would ever be reached.
    return with_check_sums(data) if data.startswith(b"\x89PNG") and dice.random() < 0.8 else data


def with_check_sums(data: bytes) -> bytes:
    out, at = data[:8], 8
    while at + 12 <= len(data) and (length := int.from_bytes(data[at : at + 4], "big")) <= len(data) - at - 12:
        out += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return out + data[at:]


def _place(data: bytes, dice: random.Random) -> int:
    """Mostly in the header, where a byte decides more."""
    return dice.randrange(min(len(data), 256) if dice.random() < 0.6 else len(data)) if data else 0


def _flip(data: bytes, other: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[_place(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(data: bytes, other: bytes, dice: random.Random) -> bytes:
    return data[: _place(data, dice)]


def _number(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """A length, size, offset or count replaced by one at the edge of what fits."""
    size, at = dice.choice((1, 2, 4)), _place(data, dice)
    number = dice.choice(NUMBERS) & (1 << 8 * size) - 1
    return data[:at] + number.to_bytes(size, dice.choice(("big", "little"))) + data[at + size :]


def _splice(data: bytes, other: bytes, dice: random.Random) -> bytes:
    return data[: _place(data, dice)] + other[_place(other, dice) :]


def _insert(data: bytes, other: bytes, dice: random.Random) -> bytes:
    at, start = _place(data, dice), _place(other, dice)
    return (
        data[:at]
        + (dice.randbytes(dice.randrange(64)) if dice.random() < 0.5 else other[start : start + dice.randrange(512)])
        + data[at:]
    )


def _drop(data: bytes, other: bytes, dice: random.Random) -> bytes:
    at = _place(data, dice)
    return data[:at] + data[at + dice.choice((1, 2, 4, 16, 300)) :]


def _repeat(data: bytes, other: bytes, dice: random.Random) -> bytes:
    at = _place(data, dice)
    piece = data[at : at + dice.randrange(1, 200)]
    return data[:at] + piece * dice.choice((2, 3, 50)) + data[at + len(piece) :]


def _nonsense_metadata(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """EXIF, colour profile or text that is none, where the format keeps such."""
    tags = b"".join(
        struct.pack(
            "<HHLL", dice.randrange(1 << 16), dice.randrange(1, 14), dice.choice(NUMBERS), dice.randrange(1 << 10)
        )
        for _ in range(40)
    )
    exif = b"II*\0" + struct.pack("<LH", dice.choice((8, 8, 0, 0xFFFFFFF0)), 40) + tags + bytes(4)
    if data.startswith(b"\xff\xd8"):
        profile = b"ICC_PROFILE\0" + dice.randbytes(2) + dice.randbytes(200)
        return data[:2] + segment(0xE1, b"Exif\0\0" + exif) + segment(0xE2, profile) + data[2:]
    if data.startswith(b"\x89PNG"):
        profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0\0\2\0lcms" + dice.randbytes(300)))
        return data[:33] + profile + chunk(b"eXIf", exif) + chunk(b"tRNS", dice.randbytes(6)) + data[33:]
    return _insert(data, exif, dice)


_WAYS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _flip,
    _flip,
    _cut,
    _number,
    _number,
    _splice,
    _insert,
    _drop,
    _repeat,
    _nonsense_metadata,
)
