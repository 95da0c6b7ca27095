"""Does the neighbour follow the garment or the background, with and without the finder; `python -m
benchmarks.foreground [--data ../shared/data]`.

Every picture goes the way of the embed stage (`images/product.py`), with images.foreground none, crop and blank, for
MobileNetV2 with ImageNet weights and for the encoder that ships; single views, cosine, leave one out. Real photos as
they are, then pictures whose backgrounds (and figures) were changed, see `benchmarks/foreground_worlds.py`. Writes
build/bench/foreground.json.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from benchmarks.foreground_worlds import WORLDS, drawn_worlds, studio_worlds
from benchmarks.harness import MOBILENET, catalogue_rows, photo_folder, write_results
from vsspark import encoders
from vsspark.config import ImagesConfig
from vsspark.evaluation.measures import nearest_agrees
from vsspark.images.decode import decode_photo
from vsspark.images.foreground import SIDE, find_foreground
from vsspark.images.product import crop, decode_product, find_product

WAYS = ("none", "crop", "blank")
_SIZE = (224, 224)  # every picture is cut once; the smaller encoder squashes it further


def main(argv: list[str] | None = None) -> int:
    data = photo_folder("foreground", argv)
    if data is None:
        return 0
    clothing = [row for row in catalogue_rows(data / "clothing") if row["split"] == "test"]
    luma = catalogue_rows(data / "luma")
    files = {
        "clothing": [(data / "clothing" / row["image"]).read_bytes() for row in clothing],
        "luma": [(data / "luma" / row["image"]).read_bytes() for row in luma],
    }
    studio, drawn = studio_worlds(data), drawn_worlds()
    files |= {"studio": studio.files, "drawn": drawn.files}
    cases = [{"case": "cost", **_milliseconds(files["clothing"][:40])}]
    print(cases[0], flush=True)
    shown, found = {}, {}
    for name in files:
        pictures, found[name] = _pictures(files[name])
        shown |= {(name, way): pixels for way, pixels in pictures.items()}
    cases.append({"case": "found", **found})
    print(cases[1], flush=True)
    for title, encoder in (
        ("mobilenet_v2", encoders.load("mobilenet_v2", str(data / MOBILENET))),
        ("default", encoders.load("default")),
    ):
        for way in WAYS:
            x = {name: _unit(encoder.encode(shown[name, way])[0]) for name in files}
            category, sender = (
                _labels(row["category"] for row in clothing),
                _labels(row["sender_id"] for row in clothing),
            )
            product, kind = (
                _labels(row["product"] for row in luma),
                _labels(row["gender"] + row["category"] for row in luma),
            )
            case = {
                "case": f"{title}, {way}",
                "clothing_category": nearest_agrees(x["clothing"], category),
                "clothing_category_other_sender": nearest_agrees(x["clothing"], category, exclude=sender),
                "luma_product": nearest_agrees(x["luma"], product),
                "luma_kind_other_product": nearest_agrees(x["luma"], kind, exclude=product),
                **{
                    f"{name}_{key}": value
                    for name, worlds in (("studio", studio), ("drawn", drawn))
                    for key, value in follows(x[name], worlds.products).items()
                },
            }
            cases.append(case)
            print(
                f"{case['case']:22s}",
                "  ".join(f"{key} {value:.3f}" for key, value in case.items() if isinstance(value, float)),
                flush=True,
            )
    print(write_results("foreground", cases))
    return 0


def follows(embeddings: np.ndarray, products: np.ndarray) -> dict[str, float]:
    """What a query's nearest picture shares with it, as shares of the queries.

    embeddings: (worlds * n, d), the same n pictures in every world, a world being a background (and a figure).
    products: (n,). same_world: everything is in the query's world, is the nearest the same garment: what is possible.
    other_world: the garment's other pictures are in the next world, the other garments in the query's own: it is the
    same garment, or else the background that was followed. mixed_garment, mixed_background: every picture in a world
    drawn by lot; the nearest has the garment, the world (by chance: 1 / worlds).
    """
    n = len(products)
    world = embeddings.reshape(WORLDS, n, -1)
    same, itself = products[:, None] == products[None, :], np.eye(n, dtype=bool)
    asked = (same & ~itself).any(1)
    inside, across = [], []
    for here in range(WORLDS):
        own, next_door = world[here] @ world[here].T, world[here] @ world[(here + 1) % WORLDS].T
        inside.append(_share(np.where(itself, -np.inf, own), same)[asked].mean())
        across.append(_share(np.where(itself, -np.inf, np.where(same, next_door, own)), same)[asked].mean())
    garment, background = [], []
    for seed in range(5):
        lot = np.random.default_rng(seed).integers(0, WORLDS, n)
        x = world[lot, np.arange(n)]
        nearest = np.where(itself, -np.inf, x @ x.T)
        garment.append(_share(nearest, same)[asked].mean())
        background.append(_share(nearest, lot[:, None] == lot[None, :])[asked].mean())
    figures = {"same_world": inside, "other_world": across, "mixed_garment": garment, "mixed_background": background}
    return {name: float(np.mean(values)) for name, values in figures.items()}


def _share(similarity: np.ndarray, agrees: np.ndarray) -> np.ndarray:
    """(n,) bool: whether each row's most similar column agrees with it."""
    return agrees[np.arange(len(agrees)), similarity.argmax(1)]


def _pictures(files: list[bytes]) -> tuple[dict[str, np.ndarray], float]:
    """(the pictures as encoders see them each way, share of them in which the finder found something). It looks once
    for both ways.
    """

    def each_way(data: bytes) -> tuple[list[np.ndarray], bool]:
        foreground = find_product(data, ImagesConfig())
        return [
            crop(data, _SIZE, ImagesConfig(foreground=way), None if way == "none" else foreground).pixels
            for way in WAYS
        ], foreground is not None

    with ThreadPoolExecutor() as pool:
        pictures, found = zip(*pool.map(each_way, files), strict=True)
    return {way: np.stack([each[i] for each in pictures]) for i, way in enumerate(WAYS)}, float(np.mean(found))


def _milliseconds(files: list[bytes]) -> dict[str, float]:
    """Processor time of one picture on one thread, the median: the finder alone, and the whole way from bytes to the
    encoder's pixels.
    """
    small = [decode_photo(data, (SIDE, SIDE), ImagesConfig()).pixels for data in files]
    found = {"finder_ms": _median(find_foreground, small)}
    for way in WAYS:
        config = ImagesConfig(foreground=way)
        found[f"{way}_ms"] = _median(lambda data, config=config: decode_product(data, _SIZE, config), files)
    return found


def _median(work, given: list) -> float:
    seconds = []
    for one in given:
        started = time.thread_time()  # of this thread's own work: other processes do not count
        work(one)
        seconds.append(time.thread_time() - started)
    return float(np.median(seconds)) * 1000


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _labels(names) -> np.ndarray:
    return np.unique(list(names), return_inverse=True)[1]


if __name__ == "__main__":
    cv2.setNumThreads(1)
    raise SystemExit(main())
