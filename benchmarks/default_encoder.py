"""How good the encoder that ships is on real photos, beside MobileNetV2 off the shelf, raw pixels and a random pick,
in one run.

python -m benchmarks.default_encoder [--data ../shared/data]

Nothing is fitted on what is measured here. `clothing`: the test split, nearest other test image. `luma`: nearest
other image; "in halves" = inside each of two random halves of the products, three times, averaged. Rows that cannot
be right (no other image of their kind) do not count.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import MOBILENET, catalogue_rows, photo_folder, write_results
from vsspark import encoders
from vsspark.default_encoder.sources import read_photo
from vsspark.encoders.engines import load_engine
from vsspark.evaluation.calibration import calibration_error
from vsspark.evaluation.measures import nearest_agrees
from vsspark.training.views import whole_view

_SEEDS = 3


def main(argv: list[str] | None = None) -> int:
    data = photo_folder("default_encoder", argv)
    if data is None:
        return 0
    clothing = [row for row in catalogue_rows(data / "clothing") if row["split"] == "test"]
    photos = {
        "clothing": read_photos(data / "clothing", clothing),
        "luma": read_photos(data / "luma", catalogue_rows(data / "luma")),
    }
    shipped, shelf = encoders.load("default"), encoders.load("mobilenet_v2", str(data / MOBILENET))
    cases = []
    for name, embed in (
        ("default", lambda name: shipped.encode(squashed(photos[name], shipped.input_size[0]))),
        (
            "mobilenet_v2, flip-averaged",
            lambda name: (both_ways(shelf, squashed(photos[name], shelf.input_size[0])), None),
        ),
        (
            "raw 32x32 pixels",
            lambda name: (unit(squashed(photos[name], 32).reshape(len(photos[name]), -1) - 127.5), None),
        ),
        ("random pick", lambda name: (unit(np.random.default_rng(1).normal(size=(len(photos[name]), 256))), None)),
    ):
        (items, probabilities), (shop, _) = embed("clothing"), embed("luma")
        case = (
            {"case": name, "dim": items.shape[1]}
            | clothing_figures(items, probabilities, clothing, shipped.categories)
            | luma_figures(shop, catalogue_rows(data / "luma"))
        )
        if name in ("default", "mobilenet_v2, flip-averaged"):
            case["ms_per_image_1_thread"] = _milliseconds(shipped if name == "default" else shelf)
        cases.append(case)
        print(
            f"{name:28s}",
            "  ".join(f"{key} {value:.3f}" for key, value in case.items() if isinstance(value, float)),
            flush=True,
        )
    print(write_results("default_encoder", cases))
    return 0


def clothing_figures(
    embeddings: np.ndarray, probabilities: np.ndarray | None, rows: list[dict], categories: tuple[str, ...]
) -> dict[str, float]:
    category, sender = labels(row["category"] for row in rows), labels(row["sender_id"] for row in rows)
    figures = {
        "category": nearest_agrees(embeddings, category),
        "category_other_sender": nearest_agrees(embeddings, category, exclude=sender),
    }
    if probabilities is not None:
        label = np.array([categories.index(row["category"]) for row in rows])
        figures |= {
            "head_top1": float((probabilities.argmax(1) == label).mean()),
            "head_calibration_error": calibration_error(probabilities, label),
        }
    return figures


def luma_figures(embeddings: np.ndarray, rows: list[dict]) -> dict[str, float]:
    product = labels(row["product"] for row in rows)
    halves = {"product": [], "kind_other_product": []}
    for seed in range(_SEEDS):
        side = np.random.default_rng(seed).permutation(product.max() + 1) % 2
        for half in (0, 1):
            inside = np.flatnonzero(side[product] == half)
            for name, value in shop_figures(embeddings[inside], [rows[i] for i in inside]).items():
                halves[name].append(value)
    return shop_figures(embeddings, rows) | {
        f"{name}_in_halves": float(np.mean(values)) for name, values in halves.items()
    }


def shop_figures(embeddings: np.ndarray, rows: list[dict]) -> dict[str, float]:
    """Share of luma's pictures whose nearest other one is the same product; is the same gender and category with the
    product itself left out.
    """
    product, kind = labels(row["product"] for row in rows), labels(row["gender"] + row["category"] for row in rows)
    return {
        "product": nearest_agrees(embeddings, product),
        "kind_other_product": nearest_agrees(embeddings, kind, exclude=product),
    }


def read_photos(folder: Path, rows: list[dict]) -> list[np.ndarray]:
    return [read_photo(folder / row["image"]) for row in rows]


def squashed(photos: list[np.ndarray], side: int) -> np.ndarray:
    return np.stack([whole_view(photo, side) for photo in photos])


def both_ways(encoder: encoders.Encoder, images: np.ndarray) -> np.ndarray:
    return unit(encoder.encode(images)[0] + encoder.encode(np.ascontiguousarray(images[:, :, ::-1]))[0])


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def labels(names) -> np.ndarray:
    return np.unique(list(names), return_inverse=True)[1]


def _milliseconds(encoder: encoders.Encoder, batch: int = 32, repeats: int = 7) -> float:
    """Of one image in a batch of 32, ONNX Runtime on one thread; the median."""
    engine = load_engine("onnxruntime", str(encoder.files["onnxruntime"]), batch, 1)
    images = np.random.default_rng(0).integers(0, 256, (batch, *encoder.input_size, 3), np.uint8)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        engine.run(images)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) / batch * 1000


if __name__ == "__main__":
    cv2.setNumThreads(1)
    raise SystemExit(main())
