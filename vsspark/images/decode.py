"""Pixels as a viewer shows them, from the bytes of a JPEG, PNG, GIF (first frame), WebP, AVIF, BMP or TIFF file.

Turned by its EXIF orientation, CMYK and foreign colour profiles brought to sRGB, 16 bits to 8, alpha laid on white.
The header is read first: a file that is too small or too large is refused before one pixel is decoded. Peak memory of a decode, measured with
25 million pixels: 6 bytes a pixel for a progressive JPEG, 12 for the other formats, 19 for WebP and AVIF, which hold a picture several times over.

The whole picture is squashed to the encoder's square: nothing of the garment is cut off, no border becomes a feature.
Measured with MobileNetV2's ImageNet weights at 224 pixels, cosine, leave one out (luma: same product at rank 1, category of the
nearest other product; clothing: category at rank 1, the same with the same sender's photos left out):

    preprocessing              luma product  luma category  clothing category  same sender out
    squash, blocks (this)             .666           .755               .794             .738
    squash, cv2 INTER_AREA            .663           .757               .796             .738
    squash, cv2 INTER_LINEAR          .660           .746               .798             .742
    squash, PIL bilinear              .654           .764
    squash, PIL bicubic               .663           .754
    squash, averaged with flip        .653           .741
    padded with white                 .647           .758               .786             .714
    padded with the border's median   .644           .758
    padded with edge pixels           .645           .754
    centre crop                       .648           .775               .817             .768
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image, ImageChops, ImageCms, features

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.box import Box
from vsspark.images.structure import check_structure

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF") + (("AVIF",) if features.check("avif") else ())
PREPROCESSING = "squash-1"  # enters every model version: change it when decode_image gives other pixels for the same bytes

# PIL's own limit is fixed at 179 million pixels; images.max_pixels is checked here, right after the header is read.
Image.MAX_IMAGE_PIXELS = None
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the pool around it is the parallelism; by default it starts a thread per core of the machine

_JPEG = ("JPEG", "MPO")  # MPO: a phone's JPEG with a second picture behind the first
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_END = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND", b"GIF87a": b";", b"GIF89a": b";"}
_EXIF_ORIENTATION = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_BAND = 2**20  # pixels converted at a time: PIL holds an RGB pixel in 4 bytes, and converts into a copy
# How many quarter turns (counter-clockwise), then whether mirrored left to right, for EXIF orientations 1 to 8.
_TURNS = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


class Photo(NamedTuple):
    pixels: np.ndarray  # (h, w, 3) uint8 RGB at the asked size
    width: int  # of the file, as a viewer shows it
    height: int


def decode_image(data: bytes, size: tuple[int, int], config: ImagesConfig) -> np.ndarray:
    """(h, w, 3) uint8 RGB; see `decode_photo`."""
    return decode_photo(data, size, config).pixels


def decode_photo(data: bytes, size: tuple[int, int], config: ImagesConfig, box: Box | None = None) -> Photo:
    """The picture, or the box's part of it, squashed to `size` = (height, width), and the whole picture's own width and height.

    Raises ImageError: NOT_AN_IMAGE, TRUNCATED, CORRUPT, TOO_SMALL, TOO_MANY_PIXELS, BAD_BOX.
    """
    check_structure(data, config.max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # each format's parser raises whatever its arithmetic on broken bytes runs into
        raise _refusal(data, error) from None
    width, height = image.size
    if width * height > config.max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width}x{height}, allowed are {config.max_pixels} pixels")
    if min(width, height) < config.min_side:
        raise ImageError(Reason.TOO_SMALL, f"{width}x{height}, the shorter side must have {config.min_side} pixels")
    try:
        _check_tiles(image, config)
        if image.format not in _JPEG:
            image.load()  # before the EXIF is looked for: behind a PNG's pixels too, and PIL reports a broken stream only once
        turns, mirrored = _TURNS.get(_orientation(image), (0, False))
        shown = (height, width) if turns % 2 else (width, height)
        part = None if box is None else box.clipped(*shown, config.min_side).as_stored(*shown, turns, mirrored)
        pixels = _stored_pixels(data, image, size if turns % 2 == 0 else size[::-1], part)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width}x{height}: out of memory") from None
    except Exception as error:
        raise _refusal(data, error) from None
    if turns or mirrored:
        pixels = np.rot90(pixels, turns)
        pixels = np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)
    return Photo(pixels, *shown)


def _check_tiles(image: Image.Image, config: ImagesConfig) -> None:
    """Raises ImageError for a TIFF in tiles too large: each is decoded whole, however little of it the picture covers."""
    if image.format == "TIFF":
        pixels = image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0)
        if pixels > config.max_pixels:
            raise ImageError(Reason.TOO_MANY_PIXELS, f"tiles of {pixels} pixels, allowed are {config.max_pixels}")


def _stored_pixels(data: bytes, image: Image.Image, size: tuple[int, int], part: Box | None) -> np.ndarray:
    """(h, w, 3) uint8 sRGB of the picture, or a part of it, at `size`; all in the file's own orientation."""
    whole = image.size
    height, width = enough = size if part is None else _enough(size, part, whole)
    profile = image.info.get("icc_profile")
    if image.format in _JPEG:
        if image.mode in ("RGB", "L"):
            pixels = _decode_jpeg(data, enough)
            if pixels is not None:
                if part is not None:
                    left, top, right, bottom = _scaled(part, whole, (pixels.shape[1], pixels.shape[0]))
                    pixels = pixels[top:bottom, left:right]
                return _to_srgb(Image.fromarray(squash(pixels, size)), profile) if _foreign(profile) else squash(pixels, size)
        image.draft(None, (width, height))
    image.load()
    if part is not None:
        image = image.crop(_scaled(part, whole, image.size))
    if image.mode == "CMYK":
        # PIL takes every CMYK JPEG for an inverted one, as Adobe writes them; without Adobe's marker it is not.
        if image.format == "JPEG" and "adobe" not in image.info:
            image = ImageChops.invert(image)
        small = Image.fromarray(squash(_in_bands(image, np.asarray, 4), size), mode="CMYK")
        return _to_srgb(small, profile)
    pixels = squash(_in_bands(image, _flatten, 3), size)
    return _to_srgb(Image.fromarray(pixels), profile) if _foreign(profile) else pixels


