"""Small pictures of the products, made when they are first shown and kept within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from vsspark.config import ImagesConfig
from vsspark.images.fetch import read_image
from vsspark.images.thumbnails import thumbnail_jpeg

SIDE = 400  # pixels, the longer side: half a phone's width at twice the density; 10 to 25 kB a picture


class Thumbnails:
    """JPEGs by URI; the least lately shown go first."""

    def __init__(self, config: ImagesConfig, storage_options: Mapping[str, str], most_bytes: int):
        self._config, self._options, self._most = config, storage_options, most_bytes
        self._jpegs: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, uri: str) -> bytes:
        """The picture's JPEG. Raises ImageError where it cannot be read any more."""
        with self._lock:
            if uri in self._jpegs:
                self._jpegs.move_to_end(uri)
                return self._jpegs[uri]
        jpeg = thumbnail_jpeg(read_image(uri, self._config, self._options), self._config, SIDE)
        with self._lock:
            self._bytes += len(jpeg) - len(self._jpegs.pop(uri, b""))
            self._jpegs[uri] = jpeg
            while self._bytes > self._most:
                self._bytes -= len(self._jpegs.popitem(last=False)[1])
        return jpeg
