"""Small real shops for the jobs to run on: pictures drawn by the demo generator, and every kind of bad file beside
them.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vsspark.demo.draw import encode_photo
from vsspark.demo.products import photo_specs, product_spec

REPO = Path(__file__).resolve().parents[2]
SEED = 11
BAD = {
    "empty.jpg": "empty",
    "page.jpg": "not_an_image",
    "truncated.jpg": "truncated",
    "missing.jpg": "missing",
    "folder.jpg": "unreadable",
    "dot.png": "too_small",
    "bomb.png": "too_many_pixels",
    "../outside.jpg": "outside_root",
}
ODD = [
    "cmyk.jpg",
    "deep.png",
    "palette.png",
    "alpha.png",
    "moving.gif",
    "web.webp",
    "turned.jpg",
    "wide.jpg",
    "a name with spaces.jpg",
    "100%25 #1.jpg",
    "größe-日本.jpg",
]


def draw_shop(folder: Path, products: int = 12, images: int = 2) -> list[dict]:
    """Draws the shop's pictures and writes catalogue.csv; returns its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(products):
        product = product_spec(SEED, index)
        for place, photo in enumerate(photo_specs(product)[:images]):
            name = f"p{index:02d}-{place}.jpg"
            (folder / name).write_bytes(encode_photo(product, replace(photo, damage=None)))
            rows.append(
                {
                    "sku": f"P{index:02d}",
                    "photo": name,
                    "kind": product.kind,
                    "cost": f"{product.price:.2f}",
                    "colour": "x",
                }
            )
    write_catalogue(folder, rows)
    return rows


def add_bad_files(folder: Path, rows: list[dict]) -> list[dict]:
    """Every kind of file that cannot be used, as images of product BAD, and every odd one that can, as images of
    product ODD.
    """
    good = cv2.imread(str(folder / rows[0]["photo"]))
    rgb = Image.fromarray(cv2.cvtColor(good, cv2.COLOR_BGR2RGB))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "truncated.jpg").write_bytes((folder / rows[0]["photo"]).read_bytes()[:2000])
    (folder / "folder.jpg").mkdir()
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    (folder.parent / "outside.jpg").write_bytes((folder / rows[0]["photo"]).read_bytes())
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    cv2.imwrite(str(folder / "deep.png"), good.astype(np.uint16) * 257)
    rgb.convert("P").save(folder / "palette.png")
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.save(folder / "moving.gif")
    rgb.save(folder / "web.webp")
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.rotate(90, expand=True).save(folder / "turned.jpg", exif=exif)
    rgb.resize((20_000, 100)).save(folder / "wide.jpg")
    for name in ODD[-3:]:
        rgb.save(folder / name)
    more = [{"sku": "BAD", "photo": name, "kind": "", "cost": "", "colour": "<b>x</b>"} for name in BAD]
    more += [{"sku": "ODD", "photo": name, "kind": rows[0]["kind"], "cost": "1", "colour": ""} for name in ODD]
    write_catalogue(folder, rows + more)
    return rows + more


def write_catalogue(folder: Path, rows: list[dict]) -> None:
    with open(folder / "catalogue.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def arguments(folder: Path, output: str, *more: str) -> list[str]:
    """Job arguments for a shop below `folder`, writing below `output`."""
    columns = {"product_id": "sku", "image": "photo", "category": "kind", "price": "cost"}
    sets = [
        f"catalogue.table={folder}/catalogue.csv",
        *[f"catalogue.columns.{k}={v}" for k, v in columns.items()],
        f"output.path={output}",
    ]
    sets += [
        f"mlflow.tracking_uri=sqlite:///{folder}/mlflow.db",
        f"report.path={folder}/report.html",
        "recommend.k=5",
        "knn.k=5",
        *more,
    ]
    return [part for item in sets for part in ("--set", item)]
