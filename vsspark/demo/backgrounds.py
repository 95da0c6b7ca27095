"""Draw backgrounds for product photos: paper, a wall, boards. Pictures are RGB uint8."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

_WALLS = ((214, 206, 194), (190, 198, 200), (222, 214, 200), (176, 168, 160), (200, 182, 168), (168, 182, 172))
_BOARDS = ((176, 132, 92), (146, 104, 72), (206, 174, 136), (120, 92, 72), (190, 184, 176))
_PAPERS = (
    (244, 208, 200),
    (198, 220, 232),
    (214, 228, 204),
    (246, 228, 178),
    (222, 208, 234),
    (208, 196, 182),
    (120, 140, 150),
    (236, 180, 150),
)


def background(kind: str, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """An empty scene of one of the kinds in `products.BACKGROUNDS`, (height, width, 3)."""
    if kind in ("white", "grey", "coloured"):
        base = {"white": (250, 250, 249), "grey": (206, 207, 209)}.get(kind) or _PAPERS[rng.integers(len(_PAPERS))]
        if kind == "grey":
            tone = int(rng.integers(-46, 26))
            base = tuple(v + tone for v in base)
        return _paper(base, rng, width, height, 0.02 if kind == "white" else 0.12)
    boards = _BOARDS[rng.integers(len(_BOARDS))]
    if kind == "floor":
        return _planks(boards, rng, width, height, upright=bool(rng.random() < 0.5))
    scene = _paper(_WALLS[rng.integers(len(_WALLS))], rng, width, height, 0.16)
    horizon = int(height * rng.uniform(0.72, 0.86))
    scene[horizon:] = _planks(boards, rng, width, height - horizon, upright=False)
    scene[horizon - 7 : horizon] = (238, 236, 230)
    scene[horizon : horizon + 2] = scene[horizon : horizon + 2] // 2
    if rng.random() < 0.7:  # a framed picture, a doorway or a window: something square that is no garment
        x, y = int(rng.integers(-30, width - 40)), int(rng.integers(-30, 90))
        w, h = int(rng.integers(50, 120)), int(rng.integers(60, 150))
        cv2.rectangle(scene, (x, y), (x + w, y + h), tuple(int(v) for v in rng.integers(90, 250, 3)), -1)
        cv2.rectangle(
            scene, (x, y), (x + w, y + h), (84, 70, 60) if rng.random() < 0.5 else (244, 242, 238), 5, cv2.LINE_AA
        )
    return cv2.GaussianBlur(scene, (5, 5), 0)


def _paper(base, rng, width: int, height: int, fall: float) -> np.ndarray:
    """A lit backdrop: brighter in one place, falling off by up to `fall`."""
    cx, cy = rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.7)
    x, y = np.linspace(0, 1, 36, dtype=np.float32) - cx, np.linspace(0, 1, 45, dtype=np.float32) - cy
    light = 1 - fall * 1.6 * (x[None, :] ** 2 + y[:, None] ** 2)
    small = np.clip(light[..., None] * np.array(base, np.float32), 0, 255).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _planks(colour, rng, width: int, height: int, upright: bool) -> np.ndarray:
    """Boards with grain, running across or upright."""
    grain = _grain()
    top, left = rng.integers(0, 512 - height if height < 512 else 1), rng.integers(0, 100)
    scene = cv2.LUT(cv2.merge([grain[top : top + height, left : left + width]] * 3), _tint(colour))
    if upright:
        scene = cv2.resize(np.ascontiguousarray(scene.transpose(1, 0, 2)), (width, height))
    step = int(rng.integers(36, 70))
    for at in range(int(rng.integers(step)), width if upright else height, step):
        a, b = ((at, 0), (at, height)) if upright else ((0, at), (width, at))
        cv2.line(scene, a, b, tuple(int(v * 0.6) for v in colour), 2, cv2.LINE_AA)
    return scene


def _tint(colour) -> np.ndarray:
    return np.clip(np.arange(256)[:, None] / 128.0 * np.array(colour, np.float64), 0, 255).astype(np.uint8)[None]


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """(512, 400) uint8 around 128, streaked from left to right."""
    rng = np.random.default_rng(11)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (512, 400)).astype(np.float32), (61, 1), 12)
    broad = cv2.resize(rng.normal(0, 1, (40, 4)).astype(np.float32), (400, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 * (1 + 0.09 * fine / fine.std() + 0.07 * broad), 0, 255).astype(np.uint8)
