"""Files that every viewer shows and a strict decoder refuses: the same picture without the parts that nobody looks at.

PNG: text chunks, whatever their size, and ancillary chunks whose checksum is wrong go. JPEG: EXIF segments beyond the
first go where there are many, and an end marker that is missing behind complete data is added. Nothing that decides a
pixel is touched, and a picture that lacks a part of its data still does.
"""

from __future__ import annotations

import re
import zlib

import simplejpeg

from vsspark.images.structure import EXIF_SEGMENTS, PNG

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LARGEST_PROFILE = 2**20  # bytes when unpacked; Pillow refuses more
_END_OF_IMAGE = b"\xff\xd9"
_EXIF = re.compile(rb"\xff+\xe1(..)Exif\x00", re.DOTALL)


def repaired(data: bytes) -> bytes:
    """The file without such parts; the same bytes where there is none. data: that `check_structure` has let through."""
    if data.startswith(PNG):
        return _lean_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _with_end(_without_exif_segments(data))
    return data


def _lean_png(data: bytes) -> bytes:
    kept, at, begin = [data[:8]], 8, 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data) or kind == b"IEND":
            break
        ancillary = len(kind) == 4 and kind[0] & 0x20
        if kind in _TEXTS or (ancillary and _is_broken(data, at, kind, length)):
            kept.append(data[begin:at])
            begin = end
        at = end
    return data if begin == 8 else b"".join([*kept, data[begin:]])


def _is_broken(data: bytes, at: int, kind: bytes, length: int) -> bool:
    body = data[at + 8 : at + 8 + length]
    if zlib.crc32(kind + body) != int.from_bytes(data[at + 8 + length : at + 12 + length], "big"):
        return True
    return kind == b"iCCP" and _unpacks_to_more(body.partition(b"\x00")[2][1:], _LARGEST_PROFILE)


def _unpacks_to_more(packed: bytes, limit: int) -> bool:
    try:
        return len(zlib.decompressobj().decompress(packed, limit + 1)) > limit
    except zlib.error:
        return True


def _without_exif_segments(data: bytes) -> bytes:
    """All EXIF segments but the first go where there are more than cameras write: decoders join them at great cost."""
    scan = data.find(b"\xff\xda")
    found = [m for m in _EXIF.finditer(data, 0, scan if scan > 0 else len(data))]
    if len(found) <= EXIF_SEGMENTS:
        return data
    kept, begin = [], 0
    for segment in found[1:]:
        if segment.start() < begin:
            continue  # inside the one before
        kept.append(data[begin : segment.start()])
        begin = segment.start(1) + int.from_bytes(segment[1], "big")
    return b"".join([*kept, data[begin:]])


def _with_end(data: bytes) -> bytes:
    if _END_OF_IMAGE in data[-32:]:
        return data
    whole = data + _END_OF_IMAGE
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(whole)
        space = "CMYK" if colours in ("CMYK", "YCCK") else "GRAY"
        simplejpeg.decode_jpeg(whole, space, min_height=1, min_width=1, min_factor=8)  # strict: it lacks nothing
    except ValueError:
        return data
    return whole
