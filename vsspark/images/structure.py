"""Refuses files that would keep the decoder busy out of all proportion to their pixels, by a walk over their parts that decodes nothing.

Measured without it, with Pillow 13 and libjpeg-turbo 3.2: a JPEG of 0.2 MB with 500 scans of 49 million pixels takes 59 s, one of 65 MB in EXIF
segments 55 s, one of empty segments 20 s and 1 GiB; 60 MB of empty PNG chunks 16 s; 60 MB of GIF comments 7 s and 2 GiB; 60,000 tags in
a TIFF of 0.7 MB 5 s. None of them has more than 64 x 64 pixels but the first.
"""

from __future__ import annotations

import re

from vsspark.errors import ImageError, Reason

_PARTS = {"segments": 4096, "EXIF segments": 16, "chunks": 65_536, "blocks": 65_536, "tags": 4096}  # cameras and editors write far fewer
_PASSES = 20  # over images.max_pixels that all scans of a JPEG may make together; a progressive one has about 10 scans
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # but stuffed bytes and restarts, which stand inside a scan
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1


def check_structure(data: bytes, max_pixels: int) -> None:
    """Nothing, in well under a millisecond for an ordinary file.

    Raises ImageError: CORRUPT for too many parts, TOO_MANY_PIXELS for a JPEG whose scans together go too often over its pixels.
    """
    if data.startswith(b"\xff\xd8\xff"):
        _check_jpeg(data, max_pixels)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        _check_gif(data)
    elif data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        _check_tiff(data)


def _check(what: str, count: int) -> None:
    if count > _PARTS[what]:
        raise ImageError(Reason.CORRUPT, f"more than {_PARTS[what]} {what}")


def _check_jpeg(data: bytes, max_pixels: int) -> None:
    at, segments, exif, scans, pixels, components = 2, 0, 0, 0, 0, 0
    sequential = False
    while (marker := _MARKER.search(data, at)) is not None and marker[1][0] != _END_OF_IMAGE:
        kind, at = marker[1][0], marker.end()
        segments += 1
        exif += kind == _APP1 and data.startswith(b"Exif", at + 2)
        if kind in _FRAMES:
            pixels, components, sequential = _number(data, at + 3, 2) * _number(data, at + 5, 2), _number(data, at + 7, 1), kind in _SEQUENTIAL
        elif kind == _START_OF_SCAN:
            scans += 1
            if sequential and _number(data, at + 2, 1) == components:
                return  # everything is in this scan, the decoder stops behind it
        _check("segments", segments)
        _check("EXIF segments", exif)
        if scans * pixels > _PASSES * max_pixels:
            raise ImageError(Reason.TOO_MANY_PIXELS, f"{scans} scans or more of {pixels} pixels each; together allowed are {_PASSES * max_pixels}")
        at += _number(data, at, 2)


def _check_png(data: bytes) -> None:
    at, chunks = 8, 0
    while at < len(data):
        at += 12 + _number(data, at, 4)
        chunks += 1
        _check("chunks", chunks)


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
