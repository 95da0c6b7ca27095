"""What every cut is sewn from: sleeves, bodices, collars, panels. Units as in `shapes`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.demo.products import COLOURS, ProductSpec
from vsspark.demo.shapes import Part, Points, Pose, along_limb, mirror, outline, spline, tube


def trim_colour(product: ProductSpec) -> tuple[int, int, int]:
    """A darker or lighter tone of the main colour, for bands, collars and linings."""
    colour = np.array(COLOURS[product.colour], np.float64)
    return tuple(int(v) for v in (colour * 0.78 if colour.mean() > 90 else colour * 1.25 + 14))


class Sleeve(NamedTuple):
    share: float  # of the arm that it covers
    width: float
    cuff: float = 0.0  # height of a ribbed cuff
    folds: float = 0.5
    cuff_colour: tuple[int, int, int] | None = None
    quilts: int = 0


def sleeves(pose: Pose, sleeve: Sleeve) -> list[Part]:
    """Both sleeves on the pose's arms."""
    share, width, cuff, folds, cuff_colour, quilts = sleeve
    parts = []
    for side in (-1, 1):
        path = along_limb(pose.arm(side), share)
        inner = path[0] + (-0.16 * side, 0.06)
        path = np.vstack([inner, path[1:]])
        end = width * (1 - 0.42 * share)
        widths = tuple(np.interp(np.arange(4), [0, 3], [width * 1.04, end]))
        direction = path[-1] - path[-2]
        angle = float(np.arctan2(-direction[0], direction[1]))
        hem = tube(path, widths)
        parts.append(
            Part([hem], angle=angle, folds=folds, quilts=quilts, seams=[] if cuff else [_across(path, widths, 0.09)])
        )
        if cuff:
            unit = direction / np.linalg.norm(direction)
            parts.append(
                Part(
                    [tube(np.stack([path[-1] - unit * cuff, path[-1] + unit * 0.02]), (end * 1.02, end * 0.92))],
                    cuff_colour,
                    angle,
                    0.1,
                    ribs=16,
                )
            )
    return parts


def _across(path: Points, widths: tuple[float, ...], back: float) -> Points:
    """The line across a tube, `back` units before its end: a hem's stitching."""
    unit = (path[-1] - path[-2]) / np.linalg.norm(path[-1] - path[-2])
    normal = np.array([-unit[1], unit[0]])
    at = path[-1] - unit * back
    return np.stack([at - normal * widths[-1], at + normal * widths[-1]])


class Neck(NamedTuple):
    style: str
    back: bool  # seen from the back


def _neck(style: str, back: bool) -> tuple[float, float]:
    """Half width and depth of a neckline."""
    if back:
        return (0.36, 0.07)
    return {
        "v": (0.36, 0.62),
        "scoop": (0.44, 0.48),
        "boat": (0.58, 0.16),
        "turtle": (0.3, 0.06),
        "wrap": (0.38, 0.95),
    }.get(style, (0.36, 0.26))


def bodice(neck: Neck, shoulder: float, ease: float, side: Points, hem_sag: float = 0.08) -> tuple[Points, Points]:
    """A top's outline and its neckline; `side` runs from below the armpit down to the hem on the right."""
    style, back = neck
    half, depth = _neck(style, back)
    left, right = (-half, 1.36), (half, 1.36)
    curve = (
        spline(left, (0, 1.36 + depth), right, steps=2)
        if style in ("v", "wrap") and not back
        else spline(
            left, (-half * 0.72, 1.36 + depth * 0.72), (0, 1.36 + depth), (half * 0.72, 1.36 + depth * 0.72), right
        )
    )
    flank = outline(
        spline((shoulder - 0.16, 1.45), (shoulder - 0.02, 1.52), (shoulder - 0.04, 1.8), (0.74 + ease, 2.12)), side
    )
    bottom = spline(tuple(side[-1]), (0, side[-1][1] + hem_sag), (-side[-1][0], side[-1][1]))
    return outline(curve, flank, bottom, mirror(flank)), curve


def collar_band(curve: Points, colour, width: float = 0.1) -> Part:
    """The ribbed band around a neckline."""
    lower = np.add(curve, (0, width))
    return Part([outline(curve * (1.0, 1.0), lower[::-1])], colour, folds=0.0, roundness=0.5, ribs=18)


def lining(style: str, colour) -> Part:
    """The inside of the back, seen through the neckline."""
    half, depth = _neck(style, False)
    return Part(
        [
            outline(
                spline((-half, 1.36), (0, 1.42), (half, 1.36)), spline((half, 1.36), (0, 1.4 + depth), (-half, 1.36))
            )
        ],
        colour,
        folds=0,
        tint=0.6,
    )


def skirt_panel(waist_y: float, waist: float, hem: float, half_hem: float, **style) -> Part:
    side = (
        spline((waist, waist_y), (waist + 0.26, waist_y + 0.75), (half_hem, hem))
        if hem - waist_y > 1
        else spline((waist, waist_y), (half_hem, hem))
    )
    bottom = spline(
        (half_hem, hem), (half_hem * 0.5, hem + 0.12), (0, hem + 0.16), (-half_hem * 0.5, hem + 0.12), (-half_hem, hem)
    )
    return Part([outline(side, bottom, mirror(side))], seams=[bottom - (0, 0.1)], **style)


def shade(colour: tuple[int, int, int], by: float) -> tuple[int, int, int]:
    """The colour, darker or lighter."""
    return tuple(int(min(255, v * by + (12 if by > 1 else 0))) for v in colour)
