"""Shoes, cut in the same units as garments, on the ground at x = 0, y = 7.4 to 7.9."""

from __future__ import annotations

import numpy as np

from vsspark.demo.products import COLOURS, ProductSpec
from vsspark.demo.sewing import shade
from vsspark.demo.shapes import Part, Pose, outline, spline


def shoe_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    """A pair, the far shoe first; from "behind" it points the other way."""
    near = _one_shoe(product)
    far = _one_shoe(product)
    for part in far:
        _move(part, (0.2, -0.14))
        part.tint *= 0.86
    parts = far + near
    if back:
        for part in parts:
            part.outlines = [o * (-1, 1) for o in part.outlines]
            part.seams = [s * (-1, 1) for s in part.seams]
            part.buttons = [(-x, y, r) for x, y, r in part.buttons]
    return parts


def _move(part: Part, by: tuple[float, float]) -> None:
    part.outlines = [o + by for o in part.outlines]
    part.seams = [s + by for s in part.seams]
    part.buttons = [(x + by[0], y + by[1], r) for x, y, r in part.buttons]


def _one_shoe(product: ProductSpec) -> list[Part]:
    """The right side of a shoe that points to the left, toe at x = -0.62, heel at 0.42, ground at y = 7.9."""
    colour, second = COLOURS[product.colour], COLOURS[product.second_colour]
    dark = shade(colour, 0.6) if sum(colour) > 200 else shade(colour, 1.5)
    if product.variant == "sneaker":
        high = 0.22 * (product.length > 0.6)
        upper = outline(
            spline((-0.62, 7.76), (-0.58, 7.6), (-0.38, 7.54), (-0.12, 7.4), (0.06, 7.22 - high)),
            spline((0.06, 7.22 - high), (0.2, 7.3 - high * 0.8), (0.4, 7.16 - high), (0.43, 7.4), (0.42, 7.78)),
            np.array([(-0.62, 7.78)]),
        )
        sole = outline(
            spline((-0.66, 7.76), (-0.2, 7.8), (0.45, 7.74)),
            spline((0.46, 7.88), (0, 7.93), (-0.55, 7.91), (-0.68, 7.82)),
        )
        toe = outline(spline((-0.63, 7.78), (-0.58, 7.6), (-0.44, 7.56), (-0.34, 7.78)))
        heel = outline(spline((0.27, 7.78), (0.3, 7.4), (0.42, 7.3), (0.43, 7.78)))
        accent = second if product.pattern == "colour-block" or product.motif % 2 else dark
        swoosh = outline(
            spline((-0.2, 7.62), (0.05, 7.68), (0.3, 7.46)), spline((0.3, 7.5), (0.05, 7.76), (-0.2, 7.68))
        )
        laces = [
            Part(
                [np.array([(x, y), (x + 0.15, y + 0.03), (x + 0.145, y + 0.06), (x - 0.005, y + 0.03)])],
                (244, 242, 236),
                folds=0,
                roundness=0.4,
            )
            for x, y in ((-0.3, 7.5), (-0.21, 7.44), (-0.12, 7.38), (-0.04, 7.3))
        ]
        return [
            Part(
                [upper],
                folds=0.2,
                roundness=1.3,
                seams=[
                    spline((-0.38, 7.56), (-0.16, 7.66), (-0.02, 7.76)),
                    spline((-0.16, 7.5), (0.0, 7.5), (0.08, 7.3)),
                ],
            ),
            Part([toe], (240, 238, 232) if product.motif % 3 == 0 else accent, folds=0, roundness=1.2),
            Part([heel], accent, folds=0),
            Part([swoosh], accent, folds=0, roundness=0.3),
            *laces,
            Part(
                [sole],
                (238, 236, 230),
                folds=0.0,
                roundness=0.6,
                seams=[spline((-0.64, 7.84), (0, 7.87), (0.45, 7.81))],
            ),
        ]
    if product.variant == "boot":
        top = 6.95 - 0.5 * product.length
        upper = outline(
            spline((-0.6, 7.78), (-0.58, 7.6), (-0.36, 7.5), (-0.1, 7.34), (-0.02, top)),
            spline((-0.02, top), (0.2, top + 0.04), (0.4, top)),
            spline((0.4, top), (0.37, 7.3), (0.42, 7.78)),
        )
        sole = outline(np.array([(-0.63, 7.76), (0.44, 7.76), (0.44, 7.92), (0.14, 7.92), (0.12, 7.85), (-0.6, 7.87)]))
        panel = outline(
            spline((0.1, top + 0.1), (0.2, 7.1), (0.16, 7.45)), spline((0.27, 7.45), (0.29, 7.1), (0.26, top + 0.1))
        )
        return [
            Part(
                [upper],
                folds=0.4,
                roundness=1.3,
                seams=[
                    spline((-0.4, 7.53), (-0.28, 7.66), (-0.26, 7.77)),
                    spline((-0.02, top + 0.09), (0.2, top + 0.12), (0.4, top + 0.09)),
                ],
            ),
            Part([panel], dark, folds=0),
            Part([sole], (58, 44, 36), folds=0, roundness=0.5),
        ]
    if product.variant == "heel":
        lift = 0.28 + 0.22 * product.length
        back_y = 7.86 - lift
        upper = outline(
            spline((-0.64, 7.86), (-0.5, 7.74), (-0.3, 7.76 - lift * 0.2)),
            spline((-0.3, 7.76 - lift * 0.2), (0.1, 7.74 - lift * 0.45), (0.34, back_y - 0.26), (0.44, back_y - 0.2)),
            spline((0.44, back_y - 0.2), (0.43, back_y + 0.04), (0.14, back_y + 0.14), (-0.2, 7.84), (-0.64, 7.89)),
        )
        stem = outline(np.array([(0.24, back_y + 0.02), (0.44, back_y - 0.02), (0.4, 7.9), (0.34, 7.9)]))
        return [
            Part([stem], dark, folds=0, roundness=0.6),
            Part([upper], folds=0.05, roundness=1.4),
            Part(
                [
                    outline(
                        spline((-0.66, 7.87), (-0.2, 7.82), (0.2, back_y + 0.13)),
                        spline((0.2, back_y + 0.17), (-0.2, 7.87), (-0.6, 7.91)),
                    )
                ],
                (44, 36, 34),
                folds=0,
            ),
        ]
    upper = outline(
        spline((-0.62, 7.8), (-0.58, 7.64), (-0.36, 7.58), (-0.16, 7.56), (-0.06, 7.46)),
        spline((-0.06, 7.46), (0.16, 7.56), (0.38, 7.42), (0.42, 7.6), (0.41, 7.8)),
    )
    strap = outline(
        spline((-0.2, 7.56), (-0.12, 7.48), (-0.02, 7.46)),
        spline((0.08, 7.6), (0.04, 7.7), (-0.02, 7.8)),
        np.array([(-0.2, 7.8)]),
    )
    sole = outline(np.array([(-0.64, 7.79), (0.43, 7.79), (0.43, 7.91), (0.18, 7.91), (0.16, 7.86), (-0.62, 7.87)]))
    return [
        Part([upper], folds=0.1, roundness=1.4, seams=[spline((-0.56, 7.66), (-0.36, 7.64), (-0.22, 7.72))]),
        Part([strap], dark, folds=0, roundness=0.7),
        Part([sole], (62, 44, 34), folds=0, roundness=0.5),
    ]
