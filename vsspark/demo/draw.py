"""One product photo: parts are filled with cloth, lit as if they bulged and folded, and set before a background. Arrays are RGB uint8 (h, w, 3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vsspark.demo.backgrounds import background
from vsspark.demo.fabrics import TILE, chest_print, fabric, tile_units
from vsspark.demo.figure import Look, figure_parts, head_parts, random_look
from vsspark.demo.garments import garment_parts
from vsspark.demo.products import PhotoSpec, ProductSpec
from vsspark.demo.shapes import Part, Pose

WIDTH, HEIGHT = 288, 360
_LIT = 128  # a shade map's value that leaves the colour as it is

# What each kind's photos show, in body units: left, top, right, bottom of the flat garment, and of the figure wearing it.
_FRAMES: dict[str, tuple[tuple[float, float, float, float], tuple[float, float, float, float]]] = {
    "dress": ((-1.7, 1.0, 1.7, 7.2), (-2.0, -0.4, 2.0, 8.1)), "hat": ((-0.76, -0.6, 0.76, 0.95), (-1.25, -0.75, 1.25, 2.3)), "longsleeve": ((-2.3, 1.0, 2.3, 4.6), (-1.9, -0.3, 1.9, 4.7)),
    "outwear": ((-2.4, 0.8, 2.4, 5.2), (-2.1, -0.4, 2.1, 5.9)), "pants": ((-1.5, 2.6, 1.5, 7.7), (-1.5, 2.1, 1.5, 8.1)), "shirt": ((-2.3, 1.0, 2.3, 4.7), (-1.9, -0.3, 1.9, 4.8)),
    "shoes": ((-0.85, 6.5, 0.8, 8.05), (-1.0, 5.9, 1.0, 8.1)), "shorts": ((-1.3, 2.7, 1.3, 5.4), (-1.4, 2.0, 1.4, 6.2)), "skirt": ((-1.6, 2.7, 1.6, 6.8), (-1.7, 1.4, 1.7, 7.8)),
    "t-shirt": ((-1.9, 1.1, 1.9, 4.5), (-1.8, -0.3, 1.8, 4.6)),
}  # fmt: skip


@dataclass
class _Scene:
    """The picture being drawn and how body units become its pixels."""

    canvas: np.ndarray
    matrix: np.ndarray  # (2, 3): pixels = matrix @ (x, y, 1)
    scale: float  # pixels per body unit
    light: tuple[float, float]  # direction the light comes from, pixels
    rng: np.random.Generator
    product: ProductSpec

    def pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def render_photo(product: ProductSpec, photo: PhotoSpec) -> np.ndarray:
    """The photo, RGB uint8 (360, 288, 3); the same product and photo always give the same pixels."""
    rng = np.random.default_rng([product.seed, 6, product.index, photo.position])
    worn, back = photo.view == "worn", photo.view == "back"
    look = random_look(rng)
    scene = _Scene(background(photo.background, rng, WIDTH, HEIGHT), *_camera(product, photo, rng), (float(rng.uniform(-0.9, 0.9)), -1.0), rng, product)
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
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(render_photo(product, photo), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return jpeg[: len(jpeg) * 2 // 5] if photo.damage == "truncated" else jpeg


def _composition(product: ProductSpec, look: Look | None, back: bool, rng: np.random.Generator) -> list[Part]:
    if look is None:
        spread = Pose(arms=tuple(rng.uniform(0.5, 0.8, 2)), elbows=tuple(rng.uniform(-0.12, 0.12, 2)), legs=float(rng.uniform(0.05, 0.16)))
        return garment_parts(product, spread, back)
    garment = garment_parts(product, look.pose, back)
    if product.kind == "shoes":
        return _legs_for_shoes(look) + garment
    figure, head = figure_parts(look, product.kind, back), head_parts(look, back, product.kind == "hat")
    return figure + head + garment if product.kind == "hat" or product.variant in ("turtle",) else figure + garment + head


def _legs_for_shoes(look: Look) -> list[Part]:
    legs = []
    for x, y, tint in ((0.42, -0.14, 0.86), (0.22, 0.0, 1.0)):
        shin = np.array([(x - 0.2, 5.0), (x + 0.2, 5.0), (x + 0.14, 7.45 + y), (x - 0.17, 7.45 + y)])
        legs.append(Part([shin], look.skin, folds=0, tint=tint))
        legs.append(Part([np.array([(x - 0.27, 4.9), (x + 0.27, 4.9), (x + 0.23, 6.75 + y), (x - 0.25, 6.75 + y)])], look.neutral, folds=0.6, tint=tint))
    return legs


def _camera(product: ProductSpec, photo: PhotoSpec, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The 2 x 3 matrix from body units to pixels, and its scale."""
    left, top, right, bottom = _FRAMES[product.kind][photo.view == "worn"]
    if product.variant == "coat":
        bottom += 1.2
    scale = min(WIDTH / (right - left), HEIGHT / (bottom - top)) * float(rng.uniform(0.94, 1.08))
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    if photo.view == "detail":
        scale *= float(rng.uniform(1.7, 2.3))
        centre = centre * 0.55 + np.array([0.0, top + (bottom - top) * (0.75 if product.kind == "shoes" else 0.33)]) * 0.45 + rng.uniform(-0.12, 0.12, 2) * (right - left)
    tilt = float(rng.normal(0, 0.025 if photo.view == "worn" else 0.05 if photo.background != "floor" else 0.22))
    squeeze = float(rng.uniform(0.86, 1.0))  # seen a little from the side
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) @ np.array([[scale * squeeze, 0], [0, scale]])
    middle = np.array([WIDTH / 2, HEIGHT / 2]) + rng.normal(0, 5, 2)
    return np.column_stack([turn, middle - turn @ centre]), scale


