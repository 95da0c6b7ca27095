"""Pixels as a browser shows them, from the bytes of a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF file; HEIC and JPEG XL too
where `optional` finds their libraries.

Of an animation the first frame. Turned by its EXIF orientation; CMYK and the colours of profiles, by their numbers,
brought to sRGB; 16 bits to 8 (`samples`); alpha laid on white. A JPEG whose last bytes are missing is whole while they
held no pixels; other files that end early are refused.
The header is read first: a file that is too small or too large is refused before one pixel is decoded. Peak memory of
a decode, measured with 25 million pixels: 6 bytes a pixel for a progressive JPEG, 12 for the other formats, 19 for WebP
and AVIF, which hold a picture several times over, and for fewer bits in 16, which are decoded twice.

Time of a decode: images.decode_timeout_s at most. Plain JPEG, PNG and WebP files of little work (`structure`) are
decoded by the calling thread, in about a second at most; all other files in a process that ends with the time
(`decoder_process`). Nothing here changes settings of the whole process: PIL's limits stay as they are.

The whole picture is squashed to the encoder's square: nothing of the garment is cut off, no border becomes a feature.
Measured with MobileNetV2's ImageNet weights at 224 pixels, cosine, leave one out (luma: same product at rank 1,
category of the nearest other product; clothing: category at rank 1, the same with the same sender's photos left out):

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
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageChops

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError, Reason
from vsspark.images.box import Box
from vsspark.images.colours import QUICK_PROFILE, Conversion, cmyk_to_rgb, conversion, flatten, in_bands
from vsspark.images.decoder_process import decode_in_process
from vsspark.images.fit import Fit
from vsspark.images.frame import FORMATS, check_size, check_tiles, load_first_frame, open_image
from vsspark.images.icc import nclx_profile
from vsspark.images.jpeg import decode_jpeg, with_end, with_one_exif
from vsspark.images.png import SIGNATURE, read_png
from vsspark.images.refusal import refusal
from vsspark.images.structure import Plain, check_structure

# Enters every model version: change it when decode_image gives other pixels for the same bytes.
PREPROCESSING = "squash-2"

# A plain file within these is decoded in about a second at most.
_QUICK_PIXELS, _QUICK_BYTES = 32_000_000, 2**24
_JPEG = ("JPEG", "MPO")  # MPO: a phone's JPEG with a second picture behind the first
_EXIF_ORIENTATION = 0x0112
# How many quarter turns (counter-clockwise), then whether mirrored left to right, for EXIF orientations 1 to 8.
_TURNS = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True)}
_TURNS |= {5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


class Photo(NamedTuple):
    pixels: np.ndarray  # (h, w, 3) uint8 RGB at the asked size
    width: int  # of the file, as a viewer shows it
    height: int


def decode_image(data: bytes, size: tuple[int, int], config: ImagesConfig) -> np.ndarray:
    """(h, w, 3) uint8 RGB; see `decode_photo`."""
    return decode_photo(data, size, config).pixels


def decode_photo(data: bytes, size: tuple[int, int] | Fit, config: ImagesConfig, box: Box | None = None) -> Photo:
    """The picture, or the box's part of it, at `size`, and the whole picture's own width and height.

    size: (height, width) that the picture is squashed to, or how it is fitted. It takes config.decode_timeout_s at most.
    Raises ImageError: NOT_AN_IMAGE, NO_LIBRARY, TRUNCATED, CORRUPT, TOO_SMALL, TOO_MANY_PIXELS, TOO_SLOW, BAD_BOX.
    """
    if data.startswith(b"\xff\xd8"):
        data = with_one_exif(data)
    plain = check_structure(data, config.max_pixels)
    photo = decode_here(data, size, config, box, plain) if plain is not None and _is_quick(plain, data) else None
    return photo or Photo(*decode_in_process(data, size, config, box))


def _is_quick(plain: Plain, data: bytes) -> bool:
    """Whether the work is small, and PIL's own limit, which is the whole process's, allows the picture."""
    pixels = plain.width * plain.height
    small = Image.MAX_IMAGE_PIXELS is None or pixels <= Image.MAX_IMAGE_PIXELS
    return small and pixels * plain.passes <= _QUICK_PIXELS and len(data) <= _QUICK_BYTES


def decode_here(
    data: bytes,
    size: tuple[int, int] | Fit,
    config: ImagesConfig,
    box: Box | None = None,
    plain: Plain | None = None,
) -> Photo | None:
    """As `decode_photo`, by the calling thread and for as long as it takes.

    plain: what `check_structure` says of the file; None is returned where the decoder finds more work than that.
    """
    png = read_png(data) if data.startswith(SIGNATURE) else None
    content = data if png is None else png.data
    try:
        image = open_image(content, config)
    except ImageError:
        raise
    except Exception as error:  # each format's parser raises whatever its arithmetic on broken bytes runs into
        raise refusal(data, error, FORMATS) from None
    width, height = image.size
    profile = image.info.get("icc_profile") if png is None else png.profile
    if image.format in ("AVIF", "HEIF"):
        profile = profile or nclx_profile(data)
    if plain is not None and (image.size != plain[:2] or len(profile or b"") > QUICK_PROFILE):
        return None
    check_size(width, height, config)
    if min(width, height) < config.min_side:
        raise ImageError(Reason.TOO_SMALL, f"{width}x{height}, the shorter side must have {config.min_side} pixels")
    try:
        check_tiles(image, config)
        to_srgb = conversion(profile, image.mode)
        loaded = image if image.format in _JPEG else load_first_frame(image, content, png)
        # The EXIF after the pixels, for it may lie behind a PNG's; PIL reports a broken stream only once.
        turns, mirror = _TURNS.get(_orientation(image), (0, False))
        view_size = (height, width) if turns % 2 else (width, height)
        part = None if box is None else box.clipped(*view_size, config.min_side).as_stored(*view_size, turns, mirror)
        stored = size if turns % 2 == 0 or isinstance(size, Fit) else size[::-1]
        if image.format in _JPEG:
            pixels = _jpeg_pixels(data, image, stored, part, to_srgb)
        else:
            pixels = _pixels(loaded, stored, part, to_srgb)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width}x{height}: out of memory") from None
    except Exception as error:
        raise refusal(data, error, FORMATS) from None
    if turns or mirror:
        pixels = np.rot90(pixels, turns)
        pixels = np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)
    if isinstance(size, Fit):
        pixels = size.apply(pixels)
    return Photo(pixels, *view_size)


def _jpeg_pixels(
    data: bytes, image: Image.Image, size: tuple[int, int] | Fit, part: Box | None, to_srgb: Conversion | None
) -> np.ndarray:
    """As `_pixels`, of a JPEG that is not decoded yet, decoded at a fraction of its size where that suffices."""
    whole = image.size
    least = whole[::-1] if isinstance(size, Fit) else size
    height, width = enough = least if part is None else _enough(least, part, whole)
    if image.mode in ("RGB", "L"):
        pixels = decode_jpeg(data, enough)
        if pixels is not None:
            if part is not None:
                left, top, right, bottom = _scale(part, whole, (pixels.shape[1], pixels.shape[0]))
                pixels = pixels[top:bottom, left:right]
            small = _shrunk(pixels, size)
            return small if to_srgb is None else to_srgb.apply(small)
    image = _drafted(data, image, (width, height))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # PIL takes every CMYK JPEG for an inverted one, as Adobe writes them; without Adobe's marker it is not.
        inverted = ImageChops.invert(image)
        return _pixels(inverted, size, None if part is None else _scale(part, whole, image.size), to_srgb)
    return _pixels(image, size, None if part is None else _scale(part, whole, image.size), to_srgb)


def _drafted(data: bytes, image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The JPEG decoded by PIL, no smaller than `size` = (width, height)."""
    try:
        image.draft(None, size)
        image.load()
        return image
    except OSError:
        whole = with_end(data) if image.mode == "CMYK" else None
        if whole is None:
            raise
    image = Image.open(io.BytesIO(whole), formats=_JPEG)
    image.draft(None, size)
    image.load()
    return image


