"""Pictures of 16 bits a sample as 8 bits.

Scanners and microscopes write 10 or 12 bits into 16 without scaling them, which a viewer shows nearly black. The bits in
use are told by the largest sample of the picture: up to 255 are 8 bits, up to 1023 ten, up to 4095 twelve; a picture
with any larger sample uses all 16. (PNG's sBIT says what a sensor had, not how its samples are scaled.)
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

_BITS = (8, 10, 12)  # that a picture may use of its 16
_BITS_PER_SAMPLE = 258  # TIFF's tag
_DARK = 15  # the largest 8-bit sample of a picture that uses 12 bits of 16


def eight_bits(image: Image.Image, data: bytes) -> Image.Image:
    """The loaded picture with 8 bits a sample and its transparent grey as alpha; the same one where it has 8 already.

    data: its file. Of colours PIL keeps the upper 8 bits; where these are dark throughout, the file is read once more.
    """
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        grey = (samples >> (_used_bits(samples) - 8)).astype(np.uint8)
        key = image.info.get("transparency")
        if not isinstance(key, int):
            return Image.fromarray(grey)
        return Image.fromarray(np.dstack([grey, np.where(samples == key, 0, 255).astype(np.uint8)]))
    if image.mode not in ("RGB", "RGBA") or not _has_16_bits(image, data):
        return image
    if max(most for _, most in image.getextrema()[:3]) > _DARK:
        return image
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if samples is None or samples.dtype != np.uint16 or samples.shape[:2] != image.size[::-1] or samples.ndim != 3:
        return image
    colours = (samples[..., 2::-1] >> (_used_bits(samples[..., :3]) - 8)).astype(np.uint8)
    scaled = Image.fromarray(np.ascontiguousarray(colours))
    if image.mode == "RGBA":
        scaled.putalpha(image.getchannel("A"))
    return scaled


def _used_bits(samples: np.ndarray) -> int:
    most = int(samples.max(initial=0))
    return next((bits for bits in _BITS if 0 < most < 2**bits), 16)


def _has_16_bits(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24] == 16
    return image.format == "TIFF" and 16 in image.tag_v2.get(_BITS_PER_SAMPLE, ())
