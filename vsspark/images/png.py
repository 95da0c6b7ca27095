"""A PNG's chunks, chosen as browsers do: what changes no pixel, or has a wrong check sum and may be left out, is left
out before the decoder sees it.

Pillow by itself refuses a picture for a text or a colour profile of more than 1 MiB, and for any check sum.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from vsspark.images.icc import named_profile, primaries_profile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA = 0, 2, 3, 4  # colour types
_MOST_PROFILE = 8_000_000  # bytes, libpng's own limit; a larger profile is ignored
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_READ_HERE = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"sBIT", b"tRNS")


class Png(NamedTuple):
    """What the decoder needs, and what it does not handle as browsers do."""

    data: bytes  # the file for the decoder
    profile: bytes | None  # ICC, from whichever chunk names the colours
    depth: int  # bits of a sample
    colour: int  # the PNG's colour type
    significant: int | None  # bits of a colour sample that hold something, where the file says so
    transparent: tuple[int, ...] | None  # the gray, or the RGB, that is transparent, in samples of `depth` bits


def read_png(data: bytes) -> Png:
    """The parts of the file. What is broken and needed is left in, for the decoder to refuse."""
    chunks, read = _chunks(data)
    depth, colour = (data[24], data[25]) if len(data) > 25 else (8, RGB)
    kinds = [kind for kind, _, _ in chunks]
    left_out = set()
    # Browsers start with the first frame. Where the pixels before it are no frame, the decoder needs the animation.
    if b"fcTL" in kinds[: kinds.index(b"IDAT") if b"IDAT" in kinds else None] or b"acTL" not in kinds:
        left_out.update(_ANIMATION)
    if colour != PALETTE:
        left_out.add(b"tRNS")
    return Png(
        _joined(data, [(start, end) for kind, start, end in chunks if kind not in left_out]),
        _profile(read),
        depth,
        colour,
        _significant(read.get(b"sBIT", b""), depth, colour),
        _transparent(read.get(b"tRNS", b""), depth, colour),
    )


def _chunks(data: bytes) -> tuple[list[tuple[bytes, int, int]], dict[bytes, bytes]]:
    """(kind, start, end) of each chunk for the decoder, and the content of each kind that is read here."""
    chunks, read, at = [], {}, len(SIGNATURE)
    while at < len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        optional = kind.isalpha() and kind[:1].islower()
        if optional and kind in (*_READ_HERE, *_ANIMATION, b"eXIf"):
            check_sum = int.from_bytes(data[end - 4 : end], "big")
            if end <= len(data) and zlib.crc32(memoryview(data)[at + 4 : end - 4]) == check_sum:
                if kind in _READ_HERE:
                    read.setdefault(kind, data[at + 8 : end - 4])
                if kind in (*_ANIMATION, b"eXIf", b"tRNS"):
                    chunks.append((kind, at, end))
        elif not optional:
            chunks.append((kind, at, end))
        at = end
        if kind == b"IEND":
            break
    return chunks, read


def _joined(data: bytes, pieces: list[tuple[int, int]]) -> bytes:
    """The signature and the pieces; the file itself where nothing is left out."""
    joined = [(0, len(SIGNATURE))]
    for start, end in pieces:
        if joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    if len(joined) == 1 and joined[0][1] >= len(data):
        return data
    return b"".join(memoryview(data)[start:end] for start, end in joined)


def _profile(read: dict[bytes, bytes]) -> bytes | None:
    """The ICC profile of the chunk that counts: cICP, else iCCP, else sRGB, else gAMA and cHRM together."""
    if len(read.get(b"cICP", b"")) == 4:
        return named_profile(read[b"cICP"][0], read[b"cICP"][1])
    if b"iCCP" in read:
        _, _, packed = read[b"iCCP"].partition(b"\0")
        unpack = zlib.decompressobj()
        try:
            profile = unpack.decompress(packed[1:], _MOST_PROFILE)
        except zlib.error:
            return None
        return profile if unpack.eof and packed[:1] == b"\0" else None
    if b"sRGB" in read or len(read.get(b"gAMA", b"")) != 4 or len(read.get(b"cHRM", b"")) != 32:
        return None
    gamma = int.from_bytes(read[b"gAMA"], "big") / 100_000
    points = tuple(number / 100_000 for number in struct.unpack(">8L", read[b"cHRM"]))
    return primaries_profile(points, (1 / gamma,)) if gamma else None


def _significant(content: bytes, depth: int, colour: int) -> int | None:
    bits = content[: 1 if colour in (GRAY, GRAY_ALPHA) else 3]
    return max(bits) if bits and 0 < min(bits) <= max(bits) <= depth else None


def _transparent(content: bytes, depth: int, colour: int) -> tuple[int, ...] | None:
    if colour not in (GRAY, RGB) or len(content) < (2 if colour == GRAY else 6):
        return None
    samples = struct.unpack_from(">H" if colour == GRAY else ">3H", content)
    return tuple(sample & (1 << depth) - 1 for sample in samples)
