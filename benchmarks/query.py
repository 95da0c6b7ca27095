"""One picture asked: a process from its start to its answer, and a searcher that is ready, at 100,000 products.

python -m benchmarks.query [--products 100000]

The shop is made once below build/bench/data: synthetic vectors of 1,280 numbers, one picture a product, 20 uneven
categories, as Delta tables and a kept index; MobileNetV2 embeds the picture asked. `cold` reads files that the page
cache holds, `cold, from disk` files that it has been told to forget. The limit that a search is set beside is one
product of all vectors with one, NumPy's, on the same mapped pages' copy in memory.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from benchmarks.harness import write_results
from benchmarks.knn_data import CACHE, ROOT, WEIGHTS, WIDTH, synthetic_parts

_CATEGORIES = 20
_TILE_ROWS = 8192
_RUN = "20261101-020000"
_PLACES = {"categories": "predicted_category", "everywhere": "none"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5, help="processes started for each cold figure")
    args = parser.parse_args(argv)
    folder = make_shop(args.products)
    cases = []
    for place in _PLACES:
        for name, forget in (("cold", False), ("cold, from disk", True), ("cold, no index", False)):
            out = folder / (f"{place}-no-index" if name == "cold, no index" else place)
            seconds = [cold(folder, out, forget) for _ in range(args.repeats)]
            cases.append(_case(name, place, args.products, seconds))
        ready = subprocess.run(
            [sys.executable, "-m", "benchmarks.query_ready", str(folder), place],
            check=True, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        cases += [_case(*case) | more for *case, more in json.loads(ready.stdout)]
    for case in cases:
        print(case)
    write_results("query", cases)
    return 0


def _case(name: str, place: str, products: int, seconds: list[float]) -> dict:
    return {
        "case": name,
        "searched": place,
        "products": products,
        "seconds": round(statistics.median(seconds), 4),
        "slowest": round(max(seconds), 4),
    }


def cold(folder: Path, out: Path, forget: bool) -> float:
    """Seconds from the start of a process to its end."""
    if forget:
        for file in (*out.rglob("*.arrow"), *out.rglob("*.parquet")):
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    command = [sys.executable, "jobs/query.py", *settings(out), "--json", str(folder / "asked.jpg")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if run.returncode or len(json.loads(run.stdout)["answers"][0]["similar"]) != 10:
        raise SystemExit(run.stderr)
    return seconds


def memory() -> dict[str, int]:
    """MiB of this process: resident now, and of these its own, not the pages of files that it has mapped."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {line[0].rstrip(":"): int(line[1]) // 1024 for line in lines if line[-1] == "kB"}
    return {"resident_mb": sizes["VmRSS"], "own_mb": sizes["RssAnon"]}


def settings(out: Path) -> list[str]:
    """The job's arguments."""
    weights = WEIGHTS if WEIGHTS.exists() else CACHE / "mobilenet_v2_random.weights.h5"
    sets = [f"output.path={out}", "encoder.name=mobilenet_v2", f"encoder.weights={weights}"]
    return [part for item in sets for part in ("--set", item)]


def make_shop(products: int) -> Path:
    """A folder with the picture asked and an output for each way to search: with a kept index, and without."""
    from vsspark import encoders
    from vsspark.config import load_config

    folder = CACHE / f"query-{products}"
    config = load_config(None, settings(folder)[1::2])
    if not WEIGHTS.exists():
        _random_weights()
    encoder = encoders.load_configured(config.encoder)  # exported here, where TensorFlow may be needed
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _draw(folder / "asked.jpg")
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(2, _CATEGORIES + 2)
    category = np.sort(rng.choice(_CATEGORIES, products, p=shares / shares.sum()))
    rows = rng.permutation(products)  # of the vectors: a category's are of all kinds
    x = np.concatenate(list(synthetic_parts(products, WIDTH, 10_000)))[rows]
    for place, by in _PLACES.items():
        recorded = config.model_copy(update={"blocking": config.blocking.model_copy(update={"by": by})}).public()
        out = folder / f"{place}-no-index"
        write_tables(out, x, category, (recorded, encoder.model_version))
        shutil.copytree(out, folder / place, copy_function=os.link)
        write_index(folder / place, x, category if by != "none" else np.zeros_like(category), encoder.model_version)
    (folder / "done").touch()
    return folder


