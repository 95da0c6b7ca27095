"""The embeddings of the kNN benchmarks: MobileNetV2 features of augmented views of photos, made once below build/.

Without the folder of photos a clustered synthetic set stands in, and every result says so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared" / "data"
CACHE = ROOT / "build" / "bench" / "data"
WEIGHTS = PHOTOS / "weights" / "mobilenet_v2_imagenet_notop.weights.h5"
WIDTH = 1280
CHUNK = 4000  # views embedded between two saves, about half a minute


def embeddings(n: int) -> tuple[np.ndarray, str]:
    """(n, 1280) float32 unit vectors in random order, and what they are.

    "real: ..." where there are photos or enough cached features (60,000 at most), else "synthetic: ...".
    """
    if (PHOTOS / "clothing").exists():
        make(-(-n // CHUNK))
    chunks = sorted(CACHE.glob("views_*.npy"))[: -(-n // CHUNK)]  # the same rows whatever else is cached
    if len(chunks) * CHUNK >= n:
        order = np.random.default_rng(0).permutation(len(chunks) * CHUNK)[:n]
        x = np.concatenate([np.load(chunk) for chunk in chunks])[order].astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True), "real: MobileNetV2 of augmented photos"
    return synthetic(n, WIDTH), "synthetic: clustered, photos not at hand"


def synthetic(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32 unit vectors around n / 13 centres of a 64-dimensional subspace, not negative, as pooled ReLU."""
    return np.concatenate(list(synthetic_parts(n, d, n, seed)))


def synthetic_parts(n: int, d: int, rows: int, seed: int = 0) -> Iterator[np.ndarray]:
    """The vectors of `synthetic`, so many rows at a time."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((64, d), dtype=np.float32) * (np.arange(1, 65, dtype=np.float32) ** -0.5)[:, None]
    centres = rng.standard_normal((max(1, n // 13), 64), dtype=np.float32)
    for start in range(0, n, rows):
        size = min(rows, n - start)
        low = centres[rng.integers(0, len(centres), size)] + 0.35 * rng.standard_normal((size, 64), dtype=np.float32)
        x = np.maximum(low @ basis + 0.1 * rng.standard_normal((size, d), dtype=np.float32), 0)
        yield x / np.linalg.norm(x, axis=1, keepdims=True)


def photo_features(paths: list[Path]) -> np.ndarray:
    """(n, 1280) float32 features of whole photos."""
    import cv2
    import onnxruntime

    session = onnxruntime.InferenceSession(_network(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    features = []
    for start in range(0, len(paths), 32):
        whole = [cv2.imread(str(path)) for path in paths[start : start + 32]]
        images = np.stack([cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)[:, :, ::-1] for image in whole])
        features.append(session.run(None, {name: images.astype(np.float32) / 127.5 - 1})[0])
    return np.concatenate(features)


def make(chunks: int) -> int:
    """How many of the first `chunks` chunks of CHUNK raw features, of 15 at most, were not there yet and are now."""
    wanted = [number for number in range(min(chunks, math.ceil(60_000 / CHUNK))) if not _chunk(number).exists()]
    if not wanted:
        return 0
    import cv2
    import onnxruntime

    files = [path for folder in ("clothing", "luma") for path in (PHOTOS / folder).rglob("*")]
    photos = sorted(path for path in files if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    CACHE.mkdir(parents=True, exist_ok=True)
    session = onnxruntime.InferenceSession(_network(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for number in wanted:
        target = _chunk(number)
        rng = np.random.default_rng(number)
        features = np.empty((CHUNK, WIDTH), np.float32)
        for start in range(0, CHUNK, 32):
            views = [number * CHUNK + i for i in range(start, min(start + 32, CHUNK))]
            batch = np.stack([_view(cv2.imread(str(photos[v % len(photos)])), rng) for v in views])
            features[start : start + len(batch)] = session.run(None, {name: batch})[0]
        partial = target.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.save(file, features)
        partial.rename(target)
    return len(wanted)


def _chunk(number: int) -> Path:
    return CACHE / f"views_{number:03d}.npy"


def _view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(224, 224, 3) float32 input of the network: a part of a photo, turned, mirrored and in other colours.

    Two views of one photo are about as alike as two pictures of one product: of a row's 10 nearest among 60,000, half
    are of its own photo. With crops of .6 to 1 of each side nine tenths were, which any search finds.
    """
    import cv2

    height, width = image.shape[:2]
    h, w = (np.array([height, width]) * rng.uniform(0.25, 1.0, 2)).astype(int)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    crop = cv2.resize(image[top : top + h, left : left + w], (224, 224), interpolation=cv2.INTER_AREA)
    turn = cv2.getRotationMatrix2D((112, 112), rng.uniform(-15, 15), 1.0)  # degrees
    crop = cv2.warpAffine(crop, turn, (224, 224), borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    pixels = crop[:, :, rng.permutation(3)].astype(np.float32) * rng.uniform(0.6, 1.4, 3).astype(np.float32)
    return np.clip(pixels, 0, 255) / 127.5 - 1


def _network() -> str:
    path = CACHE / "mobilenet_v2.onnx"
    if not path.exists():
        import keras

        shape = (224, 224, 3)
        network = keras.applications.MobileNetV2
        model = network(weights=str(WEIGHTS), include_top=False, pooling="avg", input_shape=shape)
        model(np.zeros((1, *shape), np.float32))  # the exporter wants a model that has been called
        model.export(str(path), format="onnx", verbose=False)
    return str(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=15)
    print(make(parser.parse_args().chunks))
