"""Outlines in body units: x to the right of the spine, y down from the top of the head, a figure 8 units tall.
Polygons are (n, 2) float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Points = np.ndarray


@dataclass
class Part:
    """One piece of cloth, skin or sole, drawn over those before it."""

    outlines: list[Points]  # their union is painted
    colour: tuple[int, int, int] | None = None  # None = the product's cloth
    angle: float = 0.0  # radians the cloth's grain is turned by
    folds: float = 0.5  # depth of the folds, 0 = none
    roundness: float = 1.0  # how much the part bulges
    pleats: int = 0  # vertical pleats that fan out from the top
    quilts: int = 0  # horizontal quilted tubes
    seams: list[Points] = field(default_factory=list)  # stitched lines
    ribs: float = 0.0  # knitted ribs per body unit, for cuffs and bands
    printed: tuple[float, float, float] | None = None  # centre x, y and half width of the product's print
    tint: float = 1.0  # multiplies the colour: linings and far sides are darker
    buttons: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, radius


def spline(*points: tuple[float, float], steps: int = 7) -> Points:
    """A smooth curve through the points (Catmull-Rom, as published by Catmull and Rom, 1974), ends included."""
    p = np.asarray(points, np.float64)
    if len(p) < 3:
        return p
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([curve.reshape(-1, 2), p[-2]])


def outline(*pieces: Points) -> Points:
    """A closed polygon from curves laid end to end; corners between the pieces stay sharp."""
    return np.vstack(pieces)


def mirror(points: Points) -> Points:
    """The curve on the other side of the spine, walked the other way, so that it closes what the original opened."""
    return points[::-1] * (-1, 1)


def moved(point: Points, dx: float, dy: float) -> tuple[float, float]:
    return (float(point[0] + dx), float(point[1] + dy))


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    e = np.stack([rx * np.cos(t), ry * np.sin(t)], 1)
    return e @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (x, y)


def tube(path: Points, widths: tuple[float, ...], round_end: bool = False) -> Points:
    """The outline around a centre line whose half widths at its points are `widths`: sleeves, arms, legs."""
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    w = np.asarray(widths)[:, None]
    left, right = spline(*(path + normal * w), steps=5), spline(*(path - normal * w), steps=5)
    pieces = [left, right[::-1]]
    if round_end:
        tip = path[-1] + along[-1] / np.linalg.norm(along[-1]) * widths[-1] * 0.8
        pieces = [left, spline(left[-1], tip, right[-1], steps=5), right[::-1]]
    return np.vstack(pieces)


@dataclass(frozen=True)
class Pose:
    """Where the limbs are: angles in radians from straight down, outwards positive, for the figure's left and right
    of the picture.
    """

    arms: tuple[float, float] = (0.62, 0.62)
    elbows: tuple[float, float] = (0.0, 0.0)
    legs: float = 0.05
    head: float = 0.0

    def arm(self, side: int) -> Points:
        """Shoulder, elbow and wrist, (3, 2); side -1 = left of the picture, 1 = right."""
        i = (side + 1) // 2
        upper, lower = self.arms[i], self.arms[i] + self.elbows[i]
        shoulder = np.array([0.72 * side, 1.72])
        elbow = shoulder + 1.32 * np.array([np.sin(upper) * side, np.cos(upper)])
        return np.stack([shoulder, elbow, elbow + 1.2 * np.array([np.sin(lower) * side, np.cos(lower)])])

    def leg(self, side: int) -> Points:
        """Hip, knee and ankle, (3, 2)."""
        spread = np.sin(self.legs)
        return np.array([[0.4 * side, 3.95], [(0.40 + 1.8 * spread) * side, 5.75], [(0.38 + 3.4 * spread) * side, 7.4]])


def along_limb(limb: Points, share: float) -> Points:
    """The limb's first `share` of its length as (4, 2) evenly spaced points."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(limb, axis=0), axis=1))])
    at = np.linspace(0, share, 4) * lengths[-1]
    return np.stack([np.interp(at, lengths, limb[:, 0]), np.interp(at, lengths, limb[:, 1])], 1)
