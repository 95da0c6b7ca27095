"""Hats and shoes, cut in the same units as garments: hats around the head, shoes on the ground at x = 0, y = 7.4 to
7.9.
"""

from __future__ import annotations

import numpy as np

from vsspark.demo.products import COLOURS, ProductSpec
from vsspark.demo.shapes import Part, Pose, ellipse, outline, spline


def _shade(colour: tuple[int, int, int], by: float) -> tuple[int, int, int]:
    return tuple(int(min(255, v * by + (12 if by > 1 else 0))) for v in colour)


def hat_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    colour = COLOURS[product.colour]
    trim = _shade(colour, 0.72) if sum(colour) > 250 else _shade(colour, 1.35)
    second = COLOURS[product.second_colour]
    tall = 0.06 * (product.length - 0.5)
    if product.variant == "beanie":
        dome = outline(
            spline(
                (-0.45, 0.42),
                (-0.43, 0.06),
                (-0.2, -0.26 - tall),
                (0, -0.31 - tall),
                (0.2, -0.26 - tall),
                (0.43, 0.06),
                (0.45, 0.42),
            )
        )
        band = outline(spline((-0.47, 0.22), (0, 0.29), (0.47, 0.22)), spline((0.475, 0.5), (0, 0.58), (-0.475, 0.5)))
        parts = [
            Part([dome], folds=0.25, ribs=11 if product.pattern == "plain" else 0, roundness=1.3),
            Part([band], trim, folds=0.1, ribs=11),
        ]
        if product.motif % 2:
            parts.insert(0, Part([ellipse(0, -0.38 - tall, 0.16, 0.15)], second, folds=1.0, roundness=1.4))
        if product.pattern == "print" and not back:
            parts[1].printed = (0.0, 0.4, 0.1)
        return parts
    if product.variant == "cap":
        dome = outline(
            spline(
                (-0.44, 0.36),
                (-0.42, 0.05),
                (-0.22, -0.17 - tall),
                (0, -0.21 - tall),
                (0.22, -0.17 - tall),
                (0.42, 0.05),
                (0.44, 0.36),
            ),
            spline((0.44, 0.36), (0, 0.42), (-0.44, 0.36)),
        )
        crown = Part(
            [dome],
            folds=0.15,
            roundness=1.4,
            seams=[
                spline((0, -0.2 - tall), (0.0, 0.1), (0.0, 0.4)),
                spline((0, -0.2 - tall), (0.24, 0.0), (0.3, 0.38)),
                spline((0, -0.2 - tall), (-0.24, 0.0), (-0.3, 0.38)),
            ],
        )
        crown.buttons = [(0, -0.2 - tall, 0.03)]
        if back:
            return [
                crown,
                Part([outline(spline((-0.16, 0.4), (0, 0.2), (0.16, 0.4)))], (60, 56, 54), folds=0),
                Part([np.array([(-0.18, 0.35), (0.18, 0.35), (0.18, 0.41), (-0.18, 0.41)])], trim, folds=0),
            ]
        if product.pattern == "print":
            crown.printed = (0.0, 0.12, 0.19)
        brim = outline(
            spline((-0.42, 0.34), (0, 0.24), (0.42, 0.34)),
            spline((0.44, 0.42), (0.3, 0.6), (0, 0.67), (-0.3, 0.6), (-0.44, 0.42)),
        )
        return [
            crown,
            Part(
                [brim],
                second if product.motif % 2 or product.pattern == "colour-block" else trim,
                folds=0.0,
                roundness=1.2,
                seams=[spline((-0.36, 0.44), (0, 0.58), (0.36, 0.44))],
            ),
        ]
    wide = 0.6 + 0.14 * product.fit if product.variant == "fedora" else 0.58 + 0.08 * product.fit
    droop = 0.04 if product.variant == "fedora" else 0.24
    brim = outline(
        spline(
            (-0.4, 0.28),
            (-wide, 0.36 + droop),
            (-0.4 * wide, 0.5 + droop),
            (0, 0.53 + droop),
            (0.4 * wide, 0.5 + droop),
            (wide, 0.36 + droop),
            (0.4, 0.28),
        ),
        spline((0.4, 0.28), (0, 0.2), (-0.4, 0.28)),
    )
    top = -0.24 - tall if product.variant == "fedora" else -0.14 - tall
    dent = 0.1 if product.variant == "fedora" else 0.0
    crown = outline(
        spline((-0.42, 0.4), (-0.39, 0.1), (-0.3, top + 0.03), (-0.12, top)),
        spline((-0.12, top), (0, top + dent), (0.12, top)),
        spline((0.12, top), (0.3, top + 0.03), (0.39, 0.1), (0.42, 0.4)),
        spline((0.42, 0.4), (0, 0.48), (-0.42, 0.4)),
    )
    parts = [
        Part(
            [brim],
            folds=0.15,
            roundness=0.7,
            seams=[spline((-wide * 0.9, 0.38 + droop), (0, 0.48 + droop), (wide * 0.9, 0.38 + droop))],
        ),
        Part([crown], folds=0.2, roundness=1.3),
    ]
    if product.variant == "fedora":
        parts.append(
            Part(
                [
                    outline(
                        spline((-0.405, 0.2), (0, 0.28), (0.405, 0.2)), spline((0.42, 0.36), (0, 0.44), (-0.42, 0.36))
                    )
                ],
                second,
                folds=0.0,
                roundness=0.8,
            )
        )
    elif product.pattern == "print" and not back:
        parts[1].printed = (0.0, 0.16, 0.16)
    return parts


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
    dark = _shade(colour, 0.6) if sum(colour) > 200 else _shade(colour, 1.5)
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
