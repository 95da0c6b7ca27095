"""How tops are cut: T-shirts and long sleeves, shirts, jackets and coats. Units as in `shapes`."""

from __future__ import annotations

import numpy as np

from vsspark.demo.products import COLOURS, ProductSpec
from vsspark.demo.sewing import Neck, Sleeve, bodice, collar_band, lining, sleeves, trim_colour
from vsspark.demo.shapes import Part, Pose, ellipse, outline, spline


def top_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    long = product.kind == "longsleeve"
    ease = 0.02 + 0.2 * product.fit + (0.12 if product.variant == "boxy" else 0)
    hem = 3.75 + 0.65 * product.length
    style = {"boxy": "crew", "henley": "crew"}.get(product.variant, product.variant)
    side = spline((0.74 + ease, 2.12), (0.66 + ease, 3.0), (0.76 + ease, hem))
    body, curve = bodice(Neck(style, back), 0.86, ease, side)
    trim = trim_colour(product) if product.motif % 3 else COLOURS[product.second_colour]
    main = Part(
        [body], folds=0.55, seams=[np.array([(-0.7 - ease, hem - 0.12), (0, hem - 0.05), (0.7 + ease, hem - 0.12)])]
    )
    if product.pattern == "print" and not back:
        main.printed = (0.0, 2.45, 0.46)
    share = 0.82 + 0.14 * product.sleeve if long else 0.28 + 0.2 * product.sleeve
    cuff = 0.2 if long and product.motif % 2 else 0.0
    parts = sleeves(pose, Sleeve(share, 0.29 + 0.1 * product.fit, cuff, cuff_colour=trim))
    parts += [] if back else [lining(style, trim_colour(product))]
    parts += [main, collar_band(curve, trim)]
    if style == "turtle":
        parts.append(
            Part(
                [
                    outline(
                        spline((-0.31, 1.46), (-0.3, 1.1)), spline((0.3, 1.1), (0.31, 1.46), (0, 1.52), (-0.31, 1.46))
                    )
                ],
                trim_colour(product),
                folds=0.2,
                ribs=14,
            )
        )
    if product.variant == "henley" and not back:
        strip = outline(np.array([(-0.09, 1.6), (0.09, 1.6), (0.09, 2.25), (-0.09, 2.25)]))
        parts.append(Part([strip], trim_colour(product), folds=0, buttons=[(0, y, 0.035) for y in (1.72, 1.92, 2.12)]))
    return parts


def shirt_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    ease = 0.06 + 0.2 * product.fit + (0.1 if product.variant == "loose" else 0)
    hem = 3.9 + 0.6 * product.length
    side = spline((0.74 + ease, 2.12), (0.68 + ease, 3.0), (0.76 + ease, hem - 0.3))
    body, _ = bodice(Neck("crew" if back else "v", back), 0.88, ease, side, hem_sag=0.42)
    share = 0.42 if product.variant == "short" else 0.93
    parts = sleeves(pose, Sleeve(share, 0.31 + 0.08 * product.fit, cuff=0.0 if share < 0.5 else 0.2))
    if not back:
        parts.append(lining("v", trim_colour(product)))
    main = Part([body], folds=0.6)
    parts.append(main)
    if back:
        main.seams.append(np.array([(-0.86, 1.85), (0, 1.92), (0.86, 1.85)]))
        parts.append(
            Part(
                [outline(spline((-0.4, 1.44), (0, 1.5), (0.4, 1.44)), spline((0.34, 1.2), (0, 1.24), (-0.34, 1.2)))],
                folds=0.1,
            )
        )
        return parts
    count = 6
    opening = 1.9
    buttons = [(0.0, float(y), 0.035) for y in np.linspace(opening + 0.08, hem - 0.1, count)]
    parts.append(
        Part(
            [np.array([(-0.1, opening), (0.1, opening), (0.1, hem + 0.1), (-0.1, hem + 0.1)])],
            folds=0.2,
            roundness=0.6,
            seams=[np.array([(-0.1, opening), (-0.1, hem + 0.1)]), np.array([(0.1, opening), (0.1, hem + 0.1)])],
            buttons=buttons,
        )
    )
    if product.motif % 3:
        x = 0.42
        parts.append(
            Part(
                [np.array([(x - 0.2, 2.1), (x + 0.2, 2.1), (x + 0.2, 2.5), (x, 2.6), (x - 0.2, 2.5)])],
                folds=0.1,
                roundness=0.3,
                seams=[np.array([(x - 0.2, 2.18), (x + 0.2, 2.18)])],
            )
        )
    if product.variant == "band":
        parts.append(collar_band(spline((-0.36, 1.3), (0, 1.9), (0.36, 1.3), steps=2), trim_colour(product), 0.13))
        return parts
    for side_x in (-1, 1):
        leaf = np.array([(0.34, 1.22), (0.42, 1.46), (0.46, 1.86), (0.02, 1.9), (0.2, 1.6)]) * (side_x, 1)
        parts.append(Part([leaf], angle=0.5 * side_x, folds=0.0, roundness=0.8))
    return parts


