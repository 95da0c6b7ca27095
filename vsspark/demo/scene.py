"""The picture being drawn: where body units fall on it, and where the light comes from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vsspark.demo.products import PhotoSpec, ProductSpec

WIDTH, HEIGHT = 288, 360  # pixels
LIT = 128  # a shade map's value that leaves the colour as it is

# What each kind's photos show, in body units: left, top, right, bottom of the flat garment, and of the figure wearing
# it.
_FRAMES: dict[str, tuple[tuple[float, float, float, float], tuple[float, float, float, float]]] = {
    "dress": ((-1.7, 1.0, 1.7, 7.2), (-2.0, -0.4, 2.0, 8.1)),
    "hat": ((-0.76, -0.6, 0.76, 0.95), (-1.25, -0.75, 1.25, 2.3)),
    "longsleeve": ((-2.3, 1.0, 2.3, 4.6), (-1.9, -0.3, 1.9, 4.7)),
    "outwear": ((-2.4, 0.8, 2.4, 5.2), (-2.1, -0.4, 2.1, 5.9)),
    "pants": ((-1.5, 2.6, 1.5, 7.7), (-1.5, 2.1, 1.5, 8.1)),
    "shirt": ((-2.3, 1.0, 2.3, 4.7), (-1.9, -0.3, 1.9, 4.8)),
    "shoes": ((-0.85, 6.5, 0.8, 8.05), (-1.0, 5.9, 1.0, 8.1)),
    "shorts": ((-1.3, 2.7, 1.3, 5.4), (-1.4, 2.0, 1.4, 6.2)),
    "skirt": ((-1.6, 2.7, 1.6, 6.8), (-1.7, 1.4, 1.7, 7.8)),
    "t-shirt": ((-1.9, 1.1, 1.9, 4.5), (-1.8, -0.3, 1.8, 4.6)),
}


@dataclass
class Scene:
    """The picture being drawn and how body units become its pixels."""

    canvas: np.ndarray
    matrix: np.ndarray  # (2, 3): pixels = matrix @ (x, y, 1)
    scale: float  # pixels per body unit
    light: tuple[float, float]  # direction the light comes from, pixels
    rng: np.random.Generator
    product: ProductSpec

    def pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def camera(product: ProductSpec, photo: PhotoSpec, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The 2 x 3 matrix from body units to pixels, and its scale."""
    left, top, right, bottom = _FRAMES[product.kind][photo.view == "worn"]
    if product.variant == "coat":
        bottom += 1.2
    scale = min(WIDTH / (right - left), HEIGHT / (bottom - top)) * float(rng.uniform(0.94, 1.08))
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    if photo.view == "detail":
        scale *= float(rng.uniform(1.7, 2.3))
        centre = (
            centre * 0.55
            + np.array([0.0, top + (bottom - top) * (0.75 if product.kind == "shoes" else 0.33)]) * 0.45
            + rng.uniform(-0.12, 0.12, 2) * (right - left)
        )
    tilt = float(rng.normal(0, 0.025 if photo.view == "worn" else 0.05 if photo.background != "floor" else 0.22))
    squeeze = float(rng.uniform(0.86, 1.0))  # seen a little from the side
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) @ np.array(
        [[scale * squeeze, 0], [0, scale]]
    )
    middle = np.array([WIDTH / 2, HEIGHT / 2]) + rng.normal(0, 5, 2)
    return np.column_stack([turn, middle - turn @ centre]), scale


def multiply(picture: np.ndarray, shade: np.ndarray) -> None:
    """picture *= shade / 128, in place, saturating."""
    cv2.multiply(picture, cv2.cvtColor(shade, cv2.COLOR_GRAY2RGB), dst=picture, scale=1 / LIT)