def _pixels(
    image: Image.Image,
    size: tuple[int, int] | Fit,
    part: tuple[int, int, int, int] | None,
    to_srgb: Conversion | None,
) -> np.ndarray:
    """(h, w, 3) uint8 sRGB of the picture, or a part of it, at `size`, or for a fit as large as it is; all in the
    file's own orientation.
    """
    if part is not None:
        image = image.crop(part)
    if image.mode == "CMYK":
        small = _shrunk(in_bands(image, np.asarray, 4), size)
        return cmyk_to_rgb(small) if to_srgb is None else to_srgb.apply(small)
    small = _shrunk(in_bands(image, flatten, 3), size)
    return small if to_srgb is None else to_srgb.apply(small)


def _enough(size: tuple[int, int], part: Box, whole: tuple[int, int]) -> tuple[int, int]:
    """(height, width) to decode the whole picture at so that the part has `size` pixels; never more than it has."""
    least = -(-size[0] * whole[1] // (part.bottom - part.top)), -(-size[1] * whole[0] // (part.right - part.left))
    return min(least[0], whole[1]), min(least[1], whole[0])


def _scale(part: Box, whole: tuple[int, int], decoded: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part in a picture of (width, height) `whole` decoded at `decoded`; pixels that it cuts through are inside."""
    eighths = round(8 * max(decoded) / max(whole))  # JPEGs are shrunk by eighths; their sides are rounded up
    left, top = part.left * eighths // 8, part.top * eighths // 8
    return left, top, -(-part.right * eighths // 8), -(-part.bottom * eighths // 8)


def _shrunk(pixels: np.ndarray, size: tuple[int, int] | Fit) -> np.ndarray:
    """The pixels squashed to a size; as they are for a fit, which comes last."""
    return pixels if isinstance(size, Fit) else squash(pixels, size)


def squash(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3 or 4) uint8 at `size` = (height, width), antialiased.

    Resized to the nearest whole multiple of `size`, no less than twice, then the mean of each little block. Embeddings
    agree with INTER_AREA's at a fractional ratio to cosine .9997, in a third of the time: 0.35 against 0.98 ms for
    512x413 to 224x224. A side that has to grow is interpolated.
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


def _orientation(image: Image.Image) -> int:
    """EXIF's; browsers do not turn a picture by what XMP says. JPEG XL is turned by its decoder, a JPEG in it is not."""
    for name in ("xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        image.info.pop(name, None)
    try:
        turned = image.format == "JXL" and not image.jpeg
        return 1 if turned else image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1  # broken EXIF says nothing about the picture
