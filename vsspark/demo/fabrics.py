"""Cloth to cut garments from: seamless pattern tiles and chest prints, RGB uint8."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from vsspark.demo.products import COLOURS, ProductSpec

TILE = 256  # pixels
_TILE_UNITS = 2.0  # body units a tile covers; a figure is 8 units tall
_SMALL = 0.45  # the same pattern is printed smaller on hats and shoes


def tile_units(product: ProductSpec) -> float:
    """How many body units one tile of the product's cloth covers."""
    return _TILE_UNITS * (_SMALL if product.kind in ("hat", "shoes") else 1.0)


@lru_cache(maxsize=4)
def fabric(product: ProductSpec) -> tuple[np.ndarray, ...]:
    """The product's cloth as a pyramid of seamless tiles, (256, 256, 3) to (32, 32, 3): the renderer takes the one
    nearest its own scale.
    """
    rng = np.random.default_rng([product.seed, 4, product.motif])
    main, second = (np.array(COLOURS[name], np.float32) for name in (product.colour, product.second_colour))
    if np.abs(main - second).sum() < 150:  # a pattern nobody can see is no pattern
        second = np.array((236, 232, 222) if main.mean() < 140 else (44, 44, 56), np.float32)
    tile = _PATTERNS[product.pattern](main, second, product.scale, rng)
    weave = _seamless_noise(rng, 3, 3)
    tile = np.clip(tile * (1 + 0.035 * weave[..., None]), 0, 255).astype(np.uint8)
    levels = [tile]
    for size in (128, 64, 32):
        levels.append(cv2.resize(levels[-1], (size, size), interpolation=cv2.INTER_AREA))
    return tuple(levels)


@lru_cache(maxsize=4)
def chest_print(product: ProductSpec) -> np.ndarray:
    """The product's print, (96, 96, 4) RGBA uint8, transparent where the cloth shows."""
    rng = np.random.default_rng([product.seed, 5, product.motif])
    art = np.zeros((96, 96, 4), np.uint8)
    main = COLOURS[product.colour]
    ink = COLOURS[product.second_colour]
    if sum(abs(a - b) for a, b in zip(ink, main, strict=True)) < 180:
        ink = (245, 244, 238) if sum(main) < 390 else (38, 40, 52)
    accent = tuple(COLOURS.values())[rng.integers(len(COLOURS))]
    ink, accent = (*ink, 255), (*accent, 255)
    design = rng.integers(6)
    if design == 0:
        cv2.circle(art, (48, 48), 42, ink, -1, cv2.LINE_AA)
        cv2.fillPoly(
            art, [np.array([(14, 66), (36, 30), (50, 52), (62, 38), (84, 66), (70, 82), (26, 82)])], accent, cv2.LINE_AA
        )
    elif design == 1:
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        radii = np.where(np.arange(10) % 2, 18, 44)
        cv2.fillPoly(
            art, [np.stack([48 + radii * np.cos(angles), 50 + radii * np.sin(angles)], 1).astype(int)], ink, cv2.LINE_AA
        )
    elif design == 2:
        for row, width in enumerate((40, 26, 34)):
            cv2.rectangle(
                art,
                (48 - width, 22 + 19 * row),
                (48 + width, 34 + 19 * row),
                accent if row == 1 else ink,
                -1,
                cv2.LINE_AA,
            )
    elif design == 3:
        word = ("VOLT", "MOTH", "PINE", "WAVE", "NOVA", "FERN")[rng.integers(6)]
        cv2.putText(art, word, (5, 58), cv2.FONT_HERSHEY_DUPLEX, 1.12, ink, 3, cv2.LINE_AA)
        cv2.line(art, (8, 70), (88, 70), accent, 4, cv2.LINE_AA)
    elif design == 4:
        for radius, colour in ((44, ink), (33, accent), (22, ink), (11, accent)):
            cv2.ellipse(art, (48, 66), (radius, radius), 0, 180, 360, colour, -1, cv2.LINE_AA)
    else:
        cv2.rectangle(art, (12, 12), (84, 84), ink, 5, cv2.LINE_AA)
        for _ in range(5):
            x, y = rng.integers(24, 72, 2)
            cv2.circle(
                art, (int(x), int(y)), int(rng.integers(6, 15)), accent if rng.random() < 0.5 else ink, -1, cv2.LINE_AA
            )
    return art


def _plain(main, second, scale, rng):
    return np.broadcast_to(main, (TILE, TILE, 3))


def _stripes(main, second, scale, rng):
    count = max(3, round(float(rng.choice([4, 7, 12])) / scale))
    phase = np.arange(TILE, dtype=np.float32) * count / TILE % 1.0
    band = _edge(phase, float(rng.uniform(0.25, 0.55)), 0.02 * count)
    rows = main + (second - main) * band[:, None]
    tile = np.repeat(rows[:, None], TILE, 1)
    return tile if rng.random() < 0.7 else tile.transpose(1, 0, 2)


