"""docs/reference is what the code says."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from vsspark.config import Config
from vsspark.config.section import Positive, Section, Share
from vsspark.reference.__main__ import FOLDER, PAGES, main
from vsspark.reference.comments import comments_in
from vsspark.reference.config_keys import type_text
from vsspark.schemas import TABLES

SOURCE = '''
# Of the module.
TABLE = make([
    field("a"),  # first
    field("b"),
])  # fmt: skip


class Knn(Section):
    """A docstring."""

    # Above,
    # in two lines.
    k: int = 20  # behind
    mode: str = "exact"

    seed: Annotated[int, "# no comment"] = (
        0  # inside
    )  # fmt: skip
    # Of nothing.

    last: int = 1
'''


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_pages_are_up_to_date(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run: python -m vsspark.reference"


def test_every_key_and_every_column_has_a_line():
    page = (FOLDER / "config.md").read_text(encoding="utf-8")
    for name, section in Config.model_fields.items():
        keys = [name] if not isinstance(section.default, Section) else section.default.model_dump()
        for key in keys:
            dotted = key if key == name else f"{name}.{key}"
            assert f"| `{dotted}` |" in page or f"## {dotted}\n" in page
    page = (FOLDER / "tables.md").read_text(encoding="utf-8")
    for name, schema in TABLES.items():
        columns = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert all(f"| `{column}` |" in columns for column in schema.names)


def test_lines_of_the_pages():
    config, tables = (page() for page in PAGES.values())
    for line in (
        "| `knn.k` | whole number, 1 or more | `20` |",
        "| `catalogue.columns.name` | text; null | `null` | shown in the report |",
        "| `gate.max_quarantined` | number, 0 to 1 | `0.2` | share of the catalogue's images, placeholders left out |",
        "### encoder.preprocessing",
    ):
        assert line in config
    assert "| `rank` | `int` | 1 = nearest, no gaps |" in tables
    assert "Partitioned by `model_version`." in tables


def test_comments_are_read_from_the_source(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(SOURCE)
    module = types.ModuleType("module")
    module.__file__ = str(file)
    assert comments_in(module) == {
        "TABLE": "Of the module. first",
        "Knn.k": "Above, in two lines. behind",
        "Knn.mode": "",
        "Knn.seed": "inside",
        "Knn.last": "",
    }


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Positive | None, "whole number, 1 or more; null"),
        (Share, "number, 0 to 1"),
        (Annotated[float, Field(gt=0.0, lt=1.0)], "number, above 0 and below 1"),
        (Annotated[str, Field(min_length=1)] | None, "text, not empty; null"),
        (Literal["a", "b"] | None, "`a`, `b`; null"),
        (tuple[str, ...], "list of text"),
        (tuple[float, float, float], "list of 3: number"),
        (dict[str, int | bool], "map of text to whole number or `true`, `false`"),
    ],
)
def test_types_in_words(annotation, text):
    assert type_text(annotation) == text


def test_pages_are_written_where_none_are(tmp_path):
    main(tmp_path / "docs" / "reference")
    assert {path.name for path in Path(tmp_path).rglob("*.md")} == set(PAGES)
