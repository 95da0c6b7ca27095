"""The comparison as Markdown and HTML: every figure, names escaped."""

from __future__ import annotations

import json

import pytest

from vsspark.config import EvaluationConfig
from vsspark.errors import StorageError
from vsspark.evaluation.compare import HeadFigures, Row
from vsspark.evaluation.files import output_folder, to_html, to_markdown, write_results, write_texts
from vsspark.evaluation.measures import Figure
from vsspark.evaluation.results import EncoderLine, Results, Unusable

BAD = "<script>alert('x')</script>|y"


@pytest.fixture
def results():
    share = Figure(0.5, 0.25, 1.0, 8)
    rows = (
        Row("random", {"category_at_1": share}),
        Row(f"{BAD} l2", {"category_at_1": share, "same_product_at_1": None}, 4, 1.25, 0.5),
    )
    encoders = (
        EncoderLine(BAD, "v-1", 256, True, 3.0, True, HeadFigures(share, 0.0414)),
        EncoderLine("plain", "v-2", 1280, False, 4.0, False, None),
        EncoderLine("other", "v-3", 64, False, 4.0, True, None),
    )
    unusable = tuple(Unusable(i, f"{i}{BAD}.jpg", "missing", f"no such file {BAD}") for i in range(21))
    return Results("n1", "shop.csv", 29, 8, 8, False, EvaluationConfig(k=5), encoders, rows, unusable)


def test_markdown_has_every_row_and_keeps_its_columns(results):
    lines = to_markdown(results).splitlines()
    assert "8 queries search 8 images sampled from shop.csv, 21 quarantined" in lines[0]
    assert "| model | category@1 | largest 5-occurrence | skewness | search s |" in lines  # no column that no row has
    assert "| random | .500 [.250, 1.000] |  |  |  |" in lines
    assert "| <script>alert('x')</script>\\|y l2 | .500 [.250, 1.000] | 4 | 1.2 | 0.5 |" in lines
    assert any(line.endswith("| yes | 3.0 | .500 [.250, 1.000] on 8 images | .041 |") for line in lines)
    assert any(line.endswith("| no | 4.0 | no head of its own |  |") for line in lines)
    assert any(line.endswith("| no | 4.0 | knows none of these categories |  |") for line in lines)
    assert sum(line.startswith("* missing: ") for line in lines) == 20
    assert "* and 1 more, all in evaluation.json" in lines


def test_html_escapes_every_name_and_names_every_unusable_image(results):
    page = to_html(results)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2 + 2 * 21
    assert "Images that could not be used: 21" in page


def test_the_files_and_what_mlflow_gets(results, tmp_path):
    folder = output_folder(EvaluationConfig(path=str(tmp_path / "deep")), "n1")
    assert [path.name for path in write_results(results, folder)] == [
        "evaluation.md",
        "evaluation.html",
        "evaluation.json",
    ]
    every = json.loads((folder / "evaluation.json").read_text())
    assert len(every["unusable"]) == 21
    assert every["table"]["category_at_1_low"] == [0.25, 0.25]
    assert len({len(column) for column in every["table"].values()}) == 1
    assert every["metrics"]["_script_alert__x____script__y l2.hub"] == 4
    assert every["metrics"]["quarantined"] == 21
    with pytest.raises(StorageError, match=r"evaluation\.path=/dev/null/x"):
        output_folder(EvaluationConfig(path="/dev/null/x"), "n1")
    (tmp_path / "a folder").mkdir()
    with pytest.raises(StorageError, match="a folder"):
        write_texts(tmp_path, {"a folder": ""})
