"""ICC profiles for colours that a file gives as numbers: its primaries, its white and its curve."""

from __future__ import annotations

import struct

import numpy as np

_D50 = np.array([0.9642, 1.0, 0.82491])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_D65 = (0.3127, 0.3290)
# ITU-T H.273: x and y of white, red, green and blue by number; curves by number. Not the ones of high dynamic range.
_PRIMARIES = {
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_BOXES = 2**16  # bytes in which an AVIF's or HEIC's properties lie
_CURVES = {4: (2.2,), 5: (2.8,), 8: (1.0,), 13: _SRGB_CURVE}


def named_profile(primaries: int, curve: int) -> bytes | None:
    """The profile of H.273's numbers; None where they are not known here, or mean sRGB."""
    known = primaries in _PRIMARIES and curve in _CURVES and (primaries, curve) != (1, 13)
    return primaries_profile(_PRIMARIES[primaries], _CURVES[curve]) if known else None


def nclx_profile(data: bytes) -> bytes | None:
    """The profile of an AVIF's or HEIC's `colr` box that holds H.273's numbers; None without one."""
    at = data.find(b"colrnclx", 0, _BOXES)
    return named_profile(*struct.unpack_from(">HH", data, at + 8)) if 0 <= at <= len(data) - 12 else None


def primaries_profile(points: tuple[float, ...], curve: tuple[float, ...]) -> bytes | None:
    """A matrix profile; None for numbers that mean no colours.

    points: x and y of white, red, green and blue. curve: a gamma alone, or the numbers of a parametric curve of type 3.
    """
    if not 0.1 <= curve[0] <= 10:
        return None
    matrix = _to_d50(np.array(points).reshape(4, 2))
    if matrix is None:
        return None
    tag = b"para" + bytes(4) + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(*curve)
    tags = {name: tag for name in (b"rTRC", b"gTRC", b"bTRC")}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True):
        tags[name] = b"XYZ " + bytes(4) + _fixed(*column)
    tags[b"wtpt"] = b"XYZ " + bytes(4) + _fixed(*_D50)
    table, body, start = struct.pack(">L", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">LL", start + len(body), len(content))
        body += content
    head = struct.pack(">L4xL4s4s4s12x4s28x", start + len(body), 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + _fixed(*_D50)).ljust(128, b"\0") + table + body


def _to_d50(points: np.ndarray) -> np.ndarray | None:
    """(3, 3) from linear RGB to XYZ under D50, the adaptation Bradford's, or None. points: (4, 2)."""
    if not (points[:, 1] > 0).all():
        return None
    white, *primaries = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in points)
    matrix = np.stack(primaries, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-3:
        return None
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    matrix = np.linalg.inv(_BRADFORD) @ (cones[:, None] * _BRADFORD) @ matrix
    return matrix if np.isfinite(matrix).all() and np.abs(matrix).max() < 100 else None


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)
