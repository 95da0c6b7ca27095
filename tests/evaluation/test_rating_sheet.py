"""The rating sheet: what it asks, what it hides, and the page in a real browser."""

from __future__ import annotations

import csv
import subprocess

import numpy as np
import pytest
from browser import CHROMIUM, QUIET
from small_shop import draw

from vsspark.config import ImagesConfig
from vsspark.evaluation.rating_sheet import blind_pairs, to_page, write_sheet

NEAREST = {"secret-a": np.array([3, 4, 5]), "secret-b": np.array([3, 5, -1]), "random": np.array([4, 5, 0])}
QUERIES = np.array([0, 1, 2])


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheet") / "n1"
    folder.mkdir()
    uris = [str(folder / f"{i} 100%<b>.png") for i in range(6)]
    for i, uri in enumerate(uris[:5]):
        draw(uri, (40 * i, 90, 200), 0)
    pairs = blind_pairs(NEAREST, QUERIES, 3, 5)
    files = write_sheet(pairs, uris, folder, ImagesConfig(), {})
    return folder, pairs, uris, files


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_pair_found_twice_is_asked_once_and_counts_for_both():
    pairs = blind_pairs(NEAREST, QUERIES, 3, 5)
    assert {(pair.query, pair.item): pair.models for pair in pairs} == {
        (0, 3): ("secret-a", "secret-b"),
        (0, 4): ("random",),
        (1, 4): ("secret-a",),
        (1, 5): ("secret-b", "random"),
        (2, 5): ("secret-a",),
        (2, 0): ("random",),
    }
    assert [pair.number for pair in pairs] == [1, 2, 3, 4, 5, 6]


def test_the_order_is_shuffled_and_the_same_each_time():
    many = {model: np.arange(100) + offset for offset, model in enumerate(("a", "b", "c"), 1)}
    pairs = blind_pairs(many, np.arange(100), 40, 7)
    assert pairs == blind_pairs(many, np.arange(100), 40, 7)
    assert len({pair.query for pair in pairs}) == 40
    assert len(pairs) == 120
    order = ["abc".index(pair.models[0]) for pair in pairs]
    assert abs(np.corrcoef(order, range(120))[0, 1]) < 0.25


def test_only_the_key_says_who_found_what(sheet):
    folder, pairs, uris, files = sheet
    assert [file.name for file in files] == ["rating_sheet.html", "rating_sheet.csv", "rating_key.csv"]
    for name in ("rating_sheet.html", "rating_sheet.csv"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "secret" not in text
        assert "random" not in text
    blank = _rows(folder / "rating_sheet.csv")
    assert [(row["sheet"], row["pair"], row["query_image"], row["item_image"], row["rating"]) for row in blank] == [
        ("n1", str(pair.number), uris[pair.query], uris[pair.item], "") for pair in pairs
    ]
    assert sorted((row["pair"], row["model"]) for row in _rows(folder / "rating_key.csv")) == sorted(
        (str(p.number), m) for p in pairs for m in p.models
    )


def test_the_page_fetches_nothing_and_says_where_a_picture_is_gone(sheet):
    page = (sheet[0] / "rating_sheet.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 12 - 2  # picture 5 was never drawn
    assert page.count("picture not readable now") == 2
    assert "http" not in page.replace("http-equiv", "")


def test_a_name_in_the_page_is_escaped():
    page = to_page([], [], "<script>alert(1)</script>", {})
    assert "<script>alert" not in page
    assert page.count("<script>") == 1


def _browse(folder, page, *options):
    command = [
        CHROMIUM,
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=900,1200",
        *options,
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_a_browser_the_script_runs_under_its_policy_and_what_is_clicked_is_saved(sheet, tmp_path):
    page = sheet[0] / "rating_sheet.html"
    assert "<output>0 of 6 rated</output>" in _browse(tmp_path, page)
    # A page of the same pairs with one more script, which clicks and keeps what the button would save; the policy
    # allows the page's own alone.
    clicks = """<script>
      document.querySelector('[name=pair-2][value="4"]').click();
      document.querySelector('[name=pair-6][value="1"]').click();
      document.querySelector("#rater").value = "Ann / Ö";
      URL.createObjectURL = (blob) => {
        blob.text().then((text) => { document.title += JSON.stringify(text); });
        return "#";
      };
      HTMLAnchorElement.prototype.click = function () { document.title = this.download; };
      document.querySelector("#save").click();
    </script></body>"""
    text = page.read_text(encoding="utf-8")
    guarded = tmp_path / "guarded.html"
    guarded.write_text(text.replace("</body>", clicks), encoding="utf-8")
    assert "<output>0 of 6 rated</output>" in _browse(tmp_path, guarded)
    clicked = tmp_path / "clicked.html"
    clicked.write_text(
        text.replace('<meta http-equiv="Content-Security-Policy"', "<meta name=off").replace("</body>", clicks),
        encoding="utf-8",
    )
    dom = _browse(tmp_path, clicked, "--virtual-time-budget=2000")
    assert "<output>2 of 6 rated</output>" in dom
    title = dom.partition("<title>")[2].partition("</title>")[0]
    assert title == 'ratings-n1-Ann-Ö.csv"sheet,pair,rating\\r\\nn1,2,4\\r\\nn1,6,1\\r\\n"'
