"""What the columns of a feed are, guessed from their names and from the texts of its first rows. Free of Spark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vsspark.catalogue.column_names import NAMES, NOT_THE_PRODUCT, WORDS, plain_name, words_of
from vsspark.config.presets import OTHER_NAMES, PRESETS

_ENDING = r"\.(jpe?g|png|webp|gif|avif|bmp|tiff?|heic)\b"
_FILE = re.compile(rf"(?i){_ENDING}")
_PICTURE = re.compile(rf"(?i){_ENDING}|^https?://|/image")
_FOUR = re.compile(r"^[\s\[({]*-?\d+(\.\d+)?([\s,;]+-?\d+(\.\d+)?){3}[\s\])}]*$")
_SEPARATORS = ("|", ";", ",", " ")
_ENOUGH = 4  # columns of a preset that a feed must have
_MARKS = {  # names that only this shop system gives
    "shopify": ("Image Src", "Product image URL", "Variant Price", "Variant Inventory Qty"),
    "magento": ("base_image", "additional_images"),
    "woocommerce": ("Regular price", "In stock?"),
    "google_merchant": ("image_link", "image link", "g:image_link"),
}


@dataclass(frozen=True)
class Sample:
    """names: the feed's columns. rows: its first rows, a text or None for each column."""

    names: Sequence[str]
    rows: Sequence[Sequence[str | None]]

    def cells(self, name: str) -> list[str]:
        """The filled cells of a column."""
        place = self.names.index(name)
        return [row[place] for row in self.rows if row[place] is not None and row[place].strip()]

    def share_filled(self, name: str) -> float:
        return len(self.cells(name)) / len(self.rows) if self.rows else 0.0


def preset_columns(preset: str, names: Sequence[str]) -> dict[str, str]:
    """The feed's columns that a preset takes, by role; those of `more_images` under their own names."""
    own = {**PRESETS[preset]["columns"], **{name: name for name in PRESETS[preset].get("more_images", ())}}
    spellings = {role: (name, *OTHER_NAMES.get(name, ())) for role, name in own.items()}
    found = {role: next((name for name in each if name in names), None) for role, each in spellings.items()}
    return {role: name for role, name in found.items() if name is not None}


def fitting_preset(names: Sequence[str]) -> str | None:
    """The preset that most of the columns fit; None where none does.

    A preset fits a feed with its id, its image, four of its columns and a name that only this shop system gives:
    `sku, name, image, price` is any shop's.
    """
    fits = {}
    for preset, marks in _MARKS.items():
        found = preset_columns(preset, names)
        if {"product_id", "image"} <= found.keys() and len(found) >= _ENOUGH and set(marks).intersection(names):
            fits[preset] = len(found)
    return max(fits, key=lambda preset: fits[preset]) if fits else None


def likely_columns(role: str, sample: Sample) -> list[str]:
    """The columns that may have this role, the likeliest first: by their names, then, of images, by their texts."""
    place = {name: number for number, name in enumerate(NAMES[role])}
    exact = sorted((n for n in sample.names if plain_name(n) in place), key=lambda n: place[plain_name(n)])
    near = [n for n in sample.names if n not in exact and WORDS[role].intersection(words_of(n))]
    if role == "image":
        return _likely_images(exact, near, sample)
    if role == "box":
        return [n for n in (*exact, *near) if _share(sample.cells(n), _FOUR) > 0.5]
    if role == "product_id":
        return sorted(exact, key=lambda n: sample.share_filled(n) < 0.5)
    return [*exact, *near]


def _likely_images(exact: list[str], near: list[str], sample: Sample) -> list[str]:
    pictures = [n for n in (*exact, *near) if _share(sample.cells(n), _PICTURE) > 0.5]
    pictures.sort(key=_is_small)
    files = [n for n in sample.names if _share(sample.cells(n), _FILE) > 0.5]
    # A name without an ending may be a file's all the same, but not in a column called `file` or `path`.
    rest = [n for n in exact if WORDS["image"].intersection(words_of(n)) and (sample.cells(n) or not sample.rows)]
    return list(dict.fromkeys((*pictures, *files, *rest)))


def further_images(image: str, sample: Sample) -> list[str]:
    """The columns with other pictures of the product than the image column's."""
    first, likely = sample.names.index(image), likely_columns("image", sample)
    return [
        name
        for place, name in enumerate(sample.names)
        if name in likely
        and name != image
        and not _is_small(name)
        and WORDS["image"].intersection(words_of(name))
        and _share(sample.cells(name), _PICTURE) > 0.5
        and any(row[place] and row[place] != row[first] for row in sample.rows)
    ]


def image_separator(cells: Sequence[str]) -> str | None:
    """What splits cells that name several images; None where no cell does."""
    for separator in _SEPARATORS:
        lists = [cell.strip().split(separator) for cell in cells if separator in cell.strip() and cell[0] != "["]
        if lists and sum(map(_are_pictures, lists)) > 0.9 * len(lists):
            return separator
    return None


def _are_pictures(names: Sequence[str]) -> bool:
    """Whether each is a picture's name, and all are URIs or none is: a comma inside a URI splits nothing."""
    uris = {("://" in name, name.strip().startswith("/")) for name in names}
    return len(uris) == 1 and all(_PICTURE.search(name.strip()) for name in names)


def _share(cells: Sequence[str], pattern: re.Pattern[str]) -> float:
    return sum(bool(pattern.search(cell)) for cell in cells) / len(cells) if cells else 0.0


def _is_small(name: str) -> bool:
    return bool(NOT_THE_PRODUCT.intersection(words_of(name)))
