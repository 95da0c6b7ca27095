"""What a night costs: a run from scratch, a night without changes, a night in which one image in a hundred has changed.

python -m benchmarks.nightly [--images 60000]

The catalogue is made once below build/bench/data: crops of the real photos beside the checkout, re-encoded, one image
a product. Each run is a process of its own, start-up included; the start-up is also measured alone, by the same
nights on a catalogue of 40 images.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import RESULTS, write_results, write_skipped
from benchmarks.knn_data import CACHE, PHOTOS, ROOT, WEIGHTS

_SIDE = 256  # pixels of the longer side
_FIELDS = ("product", "image", "category", "price")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    args = parser.parse_args(argv)
    if not (PHOTOS / "clothing" / "catalogue.csv").exists():
        write_skipped(
            "nightly", f"no photos in {PHOTOS.relative_to(ROOT.parent)} beside the checkout to make a catalogue from"
        )
        return 0
    folder = make_catalogue(args.images)
    seconds = {}
    for output in ("nightly-few", "nightly-out"):
        shutil.rmtree(RESULTS / output, ignore_errors=True)
    few = make_catalogue(40)
    run(few, "nightly-few", "first")
    seconds["start_up_nothing_changed"], _ = run(few, "nightly-few", "again")
    change(few, 3)
    seconds["start_up"], _ = run(few, "nightly-few", "night")
    seconds["from_scratch"], scratch = run(folder, "nightly-out", "first")
    seconds["nothing_changed"], _ = run(folder, "nightly-out", "again")
    changed = change(folder, args.images // 100)
    seconds["one_in_a_hundred_changed"], night = run(folder, "nightly-out", "night")
    share = (seconds["one_in_a_hundred_changed"] - seconds["start_up"]) / (
        seconds["from_scratch"] - seconds["start_up"]
    )
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    case = {
        "case": "nightly",
        "images": args.images,
        "changed": changed,
        "seconds": rounded,
        "share_beyond_start_up": round(share, 4),
    }
    print(case | {"stages_from_scratch": scratch, "stages_of_the_night": night})
    write_results("nightly", [case | {"stages_from_scratch": scratch, "stages_of_the_night": night}])
    return 0


def make_catalogue(n: int) -> Path:
    """The folder with n pictures and their catalogue.csv, as it is before any change."""
    import cv2

    folder = CACHE / f"nightly-{n}"
    table = folder / "catalogue.csv"
    if (folder / "done").exists():
        return restore(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(PHOTOS / "clothing" / "catalogue.csv", newline="", encoding="utf-8") as file:
        photos = [(PHOTOS / "clothing" / row["image"], row["category"]) for row in csv.DictReader(file)]
    rows = []
    for number in range(n):
        path, category = photos[number % len(photos)]
        rng = np.random.default_rng(number)
        (folder / f"{number:06d}.jpg").write_bytes(_picture(cv2.imread(str(path)), rng))
        rows.append((f"P{number:06d}", f"{number:06d}.jpg", category, f"{rng.uniform(5, 80):.2f}"))
    _write(table, rows)
    (folder / "done").touch()
    return folder


def change(folder: Path, n: int) -> dict[str, int]:
    """Replaces, removes, adds: a third of n each, evenly over the catalogue."""
    import cv2

    rows = _read(folder / "catalogue.csv")
    at = np.random.default_rng(1).permutation(len(rows))[:n]
    replaced, removed, added = np.array_split(at, 3)
    for i in [*replaced, *added]:
        source = folder / rows[i][1]
        picture = cv2.flip(cv2.imread(str(source)), -1)
        name = rows[i][1] if i in replaced else f"new-{rows[i][1]}"
        if i in replaced:
            shutil.copy2(source, source.with_suffix(".before"))
        (folder / name).write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
    gone = set(removed.tolist())
    kept = [row for i, row in enumerate(rows) if i not in gone]
    _write(folder / "catalogue.csv", [*kept, *[(f"N{rows[i][0]}", f"new-{rows[i][1]}", *rows[i][2:]) for i in added]])
    _write(folder / "original.csv", rows)
    return {"replaced": len(replaced), "removed": len(removed), "added": len(added)}


def restore(folder: Path) -> Path:
    """Takes the changes of an earlier benchmark back."""
    for before in folder.glob("*.before"):
        before.replace(before.with_suffix(".jpg"))
    if (folder / "original.csv").exists():
        shutil.copy2(folder / "original.csv", folder / "catalogue.csv")
    return folder


def run(folder: Path, output: str, run_id: str) -> tuple[float, dict[str, float]]:
    """Seconds of the whole process, and of its stages."""
    columns = {"product_id": "product", "image": "image", "category": "category", "price": "price"}
    settings = [
        f"catalogue.table={folder}/catalogue.csv",
        *[f"catalogue.columns.{role}={name}" for role, name in columns.items()],
    ]
    settings += [
        "encoder.name=mobilenet_v2",
        f"encoder.weights={WEIGHTS}",
        f"output.path={RESULTS / output}",
        f"report.path={RESULTS / output}.html",
    ]
    settings += [f"mlflow.tracking_uri=sqlite:///{RESULTS / 'nightly.db'}", "spark.ui.showConsoleProgress=false"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    log = RESULTS / f"{output}-{run_id}.log"
    begin = time.perf_counter()
    with log.open("w") as out:
        subprocess.run(
            [sys.executable, "jobs/recommend.py", *arguments, "--run-id", run_id],
            cwd=ROOT,
            env=os.environ,
            stdout=out,
            stderr=out,
            check=True,
        )
    seconds = time.perf_counter() - begin
    stages = {name: float(took) for name, took in re.findall(r" I (\w+) .* in ([\d.]+) s", log.read_text())}
    return seconds, stages


def _picture(photo: np.ndarray, rng: np.random.Generator) -> bytes:
    import cv2

    height, width = photo.shape[:2]
    share = rng.uniform(0.6, 1.0)
    h, w = int(height * share), int(width * share)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    scale = _SIDE / max(h, w)
    crop = cv2.resize(
        photo[top : top + h, left : left + w], (round(w * scale), round(h * scale)), interpolation=cv2.INTER_AREA
    )
    return cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 95))])[1].tobytes()


def _read(table: Path) -> list[tuple[str, ...]]:
    with open(table, newline="", encoding="utf-8") as file:
        return [tuple(row[name] for name in _FIELDS) for row in csv.DictReader(file)]


def _write(table: Path, rows: Sequence[Sequence[str]]) -> None:
    with open(table, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_FIELDS, *rows])


if __name__ == "__main__":
    raise SystemExit(main())
