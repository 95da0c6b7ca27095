"""Why bytes are no usable picture, in words for the catalogue's owner."""

from __future__ import annotations

import re
from collections.abc import Sequence

from PIL import UnidentifiedImageError

from vsspark.errors import ImageError, Reason
from vsspark.images.optional import container_format

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_END = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND", b"GIF87a": b";", b"GIF89a": b";"}
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