def write_tables(out: Path, x: np.ndarray, category: np.ndarray, run: tuple[dict, str]) -> None:
    """images, embeddings, _heads, runs and similar_products, as far as a query reads them."""
    from deltalake import write_deltalake

    (config, version), n = run, len(x)
    ids, names = np.arange(n), np.array([f"category-{c:02d}" for c in range(_CATEGORIES)])
    hashes = pa.array([f"{i:064x}" for i in ids])
    images = {
        "image_id": ids,
        "product_id": [f"P{i:07d}" for i in ids],
        "uri": [f"s3a://shop/photos/{i // 1000:04d}/{i:07d}-front.jpg" for i in ids],
        "position": np.zeros(n, np.int32),
        "name": [f"Product {i}" for i in ids],
        "price": ids % 97 + 0.99,
        "in_stock": ids % 5 > 0,
        "content_hash": hashes,
        "predicted_category": names[category],
        "head": ["head-1"] * n,
    }
    write_deltalake(f"{out}/images", pa.table(images))
    for start in range(0, n, 10_000):
        some = slice(start, start + 10_000)
        vectors = pa.ListArray.from_arrays(np.arange(len(x[some]) + 1) * x.shape[1], x[some].reshape(-1))
        rows = {"content_hash": hashes[some], "model_version": [version] * len(vectors), "embedding": vectors}
        write_deltalake(f"{out}/embeddings", pa.table(rows), partition_by=["model_version"], mode="append")
    weights = np.random.default_rng(1).normal(size=(x.shape[1], _CATEGORIES)).astype("<f4")
    head = {"head": ["head-1"], "categories": [names.tolist()], "weights": [weights.tobytes()]}
    write_deltalake(f"{out}/_heads", pa.table({**head, "bias": [np.zeros(_CATEGORIES, "<f4").tobytes()]}))
    versions = pa.array([[("images", 0), ("embeddings", -(-n // 10_000) - 1)]], pa.map_(pa.string(), pa.int64()))
    row = {"run_id": [_RUN], "status": ["published"], "model_version": [version], "config": [json.dumps(config)]}
    write_deltalake(f"{out}/runs", pa.table({**row, "versions": versions}), partition_by=["run_id"])
    lists = {"product_id": ["P0000000"], "run_id": [_RUN], "run_date": [dt.date(2026, 11, 1)]}
    write_deltalake(f"{out}/similar_products", pa.table(lists))


def write_index(out: Path, x: np.ndarray, block: np.ndarray, version: str) -> None:
    """The kept index as a night leaves it: tiles of one block each."""
    from vsspark.knn.index import Change, Entry, Settings, commit, new_index
    from vsspark.knn.tiles import MEMBERS, TileRows, write_tiles

    index, entries = new_index(f"{out}/_index/neighbours", Settings("cosine", version, x.shape[1])), []
    for number in np.unique(block).tolist():
        rows = np.flatnonzero(block == number)
        for part in np.array_split(rows, -(-len(rows) // _TILE_ROWS)):
            contents = pa.array([f"{i:064x}" for i in part])
            tile = TileRows(x[part], part, part, np.full(len(part), -np.inf, np.float32), contents)
            uri = write_tiles(f"{index.folder}/tiles", f"t{len(entries):04d}", [tile], None)
            entries.append(Entry(uri.rpartition("/")[2], 0, len(part), number, MEMBERS))
    blocks = tuple(f"category-{number:02d}" for number in np.unique(block))
    commit(index._replace(tile_rows=_TILE_ROWS), Change(entries, blocks=blocks, label=_RUN), "none")


def _draw(path: Path) -> None:
    """A picture of a garment, as the demo draws them."""
    from vsspark.demo.draw import encode_photo
    from vsspark.demo.products import photo_specs, product_spec

    product = product_spec(7, 3)
    picture = cv2.imdecode(np.frombuffer(encode_photo(product, photo_specs(product)[0]), np.uint8), cv2.IMREAD_COLOR)
    cv2.imwrite(str(path), cv2.resize(picture, (1000, 1000)))


def _random_weights() -> None:
    from vsspark.encoders.backbones import build_backbone
    from vsspark.encoders.quiet import import_tensorflow

    import_tensorflow()
    CACHE.mkdir(parents=True, exist_ok=True)
    build_backbone("mobilenet_v2", None, None)[1].save_weights(CACHE / "mobilenet_v2_random.weights.h5")


if __name__ == "__main__":
    raise SystemExit(main())