def _cast_shadow(scene: _Scene, parts: list[Part], soft: bool) -> None:
    """Darkens the background where the product keeps the light away."""
    small = np.zeros((HEIGHT // 4, WIDTH // 4), np.uint8)
    offset = np.array([-scene.light[0] * 6, 6.0]) * (1.7 if soft else 0.8)
    for part in parts:
        for points in part.outlines:
            cv2.fillPoly(small, [np.round((scene.pixels(points) + offset) * 4).astype(np.int32)], 255, shift=4)
    small = cv2.GaussianBlur(small, (0, 0), 3.5 if soft else 2.0)
    shade = cv2.resize(cv2.addWeighted(small, -0.14 if soft else -0.2, small, 0, _LIT), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    _multiply(scene.canvas, shade)


def _paint(scene: _Scene, part: Part) -> None:
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
    shade, bend = _shade_map(scene, part, mask, origin)
    cloth = _cloth(scene, part, mask.shape, origin, bend)
    _multiply(cloth, shade)
    roi = scene.canvas[y0:y1, x0:x1]
    cover = cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB)
    roi[:] = cv2.add(cv2.multiply(cloth, cover, scale=1 / 255), cv2.multiply(roi, cv2.bitwise_not(cover), scale=1 / 255))
    for x, y, radius in part.buttons:
        at = scene.pixels(np.array([x, y]))
        size = max(1.2, radius * scene.scale)
        for grow, value in ((1.0, 70), (0.78, 225)):
            cv2.circle(scene.canvas, tuple(np.round(at * 16).astype(int).tolist()), int(size * grow * 16), (value, value, value - 8), -1, cv2.LINE_AA, 4)


def _shade_map(scene: _Scene, part: Part, mask: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """How much light each pixel gets (uint8, 128 = all of it), and the cloth's slopes in x and y, (h / 4, w / 4), that bend the pattern."""
    h, w = max(2, mask.shape[0] // 4), max(2, mask.shape[1] // 4)
    small = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    unit = scene.scale / 4  # quarter pixels per body unit
    height = cv2.GaussianBlur(small, (0, 0), max(0.8, 0.11 * unit), borderType=cv2.BORDER_CONSTANT) * unit * 0.2 * part.roundness
    if part.folds:
        height += _folds(scene, part, h, w) * part.folds * unit * 0.11
    if part.pleats or part.quilts:
        height += _waves(scene, part, h, w, origin) * unit * 0.07
    dx, dy = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125), cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    lit = dx * (-1.15 * scene.light[0]) + dy * (-1.15 * scene.light[1])
    # A surface that turns away gets less of the studio's light from all around.
    around = 0.98 - 0.29 * np.minimum(dx * dx + dy * dy, 1.0)
    shade = np.clip((around - 0.27 * np.tanh(lit)) * (_LIT * part.tint), 30, 190).astype(np.uint8)
    shade = cv2.resize(shade, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_CUBIC)
    for seam in part.seams:
        points = [np.round((scene.pixels(seam) - origin) * 16).astype(np.int32)]
        level = int(_LIT * 0.66 * part.tint)
        cv2.polylines(shade, points, False, level, 2 if scene.scale > 110 else 1, cv2.LINE_AA, 4)
    return shade, (dx, dy)


def _folds(scene: _Scene, part: Part, h: int, w: int) -> np.ndarray:
    """Smooth ridges along the part's grain, about -1 to 1, (h, w) float32."""
    field = _ridges()[scene.rng.integers(len(_ridges()))]
    unit = scene.scale / 4
    c, s = np.cos(part.angle), np.sin(part.angle)
    at = scene.rng.uniform(0, 128, 2)
    step = 30.0 / unit  # field cells per quarter pixel
    matrix = np.array([[c * step, s * step, at[0]], [-s * step, c * step, at[1]]])
    return cv2.warpAffine(field, matrix, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP)


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


def _waves(scene: _Scene, part: Part, h: int, w: int, origin: np.ndarray) -> np.ndarray:
    """Pleats that fan out from the waist, or quilted tubes across, about -1 to 1, (h, w) float32."""
    inverse = cv2.invertAffineTransform(scene.matrix)
    ys, xs = np.mgrid[:h, :w].astype(np.float32) * 4 + 2 + origin[::-1, None, None].astype(np.float32)
    x, y = (inverse[i, 0] * xs + inverse[i, 1] * ys + inverse[i, 2] for i in (0, 1))
    if part.quilts:
        c, s = np.cos(part.angle), np.sin(part.angle)
        return (np.abs(np.sin((y * c - x * s) * part.quilts * 0.75)) * 2.2).astype(np.float32)
    top = min(points[:, 1].min() for points in part.outlines)
    spread = np.maximum(0.62 + 0.45 * (y - top), 0.3)
    return (np.sin(x / spread * part.pleats * 1.55 + np.sin(y * 1.3)) * np.clip((y - top) * 0.9, 0, 1)).astype(np.float32)


def _cloth(scene: _Scene, part: Part, shape: tuple[int, int], origin: np.ndarray, bend: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The part's flat colour or pattern before it is lit, (h, w, 3) uint8."""
    h, w = shape
    if part.colour is not None:
        cloth = np.empty((h, w, 3), np.uint8)
        cloth[:] = part.colour
        if part.ribs and scene.scale * 1.0 > 40:
            _rib(scene, part, cloth, origin)
        return cloth
    levels = fabric(scene.product)
    if scene.product.pattern in ("plain", "print"):  # the weave alone looks the same at every angle: cut it straight
        cloth = cv2.copyMakeBorder(levels[0][:h, :w], 0, max(0, h - TILE), 0, max(0, w - TILE), cv2.BORDER_REFLECT)
    else:
        cloth = _patterned(scene, part, levels, shape, origin, bend)
    if part.ribs:
        _rib(scene, part, cloth, origin)
    if part.printed is not None:
        _print(scene, part.printed, cloth, origin)
    return cloth


def _patterned(scene: _Scene, part: Part, levels: tuple[np.ndarray, ...], shape: tuple[int, int], origin: np.ndarray, bend: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The pattern along the part's grain, bent by its folds."""
    h, w = shape
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
        maps = [cv2.resize((linear[i, 0] * xs + linear[i, 1] * ys + start[i]).astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR) for i in (0, 1)]
        return cv2.remap(tile, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return cv2.warpAffine(tile, np.column_stack([linear, start]), (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_WRAP)


def _rib(scene: _Scene, part: Part, cloth: np.ndarray, origin: np.ndarray) -> None:
    x = (np.arange(cloth.shape[1], dtype=np.float32) + origin[0]) / scene.scale * np.cos(part.angle)
    line = np.clip(_LIT + 15 * np.sin(x * part.ribs * 2 * np.pi), 0, 255).astype(np.uint8)
    _multiply(cloth, np.tile(line, (cloth.shape[0], 1)))


def _print(scene: _Scene, where: tuple[float, float, float], cloth: np.ndarray, origin: np.ndarray) -> None:
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


def _multiply(picture: np.ndarray, shade: np.ndarray) -> None:
    """picture *= shade / 128, in place, saturating."""
    cv2.multiply(picture, cv2.cvtColor(shade, cv2.COLOR_GRAY2RGB), dst=picture, scale=1 / _LIT)


def _expose(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The camera's own touch: exposure, a little warmth, grain, sometimes a soft lens."""
    gain, warm = rng.uniform(0.9, 1.08), rng.uniform(-0.03, 0.03)
    if rng.random() < 0.25:
        canvas = cv2.GaussianBlur(canvas, (3, 3), 0)
    return cv2.multiply(canvas, (gain * (1 + warm), gain, gain * (1 - warm), 1.0))
