"""The photos an encoder is fitted on: a catalogue of real ones, and generated ones drawn as they are needed."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vsspark.default_encoder.pool import Photo
from vsspark.demo.draw import render_photo
from vsspark.demo.products import KINDS, photo_specs, product_spec
from vsspark.errors import ConfigError


def real_photos(catalogue: Path, split: str, categories: tuple[str, ...]) -> list[Photo]:
    """The photos of one split of a catalogue.csv with the columns image, category and split; each photo is a product
    of its own.
    """
    if not catalogue.exists():
        raise ConfigError(
            f"photos: {catalogue} does not exist; "
            "give a catalogue.csv with the columns image, category and split, "
            "or null to train on generated pictures alone"
        )
    with catalogue.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == split]
    index = {name: i for i, name in enumerate(categories)}
    return [
        Photo(partial(read_photo, catalogue.parent / row["image"]), i, index[row["category"]])
        for i, row in enumerate(rows)
    ]


def generated_photos(seed: int, products: Iterable[int]) -> list[Photo]:
    """The photos of those generated products, drawn when they are read."""
    photos = []
    for index in products:
        product = product_spec(seed, index)
        photos += [
            Photo(partial(render_photo, product, photo), index, KINDS.index(product.kind))
            for photo in photo_specs(product)
        ]
    return photos


def read_photo(path: Path) -> np.ndarray:
    """The file as RGB uint8 (h, w, 3)."""
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
