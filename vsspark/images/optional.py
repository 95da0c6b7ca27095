"""HEIC and JPEG XL, read where pillow-heif and pillow-jxl-plugin are installed.

Both are decoded in a decoder process only (`structure` calls neither plain): loading a library that adds itself to PIL
changes nothing in the process of the job.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

from vsspark.errors import ImageError, Reason

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}
_CONTAINER = {b"mif1", b"msf1"}  # of either; HEIC where no other brand says AVIF
_JXL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")


class _Library(NamedTuple):
    module: str
    package: str
    format: str  # as PIL knows it


_LIBRARIES = {
    "HEIC": _Library("pillow_heif", "pillow-heif", "HEIF"),
    "JPEG XL": _Library("pillow_jxl", "pillow-jxl-plugin", "JXL"),
}


def container_format(data: bytes) -> str | None:
    """AVIF, HEIC, JPEG XL or None, by the first bytes."""
    if data.startswith(_JXL):
        return "JPEG XL"
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {bytes(data[at : at + 4]) for at in (8, *range(16, end, 4))}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & _HEIC or bytes(data[8:12]) in _CONTAINER else None


def optional_format(data: bytes) -> str | None:
    """PIL's name of a HEIC or JPEG XL file's format, its library loaded; None for any other file.

    Raises ImageError(NO_LIBRARY) where the library is not installed.
    """
    name = container_format(data)
    library = _LIBRARIES.get(name)
    if library is None:
        return None
    try:
        module = importlib.import_module(library.module)
    except ImportError:
        raise ImageError(
            Reason.NO_LIBRARY,
            f"{name} is read where {library.package} is installed, on every machine that decodes; or save it as JPEG",
        ) from None
    if name == "HEIC":
        module.options.DECODE_THREADS = 1
        module.register_heif_opener()
    else:
        importlib.import_module(f"{library.module}.JpegXLImagePlugin").DECODE_THREADS = 0
    return library.format


def jxl_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) by a JPEG XL file's header, for a library that decodes a file as it opens it; None where the
    header is broken. ISO/IEC 18181-1, SizeHeader.
    """
    at, end = 0, len(data)
    while not data.startswith(b"\xff\x0a", at):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in (b"jxlc", b"jxlp"):
            at += 8 + 4 * (kind == b"jxlp")
            if not data.startswith(b"\xff\x0a", at):
                return None
        elif length < 8 or at + length >= end:
            return None
        else:
            at += length
    bits = int.from_bytes(data[at + 2 : at + 18], "little")

    def take(count: int) -> int:
        nonlocal bits
        bits, value = bits >> count, bits & (1 << count) - 1
        return value

    small = take(1)

    def side() -> int:
        return 8 * (1 + take(5)) if small else 1 + take((9, 13, 18, 30)[take(2)])

    height, ratio = side(), take(3)
    if ratio == 0:
        return side(), height
    across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * across // down, height