def _enough(size: tuple[int, int], part: Box, whole: tuple[int, int]) -> tuple[int, int]:
    """(height, width) the whole picture must be decoded at for the part to have `size` pixels; never more than it has."""
    wanted = -(-size[0] * whole[1] // (part.bottom - part.top)), -(-size[1] * whole[0] // (part.right - part.left))
    return min(wanted[0], whole[1]), min(wanted[1], whole[0])


def _scaled(part: Box, whole: tuple[int, int], decoded: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture of (width, height) `whole` that was decoded at `decoded`; of pixels it cuts through it has all."""
    eighths = round(8 * max(decoded) / max(whole))  # what JPEGs are shrunk by; sides are rounded up and say it less exactly
    return part.left * eighths // 8, part.top * eighths // 8, -(-part.right * eighths // 8), -(-part.bottom * eighths // 8)


def _decode_jpeg(data: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """RGB no smaller than `size`, decoded at an eighth, quarter or half where that suffices; None when PIL should judge the file."""
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=size[0], min_width=size[1], min_factor=2)
    except ValueError:
        # libjpeg warns about stray bytes as it does about a missing half; PIL tells the two apart.
        return None


def squash(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3 or 4) uint8: to the nearest whole multiple of `size`, no less than twice, then the mean of each little block.

    Antialiased like INTER_AREA at a fractional ratio (embeddings agree to cosine .9997) in a third of its time: 0.35 against 0.98 ms
    for 512x413 to 224x224. A side that has to grow is interpolated.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    down = _whole_ratio(pixels.shape[0], height)
    across = _whole_ratio(pixels.shape[1], width)
    pixels = cv2.resize(pixels, (width * across, height * down), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA) if down * across > 1 else pixels


def _whole_ratio(have: int, want: int) -> int:
    return max(2, round(have / want)) if have > want else 1


def _in_bands(image: Image.Image, to_array: Callable[[Image.Image], np.ndarray], channels: int) -> np.ndarray:
    """(h, w, channels) uint8: `to_array` of the picture, a band of rows at a time, so that no second copy of a large one is held."""
    width, height = image.size
    rows = max(1, _BAND // width)
    if rows >= height:
        return to_array(image)
    pixels = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, rows):
        pixels[top : top + rows] = to_array(image.crop((0, top, width, min(top + rows, height))))
    return pixels


def _flatten(image: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8: palettes looked up, 16 bits cut to 8, alpha composited on white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        gray = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined colours")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _foreign(profile: bytes | None) -> bool:
    """Whether a colour profile is anything but sRGB (which names itself in Latin letters, or in UTF-16 since version 4)."""
    return bool(profile) and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def _to_srgb(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """(h, w, 3) uint8 through the file's own profile; without a usable one, PIL's plain conversion."""
    if _foreign(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile for another colour space, or a broken one: viewers ignore it too
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1  # broken EXIF says nothing about the picture


def _refusal(data: bytes, error: Exception) -> ImageError:
    """The reason for bytes that the decoder gave up on: no image, one that ends early, or one that is corrupt."""
    magic = next((m for m in _MAGIC if data.startswith(m)), None)
    avif = data[4:12] in (b"ftypavif", b"ftypavis")
    if (magic is None and not avif) or (magic == b"RIFF" and data[8:12] != b"WEBP"):
        return ImageError(Reason.NOT_AN_IMAGE, f"begins with {bytes(data[:16])!r}; read are {', '.join(FORMATS)}")
    short = magic == b"RIFF" and len(data) >= 8 and struct.unpack_from("<I", data, 4)[0] + 8 > len(data)
    endless = magic in _END and _END[magic] not in data[-32:]
    if short or endless or "truncated" in str(error):
        return ImageError(Reason.TRUNCATED, f"{len(data)} bytes: {error}")
    return ImageError(Reason.CORRUPT, f"{type(error).__name__}: {error}")
