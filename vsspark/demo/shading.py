"""Light on cloth: parts bulge, fold and crease, and every slope takes its share of the light."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from vsspark.demo.scene import LIT, Scene
from vsspark.demo.shapes import Part


def shade_map(
    scene: Scene, part: Part, mask: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """How much light each pixel gets (uint8, 128 = all of it), and the cloth's slopes in x and y, (h / 4, w / 4),
    that bend the pattern.
    """
    h, w = max(2, mask.shape[0] // 4), max(2, mask.shape[1] // 4)
    small = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    unit = scene.scale / 4  # quarter pixels per body unit
    height = (
        cv2.GaussianBlur(small, (0, 0), max(0.8, 0.11 * unit), borderType=cv2.BORDER_CONSTANT)
        * unit
        * 0.2
        * part.roundness
    )
    if part.folds:
        height += _folds(scene, part, h, w) * part.folds * unit * 0.11
    if part.pleats or part.quilts:
        height += _waves(scene, part, h, w, origin) * unit * 0.07
    dx, dy = (
        cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125),
        cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125),
    )
    lit = dx * (-1.15 * scene.light[0]) + dy * (-1.15 * scene.light[1])
    # A surface that turns away gets less of the studio's light from all around.
    around = 0.98 - 0.29 * np.minimum(dx * dx + dy * dy, 1.0)
    shade = np.clip((around - 0.27 * np.tanh(lit)) * (LIT * part.tint), 30, 190).astype(np.uint8)
    shade = cv2.resize(shade, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_CUBIC)
    for seam in part.seams:
        points = [np.round((scene.pixels(seam) - origin) * 16).astype(np.int32)]
        level = int(LIT * 0.66 * part.tint)
        cv2.polylines(shade, points, False, level, 2 if scene.scale > 110 else 1, cv2.LINE_AA, 4)
    return shade, (dx, dy)


def _folds(scene: Scene, part: Part, h: int, w: int) -> np.ndarray:
    """Smooth ridges along the part's grain, about -1 to 1, (h, w) float32."""
    field = _ridges()[scene.rng.integers(len(_ridges()))]
    unit = scene.scale / 4
    c, s = np.cos(part.angle), np.sin(part.angle)
    at = scene.rng.uniform(0, 128, 2)
    step = 30.0 / unit  # field cells per quarter pixel
    matrix = np.array([[c * step, s * step, at[0]], [-s * step, c * step, at[1]]])
    return cv2.warpAffine(
        field, matrix, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP
    )


@lru_cache(maxsize=1)
def _ridges() -> tuple[np.ndarray, ...]:
    """Four fields of (128, 128) float32 that tile, with ridges longer than wide."""
    fields = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        frequency = np.stack(np.meshgrid(np.fft.fftfreq(128) * 128, np.fft.fftfreq(128) * 128, indexing="ij"))
        power = np.exp(-((frequency[0] / 2.6) ** 2) - ((frequency[1] / 7.0) ** 2)) * (np.abs(frequency).sum(0) > 0)
        field = np.fft.ifft2(power * np.exp(2j * np.pi * rng.random((128, 128)))).real
        fields.append(np.tanh(field / field.std() * 0.8).astype(np.float32))
    return tuple(fields)


def _waves(scene: Scene, part: Part, h: int, w: int, origin: np.ndarray) -> np.ndarray:
    """Pleats that fan out from the waist, or quilted tubes across, about -1 to 1, (h, w) float32."""
    inverse = cv2.invertAffineTransform(scene.matrix)
    ys, xs = np.mgrid[:h, :w].astype(np.float32) * 4 + 2 + origin[::-1, None, None].astype(np.float32)
    x, y = (inverse[i, 0] * xs + inverse[i, 1] * ys + inverse[i, 2] for i in (0, 1))
    if part.quilts:
        c, s = np.cos(part.angle), np.sin(part.angle)
        return (np.abs(np.sin((y * c - x * s) * part.quilts * 0.75)) * 2.2).astype(np.float32)
    top = min(points[:, 1].min() for points in part.outlines)
    spread = np.maximum(0.62 + 0.45 * (y - top), 0.3)
    return (np.sin(x / spread * part.pleats * 1.55 + np.sin(y * 1.3)) * np.clip((y - top) * 0.9, 0, 1)).astype(
        np.float32
    )
