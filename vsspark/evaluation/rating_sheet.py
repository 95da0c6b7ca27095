"""The rating sheet: pairs of pictures for people to rate, who cannot see which model a pair is from."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.resources
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsspark.config import ImagesConfig
from vsspark.evaluation.files import render_page, write_texts
from vsspark.evaluation.measures import UNKNOWN
from vsspark.images.thumbnails import read_thumbnails

SCALE = {1: "nothing alike", 2: "hardly alike", 3: "somewhat alike", 4: "alike", 5: "very alike"}
SHEET, KEY = "rating_sheet", "rating_key.csv"


class Pair(NamedTuple):
    number: int  # 1, 2, ... in the order they are shown
    query: int  # row of the sample
    item: int
    models: tuple[str, ...]  # that have `item` as the nearest of `query`


def blind_pairs(nearest: Mapping[str, np.ndarray], queries: np.ndarray, count: int, seed: int) -> list[Pair]:
    """Every model's nearest image of `count` queries, shuffled; a pair that several models found appears once.

    nearest: model -> (q,) rows of the sample, UNKNOWN = none. queries: (q,) rows of the sample. The same seed, the
    same sheet.
    """
    rng = np.random.default_rng(seed)
    models: dict[tuple[int, int], list[str]] = {}
    for i in np.sort(rng.choice(len(queries), min(count, len(queries)), replace=False)):
        for model, items in nearest.items():
            if items[i] != UNKNOWN:
                models.setdefault((int(queries[i]), int(items[i])), []).append(model)
    order = [list(models)[i] for i in rng.permutation(len(models))]
    return [Pair(number, *pair, tuple(models[pair])) for number, pair in enumerate(order, 1)]


def write_sheet(
    pairs: Sequence[Pair], uris: Sequence[str], folder: Path, images: ImagesConfig, storage_options: Mapping[str, str]
) -> list[Path]:
    """rating_sheet.html and rating_sheet.csv, either of which is filled in, and rating_key.csv, which names each
    pair's models and stays here.

    uris: of the sample's rows. The folder's name, the run's id, ties the three together.
    """
    sheet = folder.name
    pictures = sorted({uris[row] for pair in pairs for row in (pair.query, pair.item)})
    page = to_page(pairs, uris, sheet, read_thumbnails(pictures, images, storage_options))
    blank = [(sheet, pair.number, uris[pair.query], uris[pair.item], "") for pair in pairs]
    key = [(sheet, pair.number, model) for pair in pairs for model in pair.models]
    texts = {
        f"{SHEET}.html": page,
        f"{SHEET}.csv": _to_csv(("sheet", "pair", "query_image", "item_image", "rating"), blank),
        KEY: _to_csv(("sheet", "pair", "model"), key),
    }
    return write_texts(folder, texts)


def to_page(pairs: Sequence[Pair], uris: Sequence[str], sheet: str, thumbnails: Mapping[str, str]) -> str:
    """The page as one file that works from disk: pictures and script inside, nothing fetched, no other script runs."""
    script = importlib.resources.files("vsspark.evaluation").joinpath("rating_sheet.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    pictures = [(pair.number, thumbnails.get(uris[pair.query]), thumbnails.get(uris[pair.item])) for pair in pairs]
    return render_page("rating_sheet.html.j2", sheet=sheet, pairs=pictures, scale=SCALE, script=script, digest=digest)


def _to_csv(header: tuple[str, ...], rows: Iterable[tuple]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
