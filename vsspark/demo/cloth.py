"""The flat cloth of a part before it is lit: colour or pattern along the grain, ribs and prints."""

from __future__ import annotations

import cv2
import numpy as np

from vsspark.demo.fabrics import TILE, chest_print, fabric, tile_units
from vsspark.demo.scene import LIT, Scene, multiply
from vsspark.demo.shapes import Part


def cloth_of(
    scene: Scene, part: Part, shape: tuple[int, int], origin: np.ndarray, bend: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The part's flat colour or pattern before it is lit, (h, w, 3) uint8."""
    h, w = shape
    if part.colour is not None:
        cloth = np.empty((h, w, 3), np.uint8)
        cloth[:] = part.colour
        if part.ribs and scene.scale * 1.0 > 40:
            _rib(scene, part, cloth, origin)
        return cloth
    if scene.product.pattern in ("plain", "print"):  # the weave alone looks the same at every angle: cut it straight
        cloth = cv2.copyMakeBorder(
            fabric(scene.product)[0][:h, :w], 0, max(0, h - TILE), 0, max(0, w - TILE), cv2.BORDER_REFLECT
        )
    else:
        cloth = _pattern(scene, part, shape, origin, bend)
    if part.ribs:
        _rib(scene, part, cloth, origin)
    if part.printed is not None:
        _print(scene, part.printed, cloth, origin)
    return cloth


def _pattern(
    scene: Scene, part: Part, shape: tuple[int, int], origin: np.ndarray, bend: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The pattern along the part's grain, bent by its folds."""
    h, w = shape
    levels = fabric(scene.product)
    units = tile_units(scene.product)
    # The level whose pixels are nearest the picture's own: a finer one would shimmer, a coarser one blur.
    level = int(np.clip(round(np.log2(TILE / units / scene.scale)), 0, len(levels) - 1))
    tile = levels[level]
    inverse = cv2.invertAffineTransform(scene.matrix)
    c, s = np.cos(part.angle), np.sin(part.angle)
    to_tile = np.array([[c, s], [-s, c]]) * tile.shape[0] / units
    linear = to_tile @ inverse[:, :2]
    start = to_tile @ inverse[:, 2] + linear @ origin
    if part.ribs == 0 and scene.product.pattern != "denim":
        ys, xs = np.mgrid[: bend[0].shape[0], : bend[0].shape[1]].astype(np.float32) * 4 + 1.5
        xs, ys = xs - bend[0] * 5, ys - bend[1] * 5
        maps = [
            cv2.resize(
                (linear[i, 0] * xs + linear[i, 1] * ys + start[i]).astype(np.float32),
                (w, h),
                interpolation=cv2.INTER_LINEAR,
            )
            for i in (0, 1)
        ]
        return cv2.remap(tile, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return cv2.warpAffine(
        tile,
        np.column_stack([linear, start]),
        (w, h),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )


def _rib(scene: Scene, part: Part, cloth: np.ndarray, origin: np.ndarray) -> None:
    x = (np.arange(cloth.shape[1], dtype=np.float32) + origin[0]) / scene.scale * np.cos(part.angle)
    line = np.clip(LIT + 15 * np.sin(x * part.ribs * 2 * np.pi), 0, 255).astype(np.uint8)
    multiply(cloth, np.tile(line, (cloth.shape[0], 1)))


def _print(scene: Scene, where: tuple[float, float, float], cloth: np.ndarray, origin: np.ndarray) -> None:
    x, y, half = where
    art = chest_print(scene.product)
    side = art.shape[0]
    to_body = np.array([[2 * half / side, 0, x - half], [0, 2 * half / side, y - half]])
    matrix = scene.matrix[:, :2] @ to_body
    matrix[:, 2] += scene.matrix[:, 2] - origin
    size = (cloth.shape[1], cloth.shape[0])
    if scene.scale * 2 * half < side * 0.6:
        art, matrix = cv2.resize(art, (side // 2, side // 2), interpolation=cv2.INTER_AREA), matrix * (2, 2, 1)
    flat = cv2.warpAffine(art, matrix, size, flags=cv2.INTER_LINEAR)
    cover = cv2.cvtColor(flat[..., 3], cv2.COLOR_GRAY2RGB)
    # Antialiased ink is already weighted by its own cover, so it is added, not blended a second time.
    cloth[:] = cv2.add(flat[..., :3], cv2.multiply(cloth, cv2.bitwise_not(cover), scale=1 / 255))
