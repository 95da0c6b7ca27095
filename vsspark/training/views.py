"""Views of a photo that leave the garment what it is: other crop, flip, tilt, light and background, never another hue
or pattern. RGB uint8.
"""

from __future__ import annotations

import cv2
import numpy as np

from vsspark.demo.backgrounds import background
from vsspark.demo.products import BACKGROUNDS
from vsspark.demo.scene import HEIGHT, WIDTH
from vsspark.images.decode import squash


def whole_view(photo: np.ndarray, side: int) -> np.ndarray:
    """The whole photo squashed to (side, side, 3), as encoders see it."""
    return squash(photo, (side, side))


def random_view(photo: np.ndarray, side: int, rng: np.random.Generator, least_area: float = 0.25) -> np.ndarray:
    """A random part of the photo, (side, side, 3): at least `least_area` of it, tilted by up to 12 degrees, mirrored
    half of the time, relit.
    """
    height, width = photo.shape[:2]
    area, shape = rng.uniform(least_area, 1.0), np.exp(rng.uniform(-0.3, 0.3))
    w, h = min(1.0, np.sqrt(area * shape)) * width, min(1.0, np.sqrt(area / shape)) * height
    centre = np.array([rng.uniform(w / 2, width - w / 2), rng.uniform(h / 2, height - h / 2)])
    tilt = np.radians(rng.normal(0, 5) if rng.random() < 0.5 else 0.0).clip(-0.21, 0.21)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) @ np.diag([w / side, h / side])
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    # Shrink in whole steps first: warpAffine reads four pixels per output pixel and would alias.
    shrink = max(1, int(min(w, h) / side))
    small = cv2.resize(photo, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA) if shrink > 1 else photo
    matrix = np.column_stack([turn, centre - turn @ np.array([side / 2, side / 2])]) / shrink
    view = cv2.warpAffine(
        small, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101
    )
    return relight(view, rng)


def before_another(photo: np.ndarray, foreground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The photo's foreground before a drawn background: paper of some colour, a room, boards. foreground: (h, w)
    bool.
    """
    backdrop = background(BACKGROUNDS[rng.integers(len(BACKGROUNDS))], rng, WIDTH, HEIGHT)
    behind = cv2.resize(backdrop, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    share = cv2.GaussianBlur(foreground.astype(np.float32), (0, 0), 1.0)[:, :, None]
    return np.rint(photo * share + behind * (1 - share)).astype(np.uint8)


def relight(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The view under a little more or less light, contrast and warmth; hues stay within a few degrees."""
    gain, gamma = rng.uniform(0.85, 1.15), np.exp(rng.uniform(-0.2, 0.2))
    ramp = (np.arange(256) / 255.0) ** gamma * 255.0 * gain
    warm = rng.uniform(-0.03, 0.03)
    table = np.stack([ramp * (1 + warm), ramp, ramp * (1 - warm)], 1)
    return cv2.LUT(view, np.clip(table, 0, 255).astype(np.uint8)[None])


def mixed_view(view: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two views in one, blended or side by side: pictures of no product, for which a teacher still has an answer."""
    if rng.random() < 0.5:
        share = rng.uniform(0.3, 0.7)
        return cv2.addWeighted(view, share, other, 1 - share, 0)
    mixed, side = view.copy(), view.shape[0]
    cut = int(side * rng.uniform(0.3, 0.7))
    if rng.random() < 0.5:
        mixed[:, cut:] = other[:, cut:]
    else:
        mixed[cut:] = other[cut:]
    return mixed
