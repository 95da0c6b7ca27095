"""Each kind of garment as it hangs on a pose: parts, the farthest first. Units as in `shapes`."""

from __future__ import annotations

import numpy as np

from vsspark.demo.bottoms import skirt_parts, trouser_parts
from vsspark.demo.hats import hat_parts
from vsspark.demo.products import ProductSpec
from vsspark.demo.sewing import Neck, Sleeve, bodice, collar_band, lining, skirt_panel, sleeves, trim_colour
from vsspark.demo.shapes import Part, Pose, spline
from vsspark.demo.shoes import shoe_parts
from vsspark.demo.tops import outwear_parts, shirt_parts, top_parts


def garment_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    """The garment on that pose, seen from the front or the back."""
    return _CUTS[product.kind](product, pose, back)


def _dress_parts(product: ProductSpec, pose: Pose, back: bool) -> list[Part]:
    hem = 4.7 + 2.3 * product.length
    flare = {"shift": 0.12, "a-line": 0.5, "wrap": 0.35, "tiered": 0.62}[product.variant] * (0.6 + 0.6 * product.fit)
    half_hem = 0.84 + flare * (hem - 3.4) / 1.6
    waist = 0.64 if product.variant != "shift" else 0.78
    style = "wrap" if product.variant == "wrap" else ("scoop", "v", "boat", "crew")[product.motif % 4]
    side = spline((0.72, 2.12), (waist, 2.75), (waist, 3.02))
    body, curve = bodice(Neck(style, back), 0.84 if product.sleeve > 0.3 else 0.66, 0.0, side, 0.0)
    parts: list[Part] = []
    if product.sleeve > 0.3:
        parts += sleeves(pose, Sleeve(0.3 + 0.62 * (product.sleeve - 0.3) ** 1.3 / 0.6, 0.3))
    if not back:
        parts.append(lining(style, trim_colour(product)))
    parts.append(skirt_panel(2.95, waist, hem, half_hem, folds=0.6, pleats=0 if product.variant == "shift" else 8))
    if product.variant == "tiered":
        y = 2.95 + 0.6 * (hem - 2.95)
        w = waist + 0.3 + (half_hem - waist - 0.3) * 0.6
        parts.append(skirt_panel(y, w, hem + 0.05, half_hem + 0.1, folds=0.5, pleats=12))
    parts.append(Part([body], folds=0.4))
    if product.variant == "wrap" and not back:
        parts[-1].seams.append(spline((0.38, 1.36), (0.0, 2.3), (-0.6, 2.9)))
    parts.append(collar_band(curve, None, 0.05))
    if product.variant in ("wrap", "a-line"):
        parts.append(
            Part(
                [np.array([(-waist - 0.02, 2.86), (waist + 0.02, 2.86), (waist + 0.03, 3.06), (-waist - 0.03, 3.06)])],
                trim_colour(product),
                folds=0.05,
                roundness=0.6,
            )
        )
    return parts


_CUTS = {
    "dress": _dress_parts,
    "hat": hat_parts,
    "longsleeve": top_parts,
    "outwear": outwear_parts,
    "pants": trouser_parts,
    "shirt": shirt_parts,
    "shoes": shoe_parts,
    "shorts": trouser_parts,
    "skirt": skirt_parts,
    "t-shirt": top_parts,
}
