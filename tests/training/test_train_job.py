"""The whole way on a drawn shop: train, register, and the main job takes the encoder from there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

from invariants import connect
from shops import add_bad_files, arguments, draw_shop

from jobs import recommend, train

TINY = {
    "side": 64,
    "stored_side": 80,
    "views": 2,
    "epochs": 2,
    "embedding_dim": 32,
    "batch_size": 16,
    "holdout": 0.3,
    "unfreeze": 3,
    "unfrozen_epochs": 1,
    "register_as": "drawn",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """MobileNetV2 as it is born: what it says is worth little, and goes through every step."""
    import keras

    keras.utils.set_random_seed(0)
    file = tmp_path_factory.mktemp("weights") / "born.weights.h5"
    keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3)).save_weights(file)
    return file


@pytest.mark.slow
def test_train_register_recommend(spark, tmp_path, weights, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    rows = add_bad_files(folder, draw_shop(folder))
    settings = [
        f"training.{key}={value}" for key, value in (TINY | {"weights": weights, "path": tmp_path / "set"}).items()
    ]
    assert train.main(arguments(folder, str(tmp_path / "out"), *settings)) == 0
    assert capsys.readouterr().out == "train: models:/drawn@live\n"

    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    version = mlflow.MlflowClient().get_model_version_by_alias("drawn", "live")
    run = mlflow.get_run(version.run_id)
    assert run.data.params["backbone"] == "mobilenet_v2"
    assert run.data.params["fitted_on"] == "train"  # with the backbone's last layers
    assert {"heads.loss", "heads.held_out", "unfrozen.loss", "top1", "calibration_error"} <= set(run.data.metrics)
    categories = sorted({row["kind"] for row in rows if row["kind"]})
    table = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/confusion_matrix.csv").splitlines()
    assert [line.split(",")[0] for line in table[1:]] == categories
    info = mlflow.models.get_model_info("models:/drawn@live")
    assert info.metadata["categories"] == categories
    assert info.signature is not None

    found = spark.read.parquet(str(next((tmp_path / "set").glob("*/quarantine"))))
    assert {row.reason for row in found.select("reason").collect()} >= {"empty", "truncated", "missing", "outside_root"}

    output = str(tmp_path / "out")
    more = ["encoder.name=models:/drawn@live", "gate.max_quarantined=0.5"]
    assert recommend.main(arguments(folder, output, *more)) == 0
    con = connect(output)
    assert {row[0] for row in con.sql("select distinct predicted_category from image_embeddings").fetchall()} <= set(
        categories
    )
    (published,) = {row[0] for row in con.sql("select distinct model_version from similar_products").fetchall()}
    assert published.startswith(f"drawn.v{version.version}-")


@pytest.mark.slow
def test_the_published_re_training_on_the_commonest_categories(tmp_path, weights, capsys, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    draw_shop(folder, products=24, images=2)
    recipe = {"recipe": "transfer", "top_categories": 3, "unfreeze": 0, "weights": weights, "path": tmp_path / "set"}
    settings = [f"training.{key}={value}" for key, value in (TINY | recipe).items()]
    assert train.main(arguments(folder, f"{tmp_path}/out", *settings)) == 0
    assert capsys.readouterr().out == "train: models:/drawn@live\n"
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    run = mlflow.get_run(mlflow.MlflowClient().get_model_version_by_alias("drawn", "live").run_id)
    assert run.data.params["fitted_on"] == "train and validation"
    more = ["encoder.name=models:/drawn@live", "gate.max_quarantined=0.5"]
    assert recommend.main(arguments(folder, f"{tmp_path}/out", *more)) == 0
    con = connect(f"{tmp_path}/out")
    assert con.sql("select distinct len(embedding) from embeddings").fetchall() == [(4096,)]  # fc1
    assert con.sql("select count(distinct predicted_category) <= 3 from image_embeddings").fetchall() == [(True,)]
    assert con.sql("select count(distinct product_id) from images where content_hash is not null").fetchall() == [(24,)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["training.weights=imagenet"], "catalogue.table: needed"),
        (["catalogue.table=nowhere.csv"], "training.weights: needed"),
        (["training.weights=nowhere.h5"], "training.weights: nowhere.h5: found no such file"),
        (["training.backbone=resnet_51"], "known are convnext_base"),
    ],
)
def test_what_is_missing_is_said_before_any_work(spark, tmp_path, capsys, monkeypatch, settings, said):
    monkeypatch.chdir(tmp_path)
    assert train.main([part for item in settings for part in ("--set", item)]) == 2
    assert said in capsys.readouterr().err
