"""How bottoms are cut: skirts, trousers, shorts. Units as in `shapes`."""

from __future__ import annotations

import numpy as np

from vsspark.demo.products import ProductSpec
from vsspark.demo.sewing import skirt_panel, trim_colour
from vsspark.demo.shapes import Part, Pose, along_limb, moved, outline, spline


def skirt_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    hem = 4.5 + 2.1 * product.length
    flare = {"pencil": 0.02, "a-line": 0.42, "pleated": 0.55, "tiered": 0.6}[product.variant] * (
        0.6 + 0.6 * product.fit
    )
    half_hem = 0.84 + flare * (hem - 3.4) / 1.6
    pleats = {"pleated": 13, "pencil": 0}.get(product.variant, 5)
    parts = [skirt_panel(3.0, 0.62, hem, half_hem, folds=0.3 + 0.3 * (pleats > 0), pleats=pleats)]
    if product.variant == "tiered":
        for share in (0.42, 0.7):
            y = 3.0 + share * (hem - 3.0)
            w = 0.9 + (half_hem - 0.9) * share
            parts.append(
                skirt_panel(y, w, y + (hem - 3.0) * (0.3 if share < 0.6 else 0.33), w + 0.14, folds=0.5, pleats=11)
            )
    parts.append(
        Part(
            [outline(spline((-0.63, 2.86), (0, 2.91), (0.63, 2.86)), spline((0.65, 3.08), (0, 3.13), (-0.65, 3.08)))],
            None if product.pattern == "denim" else trim_colour(product),
            folds=0.05,
            roundness=0.6,
        )
    )
    if product.pattern == "denim" and not back:
        parts[-1].buttons = [(0, float(y), 0.04) for y in np.linspace(3.0, hem - 0.2, 6)]
    return parts


def trouser_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    short = product.kind == "shorts"
    share = 0.16 + 0.3 * product.length if short else (0.98 if product.variant != "jogger" else 0.92)
    end = {"slim": 0.2, "straight": 0.29, "wide": 0.46, "jogger": 0.24}.get(product.variant, 0.42 + 0.12 * product.fit)
    trim = trim_colour(product)
    parts = []
    for side in (-1, 1):
        limb = pose.leg(side)
        cut = along_limb(limb, share)[-1]
        width = min(end, 0.36) if short else end
        knee = limb[1] if not short else (limb[0] + cut) / 2
        knee_width = max(width * 0.9, 0.3 if short else 0.27)
        outer = spline(
            (0.63 * side, 3.0), (0.86 * side, 3.9), moved(knee, knee_width * side, 0), moved(cut, width * side, 0)
        )
        crotch = (0.03 * side, 4.3)
        inner = (
            spline(moved(cut, -width * side, 0), crotch)
            if short
            else spline(moved(cut, -width * side, 0), moved(knee, -knee_width * 0.8 * side, 0), crotch)
        )
        leg = Part(
            [outline(outer, inner, np.array([(0.0, 3.0)]))],
            folds=0.65,
            angle=0.05 * side,
            seams=[np.stack([moved(cut, -width, -0.12), moved(cut, width, -0.12)])],
        )
        leg.seams.append(outer[4:-3] - (0.05 * side, 0))
        if not back:
            leg.seams.append(spline((0.3 * side, 3.1), (0.38 * side, 3.38), (0.74 * side, 3.5)))
        parts.append(leg)
        if back:
            x = 0.4 * side
            parts.append(
                Part(
                    [np.array([(x - 0.19, 3.42), (x + 0.19, 3.42), (x + 0.18, 3.8), (x, 3.9), (x - 0.18, 3.8)])],
                    folds=0,
                    roundness=0.4,
                    seams=[np.array([(x - 0.19, 3.5), (x + 0.19, 3.5)])],
                )
            )
        if product.variant in ("jogger", "cuffed"):
            parts.append(
                Part(
                    [
                        np.array(
                            [
                                moved(cut, -width - 0.02, -0.2),
                                moved(cut, width + 0.02, -0.2),
                                moved(cut, width, 0.05),
                                moved(cut, -width, 0.05),
                            ]
                        )
                    ],
                    trim,
                    folds=0.1,
                    ribs=14 if product.variant == "jogger" else 0,
                )
            )
        if product.variant == "cargo":
            x = 0.66 * side
            parts.append(
                Part(
                    [np.array([(x - 0.15, 4.15), (x + 0.15, 4.15), (x + 0.15, 4.55), (x - 0.15, 4.55)])],
                    folds=0.1,
                    roundness=0.6,
                    seams=[np.array([(x - 0.15, 4.24), (x + 0.15, 4.24)])],
                )
            )
    if not back:
        parts.append(
            Part(
                [np.array([(-0.02, 3.1), (0.12, 3.1), (0.1, 3.75), (0.0, 3.95), (-0.02, 3.95)])],
                folds=0,
                roundness=0.4,
                seams=[spline((0.12, 3.1), (0.11, 3.7), (0.0, 3.95))],
            )
        )
    elastic = product.variant in ("jogger", "sport")
    band = Part(
        [outline(spline((-0.64, 2.84), (0, 2.9), (0.64, 2.84)), spline((0.66, 3.08), (0, 3.13), (-0.66, 3.08)))],
        trim if elastic else None,
        folds=0.05,
        roundness=0.6,
        ribs=14 if elastic else 0,
    )
    band.seams.append(spline((-0.66, 3.06), (0, 3.11), (0.66, 3.06)))
    if not back:
        band.buttons = [] if elastic else [(0.03, 3.0, 0.05)]
    parts.append(band)
    if elastic and not back:
        for x in (-0.05, 0.05):
            parts.append(
                Part(
                    [np.array([(x - 0.02, 3.1), (x + 0.02, 3.1), (x * 2.4 + 0.02, 3.6), (x * 2.4 - 0.02, 3.6)])],
                    (235, 233, 228),
                    folds=0,
                )
            )
    return parts
