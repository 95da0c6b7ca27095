"""The work that a picture file costs a decoder, from a walk over its parts that decodes nothing.

Two answers: files that ask for far too much are refused here, and files that are plain are told from all others. In a
plain file every part is where its standard puts it, so all decoders see the same parts and the work is known. What is
not plain may be harmless; its decoding gets a time limit, because a decoder may see parts that this walk does not.

Measured without the refusals, with Pillow 13 and libjpeg-turbo 3.2: a JPEG of 0.2 MB with 500 scans of 49 million
pixels takes 59 s, one of 65 MB in EXIF segments 55 s, one of empty segments 20 s and 1 GiB; 60 MB of empty PNG chunks
16 s; 60 MB of GIF comments 7 s and 2 GiB; 60,000 tags in a TIFF of 0.7 MB 5 s. All but the first have 64 x 64 pixels at
most.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vsspark.errors import ImageError, Reason

# Parts a file may have; cameras and editors write far fewer.
_PARTS = {"segments": 4096, "EXIF segments": 16, "chunks": 65_536, "blocks": 65_536, "tags": 4096}
_PASSES = 20  # over images.max_pixels that all scans of a JPEG may make together; a progressive one has about 10 scans
_PIXEL_COST = 5  # a pixel of a PNG or WebP takes as long as that many pixels of a JPEG
_PLAIN_PARTS = 256  # parts of a plain file, IDAT chunks of a PNG apart: each may cost a decoder a millisecond

# JPEG, ITU T.81 B.1.1. Inside a scan FF00 is a data byte and FFD0 to FFD7 are restarts; any FF may be repeated as fill.
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what cameras and editors write
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_START_OF_SCAN, _END_OF_IMAGE, _NUMBER_OF_LINES, _APP1 = 0xDA, 0xD9, 0xDC, 0xE1
_TABLES = (0xC4, 0xCC, 0xDB, 0xDD)  # Huffman, arithmetic, quantization, restart interval
# Only these have a length behind them. TEM (01), SOI and restarts have none; at all others decoders stop.
_WITH_LENGTH = _FRAMES | {_START_OF_SCAN, _NUMBER_OF_LINES, *_TABLES, *range(0xE0, 0xF0), 0xFE}


class Plain(NamedTuple):
    """The work of decoding a plain file."""

    width: int
    height: int
    passes: int  # over all pixels at most, each of a JPEG's cost


def check_structure(data: bytes, max_pixels: int) -> Plain | None:
    """The work a plain file asks for, None for any other; in well under a millisecond for an ordinary file.

    Raises ImageError: CORRUPT for too many parts, TOO_MANY_PIXELS for a JPEG whose scans together go too often over its
    pixels.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _check_jpeg(data, max_pixels)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _check_png(data)
    if data.startswith(b"RIFF"):
        return _check_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        _check_gif(data)
    elif data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        _check_tiff(data)
    return None


def _check(what: str, count: int) -> None:
    if count > _PARTS[what]:
        raise ImageError(Reason.CORRUPT, f"more than {_PARTS[what]} {what}")


def _check_jpeg(data: bytes, max_pixels: int) -> Plain | None:
    """Counts the scans that libjpeg would decode: it skips all bytes up to the next marker, and stops at EOI."""
    at, segments, exif, scans, pixels, width, height, components = 2, 0, 0, 0, 0, 0, 0, 0
    plain, sequential, frame, alone = True, False, 0, False
    while (marker := _MARKER.search(data, at)) is not None:
        plain &= scans > 0 or marker.start() == at  # before the first scan nothing lies between two segments
        kind, at = marker[1][0], marker.end()
        if kind == _END_OF_IMAGE:
            break
        segments += 1
        if kind not in _WITH_LENGTH:
            plain = False
            continue
        length = _number(data, at, 2)
        plain &= 2 <= length <= len(data) - at
        # In an ordinary header all but the first are left out (`jpeg.with_one_exif`); elsewhere a decoder may join them.
        exif += not plain and kind == _APP1 and data.startswith(b"Exif", at + 2)
        if kind in _FRAMES:
            plain &= frame == 0 and kind in _HUFFMAN_FRAMES
            frame, sequential, components = kind, kind in _SEQUENTIAL, _number(data, at + 7, 1)
            height, width = _number(data, at + 3, 2), _number(data, at + 5, 2)
            pixels = max(pixels, width * height)
        elif kind == _START_OF_SCAN:
            scans += 1
            alone = sequential and _number(data, at + 2, 1) == components
            if alone:
                break  # everything is in this scan: libjpeg refuses another one
        _check("segments", segments)
        _check("EXIF segments", exif)
        if scans * pixels > _PASSES * max_pixels:
            few = f"together allowed are {_PASSES * max_pixels}"
            raise ImageError(Reason.TOO_MANY_PIXELS, f"{scans} scans or more of {pixels} pixels each; {few}")
        at += max(2, length)
    if not plain or marker is None or not scans or segments > _PLAIN_PARTS:
        return None
    # However a decoder walks, it meets no more scans than these two bytes are in the file.
    return Plain(width, height, 1 if alone else data.count(bytes((0xFF, _START_OF_SCAN))))


def _check_png(data: bytes) -> Plain | None:
    at, chunks, other_chunks, plain, pixels = 8, 0, 0, True, False
    while at < len(data):
        kind = data[at + 4 : at + 8]
        other_chunks += kind != b"IDAT"
        plain &= (kind == b"IHDR") == (chunks == 0)
        plain &= not (pixels and kind == b"iCCP")  # a profile comes before the pixels
        pixels |= kind == b"IDAT"
        at += 12 + _number(data, at, 4)
        chunks += 1
        _check("chunks", chunks)
        if kind == b"IEND":
            break
    if not plain or not pixels or other_chunks > _PLAIN_PARTS or at > len(data):
        return None
    return Plain(_number(data, 16, 4), _number(data, 20, 4), _PIXEL_COST)


def _check_webp(data: bytes) -> Plain | None:
    """One picture in one frame; an animation is not plain."""
    end = 8 + int.from_bytes(data[4:8], "little")
    at, chunks, size = 12, 0, (0, 0)
    while at < end <= len(data) and chunks <= _PLAIN_PARTS:
        kind, body = data[at : at + 4], data[at + 8 : at + 18]
        if kind == b"VP8X":
            if chunks:
                return None
            size = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        elif kind == b"VP8 " and size == (0, 0):
            size = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
        elif kind == b"VP8L" and size == (0, 0):
            bits = int.from_bytes(body[1:5], "little")
            size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind in (b"ANIM", b"ANMF"):
            return None
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
        chunks += 1
    return Plain(*size, _PIXEL_COST) if at == end <= len(data) and all(size) else None


def _check_gif(data: bytes) -> None:
    """What comes before the first picture; a byte that begins nothing counts as a block."""
    flags = _number(data, 10, 1)
    at, blocks = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0), 0
    while at < len(data) and data[at] not in b",;":
        extension = data[at] == 0x21
        at += 2 if extension else 1
        while extension and _number(data, at, 1):
            at += 1 + data[at]
        at += extension
        blocks += 1
        _check("blocks", blocks)


def _check_tiff(data: bytes) -> None:
    order = "little" if data.startswith(b"I") else "big"
    big = b"+" in data[:4]
    directory = int.from_bytes(data[8:16] if big else data[4:8], order)
    _check("tags", int.from_bytes(data[directory : directory + (8 if big else 2)], order))


def _number(data: bytes, at: int, size: int) -> int:
    """The big-endian number there; 0 behind the end."""
    return int.from_bytes(data[at : at + size], "big")
