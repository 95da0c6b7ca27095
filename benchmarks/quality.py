"""Every quality figure that README and docs state, in one file: `python -m benchmarks.quality [--data ../shared/data]`.

Parts: `shops` runs the main job on the demo and on two real shops; `heads` fits category heads to the embeddings of
those runs; `encoders`, `evaluation` and `foreground` compare encoders. `--with-training` adds `shop_encoder`, which
trains seven encoders and takes about an hour. Without photos only the demo is measured, and the file says so.
Writes build/bench/quality.json after every part; `python -m benchmarks.readme` makes README's and docs' tables of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import deltalake
import numpy as np

from benchmarks import default_encoder, foreground, shop_encoder
from benchmarks.harness import MOBILENET, RESULTS, write_results
from benchmarks.quality_heads import head_cases, many_categories
from vsspark.evaluation.measures import nearest_agrees

_WORK = RESULTS / "quality"
SHOPS = {
    "luma": {"product_id": "product", "image": "image", "name": "name", "category": "category", "price": "price"},
    "clothing": {"product_id": "image", "image": "image", "category": "category"},
}
_LAYERS = (None, "block_16_project_BN")
_METRICS = ("rank1_same_category", "head_accuracy", "hubness", "recommended_share", "coverage")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.quality")
    folder = "folder with clothing/, luma/ and weights/"
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help=folder)
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), help="only these; the others stay as they were")
    parser.add_argument("--with-training", action="store_true", help="the part shop_encoder too, about an hour")
    args = parser.parse_args(argv)
    parts = args.parts or [name for name in PARTS if name != "shop_encoder" or args.with_training]
    has_photos = (args.data / "clothing/catalogue.csv").exists()
    cases = _cases_of_other_parts(parts)
    for part in parts:
        if part == "shops":
            found = run_shops(args.data if has_photos else None)
        elif has_photos:
            found = PARTS[part](args.data)
        else:
            why = f"no photos in {args.data}: give --data FOLDER with clothing/, luma/ and {MOBILENET}"
            print(f"{part}: skipped, {why}")
            found = [{"case": "skipped", "why": why}]
        cases += [{"part": part} | case for case in found]
        path = write_results("quality", cases)
    print(path)
    return 0


def run_shops(data: Path | None) -> list[dict]:
    """What the main job records of a cold run on each shop, and how often the nearest image is the same product's."""
    runs = {"demo": ["--config", "conf/demo.yaml", *_sets({"demo.path": (_WORK / "demo/pictures").resolve()})]}
    for shop in SHOPS if data else ():
        runs[shop] = ["--config", str(_write_config(shop, data))]
    found = []
    for shop, arguments in runs.items():
        folder = (_WORK / shop).resolve()
        shutil.rmtree(folder / "out", ignore_errors=True)
        places = {"output.path": folder / "out", "mlflow.tracking_uri": f"sqlite:///{folder}/mlflow.db"}
        places["report.path"] = folder / "report.html"
        _run_job("recommend", [*arguments, *_sets(places)], folder)
        found.append({"case": shop} | _published(folder / "out"))
        print(found[-1], flush=True)
    return found


def _published(output: Path) -> dict:
    run = deltalake.DeltaTable(str(output / "runs")).to_pyarrow_table().to_pylist()[-1]
    metrics = dict(run["metrics"])
    seconds = (run["finished_at"] - run["started_at"]).total_seconds()
    found = {"images": dict(run["counts"])["images"], "seconds": round(seconds, 1)}
    found |= {name: round(metrics[name], 4) for name in _METRICS if name in metrics}
    x, _, products = read_embeddings(output)
    if len(set(products.tolist())) < len(products):
        found["same_product_at_1"] = round(nearest_agrees(x, default_encoder.labels(products)), 4)
    return found


