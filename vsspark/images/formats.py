"""Formats beside those that Pillow always reads: AVIF as it was built, HEIC and JPEG XL by libraries of their own."""

from __future__ import annotations

from functools import lru_cache

from PIL import features

_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")


@lru_cache(maxsize=1)
def extra_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here too; their openers are registered."""
    found = ["AVIF"] if features.check("avif") else []
    try:
        from pillow_heif import register_heif_opener

        register_heif_opener()
        found.append("HEIF")
    except ImportError:
        pass
    try:
        import pillow_jxl  # noqa: F401 - it registers itself

        found.append("JXL")
    except ImportError:
        pass
    return tuple(found)


def is_extra(data: bytes) -> bool:
    """Whether a file begins as AVIF, HEIC or JPEG XL do."""
    return data.startswith(_JPEG_XL) or (data[4:8] == b"ftyp" and data[8:12] in (*_HEIC, *_AVIF))


def lacking_decoder(data: bytes) -> str | None:
    """The library that would read a file of a known format, and the format; None for other files."""
    if data.startswith(_JPEG_XL):
        return None if "JXL" in extra_formats() else "JPEG XL: read by pillow-jxl-plugin"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return None if "HEIF" in extra_formats() else "HEIC: read by pillow-heif"
    if data[4:8] == b"ftyp" and data[8:12] in _AVIF:
        return None if "AVIF" in extra_formats() else "AVIF: read by a Pillow that was built with it"
    return None


def ends_in_a_box(data: bytes) -> bool:
    """Whether a file of ISO boxes (AVIF, HEIC, JPEG XL) ends before its last box does; False for one of no boxes."""
    at = 0 if data[4:8] in (b"ftyp", b"JXL ") else len(data)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # up to the end
            return False
        at += max(8, size)
    return at != len(data)