def outwear_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    coat, puffer, hood = (product.variant == name for name in ("coat", "puffer", "hoodie"))
    ease = 0.2 + 0.16 * product.fit + 0.1 * puffer
    hem = (5.2 + 1.0 * product.length) if coat else 3.85 + 0.5 * product.length
    side = spline((0.76 + ease, 2.12), (0.74 + ease, 3.0), (0.8 + ease + (0.18 if coat else 0), hem))
    body, curve = bodice(Neck("v" if coat and not back else "crew", back), 0.94, ease, side, 0.06)
    banded = product.variant in ("bomber", "hoodie")
    trim = trim_colour(product)
    cuff, quilts = 0.22 if banded else 0.0, 9 if puffer else 0
    parts = sleeves(pose, Sleeve(0.98, 0.37 + 0.06 * product.fit, cuff, 0.7, trim, quilts))
    main = Part([body], folds=0.5, roundness=1.3, quilts=8 if puffer else 0)
    if hood:
        parts.insert(0, Part([ellipse(0, 1.25, 0.62, 0.42)], folds=0.6))
    parts.append(main)
    if banded:
        w = side[-1][0]
        parts.append(
            Part(
                [
                    outline(
                        spline((-w, hem - 0.22), (0, hem - 0.17), (w, hem - 0.22)),
                        spline((w - 0.05, hem + 0.08), (0, hem + 0.13), (-w + 0.05, hem + 0.08)),
                    )
                ],
                trim,
                folds=0.1,
                ribs=12,
            )
        )
    if back:
        if hood:
            parts.append(
                Part(
                    [
                        outline(
                            spline((-0.6, 1.4), (-0.5, 2.1), (0, 2.45), (0.5, 2.1), (0.6, 1.4)),
                            spline((0.6, 1.4), (0, 1.25), (-0.6, 1.4)),
                        )
                    ],
                    folds=0.6,
                )
            )
        else:
            main.seams.append(np.array([(0, 1.45), (0, hem)]))
        return parts
    if coat:
        main.seams.append(np.array([(0.12, 2.7), (0.12, hem)]))
        for side_x in (-1, 1):
            lapel = np.array([(0.34, 1.28), (0.62, 1.78), (0.52, 1.92), (0.66, 2.02), (0.06, 2.85), (0.02, 2.2)]) * (
                side_x,
                1,
            )
            parts.append(
                Part([lapel], trim if product.motif % 2 else None, angle=0.4 * side_x, folds=0.1, roundness=0.8)
            )
        columns = (-0.16, 0.34) if product.motif % 2 else (0.06,)
        parts[-1].buttons = [(x, y, 0.06) for x in columns for y in (2.95, 3.4, 3.85)]
    else:
        zipper = np.array([(-0.045, 1.6), (0.045, 1.6), (0.045, hem), (-0.045, hem)])
        parts.append(
            Part([zipper], (150, 150, 152) if product.motif % 2 else (52, 52, 54), folds=0, roundness=0.4, ribs=24)
        )
        parts.append(collar_band(curve, trim, 0.2 if not hood else 0.12))
    for side_x in (-1, 1):
        x, y = 0.5 * side_x, 3.3 if not coat else 3.9
        if hood:
            continue
        parts.append(
            Part(
                [np.array([(x - 0.2, y), (x + 0.2, y), (x + 0.2, y + 0.09), (x - 0.2, y + 0.09)])],
                trim,
                folds=0.0,
                roundness=0.4,
            )
        )
    if hood:
        parts.append(
            Part(
                [np.array([(-0.42, 3.05), (0.42, 3.05), (0.62, 3.6), (0.62, 3.75), (-0.62, 3.75), (-0.62, 3.6)])],
                folds=0.2,
                roundness=0.5,
                seams=[np.array([(-0.42, 3.05), (-0.62, 3.6)]), np.array([(0.42, 3.05), (0.62, 3.6)])],
            )
        )
        for x in (-0.13, 0.13):
            parts.append(
                Part(
                    [np.array([(x - 0.02, 1.7), (x + 0.02, 1.7), (x + 0.03, 2.4), (x - 0.01, 2.4)])],
                    (232, 230, 224),
                    folds=0,
                )
            )
    return parts
