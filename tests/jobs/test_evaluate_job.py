"""`jobs/evaluate.py` on a small drawn shop: figures, files, MLflow, and a rating sheet filled in and read back."""

from __future__ import annotations

import csv
import json

import pytest
from shops import BAD, add_bad_files, arguments, draw_shop

from jobs import evaluate

SMALL = [
    "evaluation.sample=60",
    "evaluation.queries=12",
    "evaluation.k=3",
    "evaluation.resamples=50",
    "evaluation.rated_queries=4",
    "evaluation.sender=colour",
]
TWO = "evaluation.encoders=[{name: default}, {name: default, unit_norm: false}]"


@pytest.fixture(scope="module")
def compared(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "photos"
    rows = add_bad_files(folder, draw_shop(folder))
    own = arguments(folder, f"{folder.parent}/out", f"evaluation.path={folder.parent}/evaluation", *SMALL, TWO)
    assert evaluate.main([*own, "--run-id", "e1"]) == 0
    return folder.parent, rows, own


def test_every_model_metric_and_unusable_image_is_in_the_files(compared):
    folder, rows, _ = compared
    found = json.loads((folder / "evaluation/e1/evaluation.json").read_text(encoding="utf-8"))
    metrics = ("cosine", "l2", "l1", "hamming")
    assert found["table"]["model"] == [
        "random",
        *(f"{title} {metric}" for title in ("default", "default (2)") for metric in metrics),
    ]
    assert (found["metrics"]["images"], found["metrics"]["quarantined"]) == (len(rows), len(BAD))
    assert {lost["uri"].removeprefix(f"{folder}/photos/"): lost["reason"] for lost in found["unusable"]} == BAD
    figures = found["metrics"]
    assert (
        figures["default cosine.category_at_1"]
        == figures["default l2.category_at_1"]
        == figures["default (2) cosine.category_at_1".replace("(2)", "_2_")]
    )
    assert figures["default cosine.same_product_at_1"] > 2 * figures["random.same_product_at_1"]
    assert figures["default.head_top1"] > figures["random.category_at_1"]
    assert {"category_at_1_other_product", "category_at_1_other_sender", "precision_at_k_other_sender"} < set(
        found["table"]
    )
    assert (folder / "evaluation/e1/evaluation.html").exists()
    assert not list((folder / "out").glob("[a-z]*"))  # no table was written
    assert list((folder / "out/_evaluation").iterdir()) == []


def test_mlflow_has_the_figures_the_table_and_the_files(compared):
    from mlflow.tracking import MlflowClient

    folder, _, _ = compared
    client = MlflowClient(f"sqlite:///{folder}/photos/mlflow.db")
    run = next(
        r
        for r in client.search_runs([client.get_experiment_by_name("vsspark").experiment_id])
        if r.info.run_name == "e1"
    )
    assert run.data.metrics["default hamming.category_at_1"] == pytest.approx(
        json.loads((folder / "evaluation/e1/evaluation.json").read_text())["metrics"]["default hamming.category_at_1"]
    )
    assert run.data.params["evaluation.queries"] == "12"
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {
        "table.json",
        "evaluation.md",
        "evaluation.html",
        "evaluation.json",
        "rating_sheet.html",
        "rating_key.csv",
    } <= names


def test_a_filled_sheet_is_read_back(compared, capsys):
    folder, _, own = compared
    sheet = folder / "evaluation/e1"
    with open(sheet / "rating_key.csv", newline="") as file:
        by_chance = {row["pair"] for row in csv.DictReader(file) if row["model"] == "random"}
    with open(sheet / "rating_sheet.csv", newline="") as file:
        blank = list(csv.DictReader(file))
    for rater in ("ann", "bo"):
        with open(folder / f"{rater}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, blank[0])
            writer.writeheader()
            writer.writerows(row | {"rating": 1 if row["pair"] in by_chance else 5} for row in blank)
    assert evaluate.main([*own, "--ratings", str(folder / "ann.csv"), str(folder / "bo.csv")]) == 0
    out = capsys.readouterr().out
    assert "by 2 raters" in out
    assert "| random | 1.00 [1.00, 1.00] | 4 |" in out
    assert "interval scale, over" in out
    assert ": 1.00 (1 = perfect" in out
    assert (sheet / "ratings.md").read_text() in out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["--set", "evaluation.sender=photographer"], "evaluation.sender=photographer: expected a column of"),
        (["--set", "evaluation.sender=kind"], "that catalogue.columns does not name: colour"),
        (["--set", "evaluation.encoders=[{name: defualt}]"], "did you mean default"),
        (
            ["--set", "evaluation.encoders=[{nam: default}]"],
            "evaluation.encoders.0.nam: unknown key, allowed are batch_size",
        ),
        (["--set", "evaluation.path=/dev/null/x"], "evaluation.path=/dev/null/x"),
        (["--set", "evaluation.path=s3a://bucket/x"], "evaluation.path: got 's3a://bucket/x'"),
        (["--set", "catalogue.images_root=/nowhere"], "0 of 43 sampled images can be used by every encoder"),
        (["--ratings", "nowhere.csv"], "nowhere.csv cannot be read"),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_exit_code_2(compared, capsys, change, expected):
    _, _, own = compared
    assert evaluate.main([*own, "--set", "evaluation.metrics=[cosine]", *change]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("evaluate: ")
    assert expected in last


def test_the_demo_catalogue_without_a_sheet(spark, tmp_path):
    settings = [
        f"demo.path={tmp_path}/demo",
        "demo.products=4",
        f"output.path={tmp_path}/out",
        f"evaluation.path={tmp_path}/e",
        f"mlflow.tracking_uri=sqlite:///{tmp_path}/m.db",
    ]
    settings += ["evaluation.rated_queries=0", "evaluation.metrics=[cosine]"]
    assert evaluate.main([part for item in settings for part in ("--set", item)] + ["--run-id", "d"]) == 0
    assert sorted(path.name for path in (tmp_path / "e/d").iterdir()) == [
        "evaluation.html",
        "evaluation.json",
        "evaluation.md",
    ]
    assert json.loads((tmp_path / "e/d/evaluation.json").read_text())["table"]["model"] == ["random", "default cosine"]
