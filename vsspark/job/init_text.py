"""A configuration as commented YAML text."""

from __future__ import annotations

import textwrap
from pathlib import PurePosixPath
from typing import Any

import yaml

from vsspark.catalogue.understood import Understood
from vsspark.config import ColumnsConfig

CHANGE_ME = "CHANGE_ME"
_WIDTH = 110
_MEANING = {
    "product_id": "which product a row is about; rows may share one",
    "image": "path or URI of a picture",
    "name": "shown in the report",
    "category": "products are compared within a category",
    "price": "carried along; shown in the report",
    "in_stock": "recommend.in_stock_only=true leaves out what is sold out",
    "box": "where the product is in its picture",
}


def config_text(found: Understood, name: str) -> str:
    """The file's text. name: that of the file, for the commands in its head."""
    lines = [
        "# Written by `vsspark init` from the feed's header and first rows: look it over, then",
        f"#   vsspark ingest --check --config {name}    shows what is read, and writes nothing",
        f"#   vsspark recommend --config {name}         publishes similar products",
        "# Every key with its meaning: docs/reference/config.md",
        "catalogue:",
        *_catalogue(found),
        "encoder:",
        *_key("name", "default", "ships with vsspark; a network with ImageNet weights does better: docs/encoders.md"),
        "output:",
        *_key("path", f"build/{_stem(found.settings['table'])}-out", "a folder or s3a://bucket/prefix"),
    ]
    return "\n".join(lines) + "\n"


def _catalogue(found: Understood) -> list[str]:
    settings, notes = found.settings, found.notes
    lines = _key("table", settings["table"], notes.get("table", ""))
    if "images_root" in notes:
        root = settings.get("images_root")
        lines += _key("images_root", root or CHANGE_ME, notes["images_root"], off=root is None)
    if settings["preset"]:
        taken = ", ".join(f"{role} {name!r}" for role, name in found.preset_columns.items())
        lines += _key("preset", settings["preset"], f"takes {taken}; docs/catalogue.md")
    written = ("table", "images_root", "preset", "columns", "csv", "more_images", "image_separator")
    for key in (key for key in settings if key not in written):
        lines += _key(key, settings[key], "as given")
    if settings.get("csv"):
        lines += ["  # Guessed from the feed's beginning. A key that is left out is guessed in every run.", "  csv:"]
        lines += [line for key, value in settings["csv"].items() for line in _key(key, value, depth=2)]
    if settings.get("image_separator"):
        lines += _key("image_separator", settings["image_separator"], "splits cells that name several pictures")
    if settings.get("more_images"):
        lines += _key("more_images", settings["more_images"], "columns with further pictures of the product")
    return [*lines, *_columns(found)]


def _columns(found: Understood) -> list[str]:
    lines: list[str] = []
    for role in ColumnsConfig.model_fields:
        note = "; ".join(filter(None, [_MEANING.get(role), found.notes.get(f"columns.{role}")]))
        if f"columns.{role}" in found.open:
            lines += _key(role, CHANGE_ME, f"nothing could be guessed; {_names(found.names)}", depth=2)
        elif role in found.refused:
            off = role not in found.columns
            why = f"left out, since the job cannot read {found.refused[role]}"
            lines += _key(role, None, why, depth=2, off=off)
        elif role in found.columns:
            lines += _key(role, found.columns[role], note, depth=2)
        elif not found.settings["preset"]:
            lines += _key(role, "COLUMN", "; ".join(filter(None, ["no column looks like it", note])), depth=2, off=True)
    used = {*found.columns.values(), *found.preset_columns.values(), *found.settings.get("more_images", ())}
    rest = [name for name in found.names if name not in used]
    if rest and not found.open:
        lines += _comment(f"carried along in images.attributes: {_names(rest)}", "    ")
    if all(line.lstrip().startswith("#") for line in lines):
        return [line.removeprefix("  ") for line in lines]
    return ["  columns:", *lines]


def _key(key: str, value: Any, comment: str = "", depth: int = 1, off: bool = False) -> list[str]:
    """The lines of a key: its comment behind it, or above where it is long. off: as a comment itself."""
    indent = "  " * depth
    line = f"{indent}{'# ' if off else ''}{key}: {_plain(value)}"
    if comment and len(line) + len(comment) + 4 <= _WIDTH:
        return [f"{line}  # {comment}"]
    return [*_comment(comment, indent), line]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
    )


def _names(names: list[str]) -> str:
    return f"the feed has the columns {', '.join(map(repr, names))}" if names else "the feed has no columns"


def _plain(value: Any) -> str:
    """The value as YAML on one line."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, width=2**31)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _stem(table: str) -> str:
    """A folder's name after the feed's."""
    stem = PurePosixPath(table.rstrip("/")).name.partition(".")[0]
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-") or "shop"
