"""One product photo: parts are filled with cloth, lit as if they bulged and folded, and set before a background.
Arrays are RGB uint8 (h, w, 3).
"""

from __future__ import annotations

import cv2
import numpy as np

from vsspark.demo.backgrounds import background
from vsspark.demo.cloth import cloth_of
from vsspark.demo.figure import Look, figure_parts, head_parts, random_look
from vsspark.demo.garments import garment_parts
from vsspark.demo.products import PhotoSpec, ProductSpec
from vsspark.demo.scene import HEIGHT, LIT, WIDTH, Scene, camera, multiply
from vsspark.demo.shading import shade_map
from vsspark.demo.shapes import Part, Pose


def render_photo(
    product: ProductSpec, photo: PhotoSpec, backdrop: np.ndarray | None = None, look: Look | None = None
) -> np.ndarray:
    """The photo, RGB uint8 (360, 288, 3); the same product and photo always give the same pixels.

    backdrop, look: a background of that size and a figure in place of the photo's own.
    """
    rng = np.random.default_rng([product.seed, 6, product.index, photo.position])
    worn, back = photo.view == "worn", photo.view == "back"
    own_look, own_backdrop = random_look(rng), background(photo.background, rng, WIDTH, HEIGHT)
    look, canvas = look or own_look, own_backdrop if backdrop is None else backdrop.copy()
    scene = Scene(canvas, *camera(product, photo, rng), (float(rng.uniform(-0.9, 0.9)), -1.0), rng, product)
    parts = _composition(product, look if worn else None, back, rng)
    _cast_shadow(scene, [part for part in parts if part.outlines], soft=worn)
    for part in parts:
        _paint(scene, part)
    return _expose(scene.canvas, rng)


def encode_photo(product: ProductSpec, photo: PhotoSpec) -> bytes | None:
    """The photo's file: a JPEG, or what its damage left of it; None where the file is missing."""
    if photo.damage == "missing":
        return None
    if photo.damage == "empty":
        return b""
    if photo.damage == "html":
        return b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
    jpeg = cv2.imencode(
        ".jpg", cv2.cvtColor(render_photo(product, photo), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88]
    )[1].tobytes()
    return jpeg[: len(jpeg) * 2 // 5] if photo.damage == "truncated" else jpeg


def _composition(product: ProductSpec, look: Look | None, back: bool, rng: np.random.Generator) -> list[Part]:
    if look is None:
        spread = Pose(
            arms=tuple(rng.uniform(0.5, 0.8, 2)),
            elbows=tuple(rng.uniform(-0.12, 0.12, 2)),
            legs=float(rng.uniform(0.05, 0.16)),
        )
        return garment_parts(product, spread, back)
    garment = garment_parts(product, look.pose, back)
    if product.kind == "shoes":
        return _legs_for_shoes(look) + garment
    figure, head = figure_parts(look, product.kind, back), head_parts(look, back, product.kind == "hat")
    return (
        figure + head + garment if product.kind == "hat" or product.variant in ("turtle",) else figure + garment + head
    )


def _legs_for_shoes(look: Look) -> list[Part]:
    legs = []
    for x, y, tint in ((0.42, -0.14, 0.86), (0.22, 0.0, 1.0)):
        shin = np.array([(x - 0.2, 5.0), (x + 0.2, 5.0), (x + 0.14, 7.45 + y), (x - 0.17, 7.45 + y)])
        legs.append(Part([shin], look.skin, folds=0, tint=tint))
        legs.append(
            Part(
                [np.array([(x - 0.27, 4.9), (x + 0.27, 4.9), (x + 0.23, 6.75 + y), (x - 0.25, 6.75 + y)])],
                look.neutral,
                folds=0.6,
                tint=tint,
            )
        )
    return legs


def _cast_shadow(scene: Scene, parts: list[Part], soft: bool) -> None:
    """Darkens the background where the product keeps the light away."""
    small = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8)
    offset = np.array([-scene.light[0] * 6, 6.0]) * (1.7 if soft else 0.8)
    for part in parts:
        for points in part.outlines:
            cv2.fillPoly(small, [np.round((scene.pixels(points) + offset) * 4).astype(np.int32)], 255, shift=4)
    small = cv2.GaussianBlur(small, (0, 0), 3.5 if soft else 2.0)
    shade = cv2.resize(
        cv2.addWeighted(small, -0.14 if soft else -0.2, small, 0, LIT), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR
    )
    multiply(scene.canvas, shade)


def _paint(scene: Scene, part: Part) -> None:
    outlines = [scene.pixels(points) for points in part.outlines]
    everything = np.vstack(outlines)
    x0, y0 = np.maximum(np.floor(everything.min(0)).astype(int) - 2, 0)
    x1, y1 = np.minimum(np.ceil(everything.max(0)).astype(int) + 3, (WIDTH, HEIGHT))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    origin = np.array([x0, y0])
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for points in outlines:
        cv2.fillPoly(mask, [np.round((points - origin) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    shade, bend = shade_map(scene, part, mask, origin)
    cloth = cloth_of(scene, part, mask.shape, origin, bend)
    multiply(cloth, shade)
    roi = scene.canvas[y0:y1, x0:x1]
    cover = cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB)
    roi[:] = cv2.add(
        cv2.multiply(cloth, cover, scale=1 / 255), cv2.multiply(roi, cv2.bitwise_not(cover), scale=1 / 255)
    )
    for x, y, radius in part.buttons:
        at = scene.pixels(np.array([x, y]))
        size = max(1.2, radius * scene.scale)
        for grow, value in ((1.0, 70), (0.78, 225)):
            cv2.circle(
                scene.canvas,
                tuple(np.round(at * 16).astype(int).tolist()),
                int(size * grow * 16),
                (value, value, value - 8),
                -1,
                cv2.LINE_AA,
                4,
            )


def _expose(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The camera's own touch: exposure, a little warmth, grain, sometimes a soft lens."""
    gain, warm = rng.uniform(0.9, 1.08), rng.uniform(-0.03, 0.03)
    if rng.random() < 0.25:
        canvas = cv2.GaussianBlur(canvas, (3, 3), 0)
    return cv2.multiply(canvas, (gain * (1 + warm), gain, gain * (1 - warm), 1.0))
