"""A published run small enough to count by hand: nine products, drawn pictures, tables as rows in the order of
`vsspark.schemas`.

Four tees, three bags, one hat (so: nothing but backfill), and a product whose pictures are both unusable. k is 3; bag
B3 has a short list.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import cv2
import numpy as np

RUN_ID, MODEL = "20261121-020000", "default:abc123"
CONTENT = "0" * 64  # of every picture: the report looks at no embedding
K = 3
BOLD, SCRIPT = 'Tee & <b>"bold"</b>', "<script>document.title='owned'</script>"
QUOTED = "T\"2'><img src=x>"
NAMES = {
    "T1": BOLD,
    QUOTED: "Plain tee",
    "T3": "Third tee",
    "T4": None,
    "B1": "Bag one",
    "B2": "Bag two",
    "B3": "Bag three",
    "H1": "Straw hat",
    "X1": SCRIPT,
}
CATEGORY = {
    "T1": "Tees",
    QUOTED: "Tees",
    "T3": "Tees",
    "T4": "Tees",
    "B1": "Bags",
    "B2": "Bags",
    "B3": "Bags",
    "H1": "Hats",
    "X1": "Bags",
}
COLOUR = {"Tees": (220, 30, 40), "Bags": (20, 90, 200), "Hats": (240, 180, 0)}  # RGB, filling most of the picture
LISTS = {  # product -> (similar product, similarity), best first
    "T1": [(QUOTED, 0.95), ("T3", 0.90), ("T4", 0.70)],
    QUOTED: [("T1", 0.95), ("T3", 0.85), ("T4", 0.65)],
    "T3": [("T1", 0.90), (QUOTED, 0.85), ("T4", 0.60)],
    "T4": [("T1", 0.70), (QUOTED, 0.65), ("T3", 0.60)],
    "B1": [("B2", 0.80), ("B3", 0.75), ("T1", 0.30)],
    "B2": [("B1", 0.80), ("B3", 0.55), ("T3", 0.25)],
    "B3": [("B1", 0.75), ("B2", 0.55)],
    "H1": [("B1", 0.35), ("T4", 0.20), ("B2", 0.10)],
}


def published_tables(folder: Path) -> dict[str, list[tuple]]:
    """Draws the pictures below `folder` and returns the rows of every table the report reads."""
    images, ids = [], {}
    for product, category in CATEGORY.items():
        for position in range(2):
            uri = str(folder / f"{len(images)} ü#%20.png")
            ids[product, position] = len(images) + 1
            facts = (NAMES[product], category, 10.0 + len(images), None, {"season": "summer"}, None)
            content = (CONTENT, "64-1", MODEL, category, {category: 0.9}, "encoder")
            unusable = product == "X1"
            images.append((len(images) + 1, product, uri, position, *facts, *((None,) * 6 if unusable else content)))
            if not unusable:
                draw(uri, COLOUR[category], position)
    missing = str(folder / "gone.jpg")
    images.append((len(images) + 1, "T1", missing, 2, BOLD, "Tees", 10.0, None, None, None, *[None] * 6))
    embeddings = [(CONTENT, None, MODEL, [1.0, 0.0], "Tees", {"Tees": 0.9}, 100, 90, 120, RUN_ID)]
    quarantine = [
        (ids["X1", 0], "X1", images[ids["X1", 0] - 1][2], "decode", "truncated", "512 bytes: <cut> off", RUN_ID),
        (ids["X1", 1], "X1", images[ids["X1", 1] - 1][2], "decode", "truncated", "100 bytes: <cut> off", RUN_ID),
        (len(images), "T1", missing, "fetch", "missing", f"no such file: {missing}", RUN_ID),
        (len(images), "T1", missing, "fetch", "unreadable", "last week", "20261114-020000"),
    ]
    price = {row[1]: row[6] for row in reversed(images)}
    first_uri = {row[1]: row[2] for row in reversed(images)}
    similar = [
        (product, "similar", rank, other, similarity, first_uri[product], first_uri[other],
         CATEGORY[product], CATEGORY[other], price[product], price[other],
         "visual" if CATEGORY[product] == CATEGORY[other] else "backfill", None, MODEL, RUN_ID, dt.date(2026, 11, 21))
        for product, others in LISTS.items()
        for rank, (other, similarity) in enumerate(others, 1)
    ]  # fmt: skip
    # One product has a second list, which the figures leave out.
    bag, hat = first_uri["B1"], first_uri["H1"]
    second = ("B1", "cheaper", 1, "H1", 0.35, bag, hat, "Bags", "Hats", price["B1"], price["H1"], "backfill", "pin hat")
    similar.append((*second, MODEL, RUN_ID, dt.date(2026, 11, 21)))
    return {
        "images": images,
        "embeddings": embeddings,
        "quarantine": quarantine,
        "similar_products": similar,
        "runs": [tuple(run_row().values())],
    }


def run_row() -> dict:
    started = dt.datetime(2026, 11, 21, 2, 0, tzinfo=dt.UTC)
    return {
        "run_id": RUN_ID,
        "run_date": dt.date(2026, 11, 21),
        "started_at": started,
        "finished_at": started + dt.timedelta(seconds=83),
        "status": "published",
        "message": None,
        "model_version": MODEL,
        "config": "{}",
        "counts": {"images": 19, "embedded": 16},
        "metrics": {"coverage": 0.875},
        "seconds": {"ingest": 4.0, "embed": 40.0, "neighbours": 10.0, "publish": 5.0},
        "inputs": None,
        "versions": None,
        "forced_by": None,
        "embedded_by": RUN_ID,
        "owed": [],
    }


def draw(path: str, rgb: tuple[int, int, int], position: int) -> None:
    """A filled square on white; the second picture of a product is portrait."""
    picture = np.full((300 + 60 * position, 300, 3), 255, np.uint8)
    cv2.rectangle(picture, (40, 40), (260, 260), rgb[::-1], -1)
    assert cv2.imwrite(path, picture)


class PublishedTables:
    """The rows as Spark tables by name, the way the job layer's store gives them."""

    def __init__(self, spark, rows: dict[str, list[tuple]]):
        from vsspark import schemas

        self.frames = {name: spark.createDataFrame(rows[name], getattr(schemas, name.upper())) for name in rows}

    def read(self, name: str):
        return self.frames[name]
