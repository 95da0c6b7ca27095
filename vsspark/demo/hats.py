"""Hats, cut in the same units as garments, around the head."""

from __future__ import annotations

import numpy as np

from vsspark.demo.products import COLOURS, ProductSpec
from vsspark.demo.sewing import shade
from vsspark.demo.shapes import Part, Pose, ellipse, outline, spline


def hat_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    colour = COLOURS[product.colour]
    trim = shade(colour, 0.72) if sum(colour) > 250 else shade(colour, 1.35)
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
