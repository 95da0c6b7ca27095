"""Filled rating sheets read back: means, agreement, and what is wrong with a file that cannot be used."""

from __future__ import annotations

import pytest

from vsspark.config import EvaluationConfig
from vsspark.errors import ConfigError
from vsspark.evaluation.ratings import krippendorff_alpha, summarise_ratings

KEY = "sheet,pair,model\nn1,1,a cosine\nn1,1,b cosine\nn1,2,a cosine\nn1,3,b cosine\nn1,4,random\n"
# Four observers, twelve units, gaps: the example of Krippendorff 2011, whose interval alpha is printed as .849.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1/rating_key.csv").write_text(KEY)
    return EvaluationConfig(path=str(tmp_path))


@pytest.fixture
def fill(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def test_alpha_is_that_of_krippendorffs_example():
    units = [[observer[unit] for observer in OBSERVERS if observer[unit] is not None] for unit in range(12)]
    assert krippendorff_alpha(units) == pytest.approx(0.849, abs=0.0005)


@pytest.mark.parametrize(
    ("units", "expected"),
    [([[1], [2]], None), ([[3, 3], [3, 3]], None), ([[1, 1], [5, 5]], 1), ([[1, 5], [1, 5]], -0.5)],
)
def test_alpha_at_its_ends(units, expected):
    assert krippendorff_alpha(units) == (None if expected is None else pytest.approx(expected))


def test_a_pair_counts_for_every_model_that_found_it_and_raters_are_averaged(config, fill):
    one = fill("anna.csv", "sheet,pair,rating\nn1,1,5\nn1,2,1\nn1,3,\nn1,4,1\n")
    # A spreadsheet's.
    two = fill("béla.csv", "\ufeffsheet;pair;query_image;item_image;rating\nn1;1;x.jpg;y.jpg;4\nn1;3;x.jpg;z.jpg;3\n")
    found = summarise_ratings([one, two], config)
    assert (found.sheet, found.raters, found.shared_pairs) == ("n1", 2, 1)
    assert {model: (mean.value, mean.count) for model, mean in found.models.items()} == {
        "b cosine": (3.75, 2),
        "a cosine": (2.75, 2),
        "random": (1, 1),
    }
    assert list(found.models) == ["b cosine", "a cosine", "random"]
    assert found.models["a cosine"].low == 1
    assert found.models["a cosine"].high == 4.5
    text = found.to_markdown()
    assert "| b cosine | 3.75 [3.00, 4.50] | 2 |" in text
    assert found.metrics()["b cosine.rating"] == 3.75
    assert found.metrics()["alpha"] == found.alpha


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sheet,pair,rating\nn1,1,6\n", "line 2: rating '6', expected 1 to 5"),
        ("sheet,pair,rating\nn1,1,good\nn1,2,0\n", "line 3: rating '0'"),
        ("sheet,pair,rating\nn1,1,5\nn1,1,4\n", "line 3: pair 1 is rated twice"),
        ("sheet,pair,rating\nn1,9,5\n", "sheet n1 has no pair 9; it has 1 to 4"),
        ("sheet,pair,rating\nn1,1,5\nn2,2,4\n", "2 sheets (n1, n2)"),
        ("sheet,pair,rating\n../n1,1,5\n", "sheet '../n1' is no name of a run"),
        ("sheet,pair,rating\nn3,1,5\n", "n3/rating_key.csv"),
        ("sheet,pair,rating\nn1,1,\n", "they hold no rating"),
        ("sheet,pair\nn1,1\n", "no column rating"),
        ("sheet,pair,rating\nn1\n", "they hold no rating"),
        ("", "no column sheet, pair, rating"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_message(config, fill, text, expected):
    with pytest.raises(ConfigError) as caught:
        summarise_ratings([fill("r.csv", text)], config)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("--ratings: ")


def test_a_file_that_is_no_text_or_not_there(config, tmp_path):
    (tmp_path / "r.csv").write_bytes(b"\xff\xd8\xff\xe0" * 9)
    for name in ("r.csv", "nowhere.csv"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            summarise_ratings([str(tmp_path / name)], config)
