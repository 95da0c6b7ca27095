"""Small pictures for web pages: URIs in, `data:` URIs out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2

from vsspark.config import ImagesConfig
from vsspark.errors import ImageError
from vsspark.images.decode import decode_photo
from vsspark.images.fetch import read_image

SIDE = 192  # pixels, the longer side: sharp at the 96 to 180 CSS pixels it is shown at
QUALITY = 78  # of 100: 3 to 8 kB a picture


def read_thumbnails(uris: Sequence[str], config: ImagesConfig, storage_options: Mapping[str, str]) -> dict[str, str]:
    """Data URIs by image URI. A picture that cannot be read any more is left out: the report says so in its place."""

    def read(uri: str) -> bytes | None:
        try:
            return read_image(uri, config, storage_options)
        except ImageError:
            return None

    thumbnails = {}
    with ThreadPoolExecutor(config.fetch_threads) as pool:
        for start in range(0, len(uris), config.fetch_threads):  # a few at a time: whole files are held
            some = uris[start : start + config.fetch_threads]
            for uri, data in zip(some, pool.map(read, some), strict=True):
                try:
                    if data is not None:
                        thumbnails[uri] = thumbnail(data, config)
                except ImageError:
                    continue
    return thumbnails


def thumbnail(data: bytes, config: ImagesConfig) -> str:
    """`data:image/jpeg;base64,...` of `thumbnail_jpeg`."""
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail_jpeg(data, config)).decode("ascii")


def thumbnail_jpeg(data: bytes, config: ImagesConfig, side: int = SIDE) -> bytes:
    """A picture file's bytes as a JPEG shrunk to fit side x side pixels, never enlarged.

    Raises ImageError for bytes that are no usable picture.
    """
    photo = decode_photo(data, (side, side), config)
    scale = min(1.0, side / max(photo.height, photo.width))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    small = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(
        ".jpg",
        cv2.cvtColor(small, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    )
    return jpeg.tobytes()
