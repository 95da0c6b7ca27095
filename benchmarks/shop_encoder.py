"""What `jobs/train.py` reaches on two shops, and how long it takes: trained on one part, measured on products and
photos it has not seen.

python -m benchmarks.shop_encoder [--data ../shared/data] [--shops clothing luma] [--set training.flip=true ...]

`clothing`: fitted on the train and validation splits, measured inside the test split. `luma`: fitted on one random
half of the products, measured inside the other, both ways, `--seeds` times (3), averaged. Beside it the backbone off
the shelf, its last layer averaged over picture and mirror image.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.default_encoder import both_ways, clothing_figures, labels, read_photos, shop_figures, squashed
from benchmarks.harness import MOBILENET, RESULTS, catalogue_rows, write_results, write_skipped
from vsspark import encoders
from vsspark.config.sections import MlflowConfig
from vsspark.tracking import use_tracking_store

_WORK = RESULTS / "shop_encoder"
_SETTINGS = {
    "clothing": ["catalogue.columns.product_id=image", "training.side=288", "training.bands=3", "training.views=2"],
    "luma": [
        *("catalogue.columns.product_id=product", "training.side=576", "training.stored_side=576"),
        *("training.pyramid=[1, 2]", "training.bands=3", "training.flip=true"),
    ],
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.shop_encoder")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with clothing/, luma/ and weights/"
    )
    parser.add_argument("--shops", nargs="+", choices=sorted(_SETTINGS), default=sorted(_SETTINGS))
    parser.add_argument("--seeds", type=int, default=3, help="of luma's halves")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help="given to jobs/train.py"
    )
    args = parser.parse_args(argv)
    if not (args.data / "clothing/catalogue.csv").exists():
        write_skipped(
            "shop_encoder", f"no photos in {args.data}: give --data FOLDER with clothing/, luma/ and {MOBILENET}"
        )
        return 0
    shelf = encoders.load("mobilenet_v2", str(args.data / MOBILENET))
    cases = []
    for shop in args.shops:
        cases += (_clothing if shop == "clothing" else _luma)(args, shelf)
        for case in cases[-2:]:
            print(
                {key: round(value, 4) if isinstance(value, float) else value for key, value in case.items()}, flush=True
            )
        print(write_results("shop_encoder", cases))
    return 0


def _clothing(args: argparse.Namespace, shelf: encoders.Encoder) -> list[dict]:
    folder = args.data / "clothing"
    rows = catalogue_rows(folder)
    test = [row for row in rows if row["split"] == "test"]
    trained, seconds = _train("clothing", "clothing", [row for row in rows if row["split"] != "test"], args)
    photos = read_photos(folder, test)
    embeddings, probabilities = trained.encode(squashed(photos, trained.input_size[0]))
    return [
        {"case": "clothing, trained", "minutes": seconds / 60}
        | clothing_figures(embeddings, probabilities, test, trained.categories),
        {"case": "clothing, off the shelf"}
        | clothing_figures(both_ways(shelf, squashed(photos, shelf.input_size[0])), None, test, ()),
    ]


def _luma(args: argparse.Namespace, shelf: encoders.Encoder) -> list[dict]:
    rows = catalogue_rows(args.data / "luma")
    photos = read_photos(args.data / "luma", rows)
    product = labels(row["product"] for row in rows)
    untrained = both_ways(shelf, squashed(photos, shelf.input_size[0]))
    figures: dict[str, list[dict]] = {"trained": [], "off the shelf": []}
    for seed in range(args.seeds):
        side = np.random.default_rng(seed).permutation(product.max() + 1) % 2
        for half in (0, 1):
            seen, inside = np.flatnonzero(side[product] != half), np.flatnonzero(side[product] == half)
            trained, seconds = _train("luma", f"luma-{seed}-{half}", [rows[i] for i in seen], args)
            other = [rows[i] for i in inside]
            embeddings = trained.encode(squashed([photos[i] for i in inside], trained.input_size[0]))[0]
            figures["trained"].append({"minutes": seconds / 60} | shop_figures(embeddings, other))
            figures["off the shelf"].append(shop_figures(untrained[inside], other))
            print(f"luma {seed} {half}", figures["trained"][-1], flush=True)
    return [
        {"case": f"luma, {name}"} | {key: statistics.mean(each[key] for each in found) for key in found[0]}
        for name, found in figures.items()
    ]


def _train(shop: str, name: str, rows: list[dict], args: argparse.Namespace) -> tuple[encoders.Encoder, float]:
    """(the encoder that the job registered, the seconds it took from the pictures on)."""
    work = (_WORK / name).resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    photos = (args.data / shop).resolve()  # the job reads no path with `..` in it
    with (work / "catalogue.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"image": str(photos / row["image"])} for row in rows)
    settings = [
        f"catalogue.table={work}/catalogue.csv",
        "catalogue.columns.category=category",
        f"training.weights={(args.data / MOBILENET).resolve()}",
        f"training.path={work}/set",
        f"training.register_as={name}",
        f"mlflow.tracking_uri=sqlite:///{work}/mlflow.db",
        *_SETTINGS[shop],
        *args.settings,
    ]
    submit = str(Path(sys.executable).with_name("spark-submit"))
    began = time.monotonic()
    with (work / "log").open("w") as log:
        done = subprocess.run(
            [submit, "jobs/train.py", *(word for setting in settings for word in ("--set", setting))],
            stdout=log,
            stderr=log,
        )
    if done.returncode:
        raise SystemExit(f"shop_encoder: jobs/train.py ended with {done.returncode}, see {work}/log")
    seconds = time.monotonic() - began
    use_tracking_store(MlflowConfig(tracking_uri=f"sqlite:///{work}/mlflow.db"))
    return encoders.load(f"models:/{name}@live"), seconds


if __name__ == "__main__":
    raise SystemExit(main())