def read_embeddings(output: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(embeddings (n, d) float32 of unit norm, categories (n,), product ids (n,)) of a run's Delta tables."""
    delta = {table: deltalake.DeltaTable(str(output / table)) for table in ("images", "embeddings")}
    names = ["image_id", "content_hash", "box", "model_version", "category", "product_id"]
    images = delta["images"].to_pyarrow_table(columns=names).to_pandas()
    images = images[images["content_hash"].notna()]
    keys = ["content_hash", "box", "model_version"]
    rows = delta["embeddings"].to_pyarrow_table(columns=[*keys, "embedding"]).to_pandas()
    both = images.merge(rows, on=keys).sort_values("image_id")
    x = np.stack(both["embedding"].to_numpy()).astype(np.float32)
    return default_encoder.unit(x), both["category"].to_numpy(), both["product_id"].to_numpy()


def _heads(data: Path) -> list[dict]:
    missing = [shop for shop in SHOPS if not (_WORK / shop / "out/embeddings").exists()]
    if missing:
        raise SystemExit(f"quality: no embeddings of {', '.join(missing)}: run the part shops first")
    cases = [case for shop in SHOPS for case in head_cases(shop, *read_embeddings((_WORK / shop / "out").resolve()))]
    return [*cases, many_categories()]


def _evaluation(data: Path) -> list[dict]:
    """The table of `jobs/evaluate.py` on luma, one case a row."""
    weights, folder = str((data / MOBILENET).resolve()), (_WORK / "evaluation").resolve()
    networks = [{"name": "mobilenet_v2", "weights": weights, "layer": layer, "unit_norm": False} for layer in _LAYERS]
    encoders = json.dumps([{"name": "default", "unit_norm": False}, *networks])
    places = {"evaluation.path": folder, "mlflow.tracking_uri": f"sqlite:///{folder}/mlflow.db"}
    places |= {"evaluation.encoders": encoders, "evaluation.rated_queries": 0, "output.path": folder / "out"}
    shutil.rmtree(folder, ignore_errors=True)
    _run_job("evaluate", ["--config", str(_write_config("luma", data)), *_sets(places)], folder)
    (file,) = folder.glob("*/evaluation.json")
    table = json.loads(file.read_text(encoding="utf-8"))["table"]
    kept = [name for name in table if not name.endswith(("_count", "seconds"))]
    rows = zip(*(table[name] for name in kept), strict=True)
    return _rounded([{"case": row[0]} | dict(zip(kept[1:], row[1:], strict=True)) for row in rows])


def _write_config(shop: str, data: Path) -> Path:
    """A configuration of the shop as a user would write it. YAML holds JSON."""
    folder = (data / shop).resolve()
    config = {
        "catalogue": {"table": str(folder / "catalogue.csv"), "images_root": str(folder), "columns": SHOPS[shop]},
        "encoder": {"name": "mobilenet_v2", "weights": str((data / MOBILENET).resolve())},
    }
    path = _WORK / f"{shop}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def _sets(settings: dict) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def _run_job(job: str, arguments: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("w", encoding="utf-8") as log:
        done = subprocess.run([sys.executable, f"jobs/{job}.py", *arguments], stdout=log, stderr=log)
    if done.returncode:
        raise SystemExit(f"quality: jobs/{job}.py ended with {done.returncode}, see {folder}/log")


def _cases_of_other_parts(parts: Sequence[str]) -> list[dict]:
    """Cases of the last results that this call does not measure again."""
    path = RESULTS / "quality.json"
    last = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.exists() else []
    return [case for case in last if case["part"] not in parts]


def _rounded(cases: list[dict]) -> list[dict]:
    rounded = lambda value: round(value, 4) if isinstance(value, float) else value  # noqa: E731
    return [{key: rounded(value) for key, value in case.items()} for case in cases]


def _of(benchmark) -> Callable[[Path], list[dict]]:
    """The cases that another benchmark measures and writes to its own file."""

    def measure(data: Path) -> list[dict]:
        benchmark.main(["--data", str(data)])
        name = benchmark.__name__.rpartition(".")[2]
        return _rounded(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["cases"])

    return measure


PARTS: dict[str, Callable[[Path], list[dict]]] = {
    "shops": run_shops,
    "heads": _heads,
    "encoders": _of(default_encoder),
    "evaluation": _evaluation,
    "foreground": _of(foreground),
    "shop_encoder": _of(shop_encoder),
}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    raise SystemExit(main())
