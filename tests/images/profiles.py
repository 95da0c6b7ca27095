"""ICC profiles made by hand, and the colours that a matrix profile means, by its own formula."""

from __future__ import annotations

import struct

import numpy as np

# Red, green and blue as XYZ under D50, from the standards' own tables.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(name: str, tags: dict[bytes, bytes], space: bytes = b"RGB ") -> bytes:
    """A version 4 display profile with these tags, its name and D50 as white."""
    text = name.encode("utf-16-be")
    tags = {
        b"desc": b"mluc" + bytes(4) + struct.pack(">LL2s2sLL", 1, 12, b"en", b"US", len(text), 28) + text,
        b"wtpt": b"XYZ " + bytes(4) + _fixed(0.9642, 1.0, 0.82491),
    } | tags
    table, body, at = struct.pack(">L", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">LL", at + len(body), len(content))
        body += content
    head = struct.pack(">L4sL4s4s4s12s4s", at + len(body), b"lcms", 0x04300000, b"mntr", space, b"XYZ ", b"", b"acsp")
    head += bytes(28) + _fixed(0.9642, 1.0, 0.82491)
    return head.ljust(128, b"\0") + table + body


def matrix_profile(name: str, primaries: tuple, curve: tuple[float, ...] = SRGB_CURVE) -> bytes:
    """curve: a gamma alone, or the five numbers of a parametric curve of type 3."""
    tag = b"para" + bytes(4) + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(*curve)
    tags = {bytes((letter,)) + b"TRC": tag for letter in b"rgb"}
    for letter, colour in zip(b"rgb", primaries, strict=True):
        tags[bytes((letter,)) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*colour)
    return profile(name, tags)


def gray_profile(name: str, gamma: float) -> bytes:
    curve = b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(gamma)
    return profile(name, {b"kTRC": curve}, space=b"GRAY")


def as_srgb(colour: tuple[int, ...], primaries: tuple, curve: tuple[float, ...] = SRGB_CURVE) -> np.ndarray:
    """(3,) what the colour is in sRGB, 0 to 255."""
    value = np.asarray(colour) / 255
    if len(curve) == 1:
        linear = value ** curve[0]
    else:
        gamma, a, b, c, limit = curve
        linear = np.where(value >= limit, (a * value + b) ** gamma, c * value)
    linear = np.linalg.solve(np.transpose(SRGB), np.transpose(primaries) @ linear).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
