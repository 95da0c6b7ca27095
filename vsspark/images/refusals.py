"""Why a decoder could not read a file: no picture, one that ends early, a broken one, or one whose library is missing."""

from __future__ import annotations

import re
import struct

from vsspark.errors import ImageError, Reason
from vsspark.images.formats import ends_in_a_box, extra_formats, is_extra, lacking_decoder

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", *extra_formats())  # Pillow's names of what is read
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_END = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND", b"GIF87a": b";", b"GIF89a": b";"}
_FILE_OBJECT = re.compile(r" *<_io\.BytesIO[^>]*>")


def refusal(data: bytes, error: Exception) -> ImageError:
    """The reason for bytes that the decoder gave up on: no image, one that ends early, or one that is corrupt."""
    said = _FILE_OBJECT.sub("", str(error))
    magic = next((m for m in _MAGIC if data.startswith(m)), None)
    extra, lacking = is_extra(data), lacking_decoder(data)
    if lacking is not None:
        return ImageError(Reason.NO_DECODER, f"{lacking}, which is not installed on the executors")
    if (magic is None and not extra) or (magic == b"RIFF" and data[8:12] != b"WEBP"):
        return ImageError(Reason.NOT_AN_IMAGE, f"begins with {bytes(data[:16])!r}; read are {', '.join(FORMATS)}")
    short = magic == b"RIFF" and len(data) >= 8 and struct.unpack_from("<I", data, 4)[0] + 8 > len(data)
    short = short or (extra and ends_in_a_box(data))
    endless = magic in _END and _END[magic] not in data[-32:]
    if short or endless or "truncated" in said.lower():
        return ImageError(Reason.TRUNCATED, f"{len(data)} bytes: {said}")
    return ImageError(Reason.CORRUPT, f"{type(error).__name__}: {said}")
