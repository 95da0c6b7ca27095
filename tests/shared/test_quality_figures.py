"""README's and docs' tables are those of the committed figures, and the figures keep their floors on real photos."""

from __future__ import annotations

import json

import pytest

from benchmarks.readme import FIGURES, TABLES, rewrite
from tests.conftest import REPO

FLOORS = {"luma": 0.895, "clothing": 0.89}  # rank-1 product of the same category


@pytest.fixture(scope="module")
def figures():
    return json.loads((REPO / FIGURES).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", TABLES)
def test_the_tables_are_made_from_the_committed_figures(figures, file):
    text = (REPO / file).read_text(encoding="utf-8")
    assert rewrite(text, figures, file) == text


def test_the_committed_figures_keep_the_floors(figures):
    shops = {case["case"]: case for case in figures["cases"] if case["part"] == "shops"}
    for shop, floor in FLOORS.items():
        assert shops[shop]["rank1_same_category"] >= floor


def test_a_table_is_rewritten_between_its_markers():
    case = {"part": "shops", "images": 723, "seconds": 66.4, "rank1_same_category": 0.8953}
    shops = [case | {"case": "demo", "rank1_same_category": 1.0}, case | {"case": "luma", "same_product_at_1": 0.666}]
    heads = [{"part": "encoders", "case": name, "category": 0.5} for name in ("default", "mobilenet_v2, flip-averaged")]
    heads += [{"part": "encoders", "case": name} for name in ("raw 32x32 pixels", "random pick")]
    figures = {"cpu": "a CPU", "cores": 2, "cases": [*shops, case | {"case": "clothing"}, *heads]}
    marked = (f"<!-- quality:{name} -->\nlast year\n<!-- /quality:{name} -->\nb\n" for name in ("shops", "encoders"))
    text = "".join(marked)
    made = rewrite(text, figures, "README.md")
    assert "last year" not in made
    assert "| demo (drawn), `default` | 723 | 66 s |  | 1.000 |  |" in made
    assert "with ImageNet weights | 723 | 66 s | .666 | .895 |  |" in made
    assert "`make bench NAME=quality`, 2 cores of a CPU." in made
    assert rewrite(made, figures, "README.md") == made


def test_a_missing_marker_is_named():
    with pytest.raises(ValueError, match=r"docs/evaluation\.md: expected one section between <!-- quality:eval"):
        rewrite("no marker", {"cases": []}, "docs/evaluation.md")


@pytest.mark.slow
def test_the_shops_keep_their_floors(real_photos, monkeypatch):
    from benchmarks.quality import run_shops

    monkeypatch.chdir(REPO)
    found = {case["case"]: case for case in run_shops(real_photos)}
    assert found["luma"]["rank1_same_category"] >= FLOORS["luma"]
    assert found["clothing"]["rank1_same_category"] >= FLOORS["clothing"]
    assert found["luma"]["same_product_at_1"] >= 0.66
    assert found["clothing"]["head_accuracy"] >= 0.85
    assert found["demo"]["rank1_same_category"] >= 0.99