def _check(main, second, scale, rng):
    count = max(2, round(float(rng.choice([3, 5, 9])) / scale))
    phase = np.arange(TILE, dtype=np.float32) * count / TILE % 1.0
    band = _edge(phase, 0.5, 0.02 * count)
    cover = (band[:, None] + band[None, :]) * 0.5
    tile = main + (second - main) * cover[..., None] * 0.9
    if rng.random() < 0.5:  # a tartan's thin line
        line = np.exp(-(((phase - 0.75) * 18) ** 2))
        tile = tile + (np.float32(240) - tile) * np.maximum(line[:, None], line[None, :])[..., None] * 0.6
    return tile


def _dots(main, second, scale, rng):
    count = max(3, round(float(rng.choice([5, 8])) / scale))
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32) * count / TILE
    x = x + 0.5 * (np.floor(y) % 2) * (count % 2 == 0)  # staggered rows need an even count to stay seamless
    radius = np.hypot(x % 1 - 0.5, y % 1 - 0.5)
    cover = np.clip((float(rng.uniform(0.2, 0.36)) - radius) * TILE / count + 0.5, 0, 1)
    return main + (second - main) * cover[..., None]


def _floral(main, second, scale, rng):
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = main
    leaf = (0.5 * main + 0.5 * np.array((70, 120, 70))).tolist()
    heart = (244, 214, 120) if second[2] < 180 else (150, 60, 60)
    tint = (0.55 * second + 0.45 * np.array((245, 235, 235))).tolist()
    petals = int(rng.integers(4, 7))
    cells = 4 if scale < 1 else 3
    for row in range(cells):
        for column in range(cells):
            centre = (np.array([column, row]) + 0.5 + rng.uniform(-0.22, 0.22, 2)) * TILE / cells
            size, turn = 24 * scale * float(rng.uniform(0.7, 1.15)), float(rng.uniform(0, 6.28))
            colour = second.tolist() if rng.random() < 0.65 else tint
            for shift in _wraps(centre, 2 * size):
                _draw_flower(tile, centre + shift, size, turn, _Flower(petals, colour, leaf, heart))
    return tile.astype(np.float32)


class _Flower(NamedTuple):
    petals: int
    colour: list[float]
    leaf: list[float]
    heart: tuple[int, int, int]


def _draw_flower(tile, centre, size, turn, flower: _Flower):
    petals, colour, leaf, heart = flower
    for angle in (turn + 0.4, turn + 2.7):
        tip = centre + 1.5 * size * np.array([np.cos(angle), np.sin(angle)])
        cv2.ellipse(
            tile,
            _at((centre + tip) / 2),
            _at((size * 0.75, size * 0.28)),
            np.degrees(angle),
            0,
            360,
            leaf,
            -1,
            cv2.LINE_AA,
            4,
        )
    for angle in turn + np.arange(petals) * 2 * np.pi / petals:
        at = centre + 0.55 * size * np.array([np.cos(angle), np.sin(angle)])
        cv2.ellipse(
            tile, _at(at), _at((size * 0.5, size * 0.34)), np.degrees(angle), 0, 360, colour, -1, cv2.LINE_AA, 4
        )
    cv2.circle(tile, _at(centre), int(size * 0.24 * 16), heart, -1, cv2.LINE_AA, 4)


def _colour_block(main, second, scale, rng):
    third = main * 0.35 + np.array((245, 245, 245)) * 0.65
    rows = np.repeat(main[None], TILE, 0)
    cut = int(TILE * rng.uniform(0.35, 0.6))
    rows[cut:] = second
    if rng.random() < 0.5:
        rows[cut - 14 : cut + 14] = third
    return np.repeat(rows[:, None], TILE, 1)


def _denim(main, second, scale, rng):
    y, x = np.mgrid[:TILE, :TILE].astype(np.float32)
    twill = np.sin((x + y) * 2 * np.pi * 32 / TILE)
    wash = 1.0 + 0.06 * twill + 0.12 * _seamless_noise(rng, 1, 9)
    return (0.82 * main + 0.18 * np.array((120, 140, 170), np.float32)) * wash[..., None]


_PATTERNS = {
    "plain": _plain, "print": _plain, "stripes": _stripes, "check": _check, "dots": _dots, "floral": _floral,
    "colour-block": _colour_block, "denim": _denim,
}  # fmt: skip


def _edge(phase, width, soft):
    """1 where phase < width, 0 beyond, edges softened over `soft` of a period, periodic."""
    soft = max(soft * 0.5, 1e-3)
    return np.clip(np.minimum(phase, width - phase) / soft + 0.5, 0, 1) + np.clip((phase - 1) / soft + 0.5, 0, 1)


def _seamless_noise(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(TILE, TILE) float32 noise smoothed over width x height pixels, round the tile's edges too."""
    noise = cv2.copyMakeBorder(rng.standard_normal((TILE, TILE), np.float32), 8, 8, 8, 8, cv2.BORDER_WRAP)
    return cv2.GaussianBlur(noise, (width, height), 0)[8:-8, 8:-8]


def _wraps(centre, reach):
    """The shifts at which a shape around `centre` shows in the tile when the plane repeats."""
    xs, ys = ([0, *([TILE] if c < reach else []), *([-TILE] if c > TILE - reach else [])] for c in centre)
    return [np.array((x, y)) for x in xs for y in ys]


def _at(point):
    return tuple(round(float(v) * 16) for v in point)
