"""JPEG files: decoded at a fraction of their size, their missing end added, their surplus EXIF left out."""

from __future__ import annotations

import re

import numpy as np
import simplejpeg

_END = b"\xff\xd9"
_APP1 = b"\xe1"
_SEGMENT = re.compile(rb"\xff+([\xc0-\xcf\xdb-\xfe])")  # any but a restart, start or end of the file, or a scan
_MOST_SEGMENTS = 4096  # looked at for EXIF; `structure` refuses a file of more


def decode_jpeg(data: bytes, size: tuple[int, int], colours: str = "RGB") -> np.ndarray | None:
    """Pixels no smaller than `size`, decoded at an eighth, quarter or half where that suffices; None for PIL to judge.

    A file without its last bytes is decoded if they hold nothing but the end marker, as after a careless upload.
    """
    try:
        return _decode(data, size, colours)
    except ValueError as error:
        # libjpeg warns about stray bytes as it does about a missing half; PIL tells the two apart.
        return None if (ended := _ended(data, error, size, colours)) is None else ended[1]


def with_end(data: bytes) -> bytes | None:
    """The CMYK file with an end marker where nothing else is missing, else None."""
    try:
        _decode(data, (1, 1), "CMYK")
    except ValueError as error:
        ended = _ended(data, error, (1, 1), "CMYK")
        return None if ended is None else ended[0]
    return data


def _decode(data: bytes, size: tuple[int, int], colours: str) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, colours, min_height=size[0], min_width=size[1], min_factor=2)


def _ended(data: bytes, error: ValueError, size: tuple[int, int], colours: str) -> tuple[bytes, np.ndarray] | None:
    """(the file with an end marker, its pixels) where libjpeg then has nothing to warn of: every block is there."""
    if "Premature end of JPEG file" not in str(error):
        return None
    without_zeros = data.rstrip(b"\0")  # a download that was given its size beforehand
    for begin in dict.fromkeys((data, without_zeros, data[:-1], data[:-2])):  # or two other bytes for the marker's
        try:
            return begin + _END, _decode(begin + _END, size, colours)
        except ValueError:
            continue
    return None


def with_one_exif(data: bytes) -> bytes:
    """The file without all EXIF segments behind the first, which browsers do not read; a decoder would join them.

    Only where segment follows segment up to the first scan; `structure` counts those in other places.
    """
    at, start, pieces, exif = 2, 0, [], 0
    for _ in range(_MOST_SEGMENTS):
        marker = _SEGMENT.match(data, at)
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big") if marker else 0
        if length < 2:
            break
        if marker[1] == _APP1 and data.startswith(b"Exif\0\0", marker.end() + 2):
            exif += 1
            if exif > 1:
                pieces.append(memoryview(data)[start:at])
                start = marker.end() + length
        at = marker.end() + length
    return data if exif < 2 else b"".join((*pieces, memoryview(data)[start:]))
