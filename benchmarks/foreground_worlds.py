"""The same garments in several worlds, a world being a background, or a background and a figure.

Studio: photos of the studio shop, whose paper is white. The figure is what white that hangs together with the
picture's border does not reach (not the finder under test: it looks at colours along the edges, and never at whether
they are white). Backgrounds: corners of hand-held photos, which show floors, walls and bedding. Photos that are no
figure on white (close-ups) are left out; of white garments, edges may be lost. Drawn: generated garments worn by a
figure; in every world another figure in another pose, before another background.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.harness import catalogue_rows
from vsspark.default_encoder.sources import read_photo
from vsspark.demo.backgrounds import background
from vsspark.demo.draw import render_photo
from vsspark.demo.figure import random_look
from vsspark.demo.products import PhotoSpec, product_spec
from vsspark.demo.scene import HEIGHT, WIDTH

WORLDS = 3
_STUDIO_PHOTOS = 160
_DRAWN_PRODUCTS = 50
_WHITE = 245  # of 255, in every channel; the paper is at 250 or more


class Worlds(NamedTuple):
    files: list[bytes]  # JPEGs: all pictures in the first world, then all in the second, ...
    products: np.ndarray  # (n,) of the pictures of one world


def studio_worlds(data: Path) -> Worlds:
    rows = [row for row in catalogue_rows(data / "luma") if row["view"] in ("main", "back", "alt1")]
    cut, products, seen = [], [], set()
    for row in rows:
        if row["image"] in seen:  # several articles share a photo
            continue
        seen.add(row["image"])
        photo = read_photo(data / "luma" / row["image"])
        share = figure_on_white(photo)
        if share is not None:
            cut.append((photo, share))
            products.append(row["product"])
    counts = {product: products.count(product) for product in products}
    kept = [i for i, product in enumerate(products) if counts[product] > 1][:_STUDIO_PHOTOS]
    backdrops = _corners(data)
    files = [_jpeg(_laid_on(*cut[i], backdrop)) for backdrop in backdrops for i in kept]
    return Worlds(files, np.unique([products[i] for i in kept], return_inverse=True)[1])


def figure_on_white(photo: np.ndarray) -> np.ndarray | None:
    """(h, w) float32 in [0, 1], 1 where the figure is; None for a picture that is no figure on white paper."""
    white = (photo.min(axis=2) >= _WHITE).astype(np.uint8)
    _, pieces = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    if (border == 0).mean() > 0.5:
        return None
    figure = (~np.isin(pieces, border[border > 0])).astype(np.uint8)
    figure = cv2.morphologyEx(figure, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not 0.05 <= figure.mean() <= 0.7:
        return None
    return cv2.GaussianBlur(cv2.erode(figure, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), 0.8)


def drawn_worlds() -> Worlds:
    worlds = []
    for world in range(WORLDS):
        rng = np.random.default_rng([5, world])
        worlds.append(
            (background(("room", "floor", "coloured")[world], rng, WIDTH, HEIGHT), [random_look(rng) for _ in range(2)])
        )
    files = []
    for backdrop, looks in worlds:
        for index in range(_DRAWN_PRODUCTS):
            for position, look in enumerate(looks):
                files.append(
                    _jpeg(
                        render_photo(
                            product_spec(7, index * 3), PhotoSpec(position, "worn", "white", None), backdrop, look
                        )
                    )
                )
    return Worlds(files, np.repeat(np.arange(_DRAWN_PRODUCTS), 2))


def _corners(data: Path) -> list[np.ndarray]:
    """WORLDS backgrounds: the upper left quarter of a side of hand-held photos of the train split, whose corners
    differ in colour, laid out four times.
    """
    rows = [row for row in catalogue_rows(data / "clothing") if row["split"] == "train"][:: 3000 // 40]
    corners = []
    for row in rows:
        photo = read_photo(data / "clothing" / row["image"])
        corner = photo[: photo.shape[0] // 4, : photo.shape[1] // 4]
        corners.append(cv2.resize(corner, (128, 128), interpolation=cv2.INTER_AREA))
    means = np.array([corner.mean((0, 1)) for corner in corners])
    chosen = [0]
    while len(chosen) < WORLDS:  # the one farthest from those chosen, in its mean colour
        chosen.append(int(np.linalg.norm(means[:, None] - means[chosen], axis=2).min(1).argmax()))
    mirrored = [np.hstack([corners[i], corners[i][:, ::-1]]) for i in chosen]
    return [np.vstack([half, half[::-1]]) for half in mirrored]


def _laid_on(photo: np.ndarray, share: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    behind = cv2.resize(backdrop, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return (photo * share[:, :, None] + behind * (1 - share[:, :, None])).astype(np.uint8)


def _jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
