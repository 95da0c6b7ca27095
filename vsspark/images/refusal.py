"""Why bytes are no usable picture, in words for the catalogue's owner."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from PIL import UnidentifiedImageError

from vsspark.errors import ImageError, Reason
from vsspark.images.optional import container_format

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_END = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND", b"GIF87a": b";", b"GIF89a": b";"}
# TIFF 6.0: bytes of a value by its type; where strips and tiles are, and how long.
_TIFF_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_PLACES, _TIFF_NUMBERS = (273, 279, 324, 325), {3: "H", 4: "L"}
_MOST_STRIPS = 2**16  # looked at
_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-fA-F]+>")


def refusal(data: bytes, error: Exception, formats: Sequence[str]) -> ImageError:
    """The reason for bytes that the decoder gave up on: no image, one that ends early, or one that is corrupt.

    formats: what is decoded here.
    """
    magic = next((m for m in _MAGIC if data.startswith(m)), None)
    container = container_format(data)
    if (magic is None and container is None) or (magic == b"RIFF" and data[8:12] != b"WEBP"):
        return ImageError(Reason.NOT_AN_IMAGE, f"begins with {bytes(data[:16])!r}; read are {', '.join(formats)}")
    if isinstance(error, UnidentifiedImageError):
        words = "no decoder understands what follows the first bytes"
    else:
        words = _OBJECT.sub("", f"{type(error).__name__}: {error}").removesuffix(": ")
    endless = magic in _END and _END[magic] not in data[-32:]
    if _is_short(data, magic, container) or endless or "truncated" in str(error):
        return ImageError(Reason.TRUNCATED, f"ends after {len(data)} bytes, before the picture does: {words}")
    return ImageError(Reason.CORRUPT, words)


def _is_short(data: bytes, magic: bytes | None, container: str | None) -> bool:
    """Whether the file has fewer bytes than it says of itself."""
    if magic == b"RIFF":
        return len(data) >= 8 and int.from_bytes(data[4:8], "little") + 8 > len(data)
    if magic in (b"II*\x00", b"MM\x00*"):
        return _is_short_tiff(data)
    if container is None or data.startswith(b"\xff\x0a"):
        return False
    at = 0
    for _ in range(1000):  # boxes of ISO/IEC 14496-12; length 0 = to the end of the file, 1 = of 64 bits
        if at == len(data):
            break
        length, header = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 0 and at + 8 <= len(data):
            return False
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if at + header > len(data) or at + length > len(data):
            return True
        if length < header:
            return False
        at += length
    return False


def _is_short_tiff(data: bytes) -> bool:
    """Whether the first directory, a value in it or a strip or tile that it names lies behind the end of the file."""
    order = "<" if data.startswith(b"I") else ">"
    (directory,) = struct.unpack_from(order + "L", data.ljust(8, b"\0"), 4)
    entries = int.from_bytes(data[directory : directory + 2], "little" if order == "<" else "big")
    if directory + 2 + 12 * entries > len(data):
        return True
    values = {}
    for i in range(entries):
        tag, kind, count = struct.unpack_from(order + "HHL", data, directory + 2 + 12 * i)
        at, length = directory + 2 + 12 * i + 8, count * _TIFF_BYTES.get(kind, 1)
        if length > 4:
            (at,) = struct.unpack_from(order + "L", data, at)
        if at + length > len(data):
            return True
        if tag in _TIFF_PLACES and kind in _TIFF_NUMBERS and count <= _MOST_STRIPS:
            values[tag] = struct.unpack_from(f"{order}{count}{_TIFF_NUMBERS[kind]}", data, at)
    return any(
        place + length > len(data)
        for places, lengths in ((273, 279), (324, 325))
        for place, length in zip(values.get(places, ()), values.get(lengths, ()), strict=False)
    )
