"""What a run leaves in MLflow, read back from a real SQLite store."""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path

import pytest

from vsspark.config import Config
from vsspark.errors import ConfigError, StorageError
from vsspark.masking import mask_text, masked
from vsspark.tracking import flattened, log_run

CANARY = "c4n4ry"


@pytest.fixture
def run():
    started = dt.datetime(2026, 11, 21, 2, 0, tzinfo=dt.UTC)
    return {
        "run_id": "20261121-1",
        "run_date": dt.date(2026, 11, 21),
        "started_at": started,
        "finished_at": started + dt.timedelta(seconds=72),
        "status": "published",
        "message": None,
        "model_version": "default:abc",
        "counts": {"images": 720, "embedded": 715},
        "metrics": {"coverage": 0.98},
        "seconds": {"embed": 31.5},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where one store for all tests is kept: creating its tables is what takes the time."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("<p>report</p>")
    return path


def tracked(folder, experiment, spark=None):
    return Config.model_validate(
        {
            "mlflow": {"tracking_uri": f"sqlite:///{folder}/deep/mlflow.db", "experiment": experiment},
            "spark": spark or {},
        }
    )


def logged_runs(config):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=config.mlflow.tracking_uri)
    return client, client.search_runs([client.get_experiment_by_name(config.mlflow.experiment).experiment_id])


def test_a_run_is_logged_with_config_figures_tags_and_report(folder, tmp_path, run, report, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    config = tracked(folder, "logged")
    with caplog.at_level(logging.WARNING):
        log_run(config, run, str(report))
        log_run(
            config, run | {"run_id": "20261122-1", "status": "refused", "message": "coverage 0.5 < 0.9"}, str(report)
        )
    client, runs = logged_runs(config)
    second, first = sorted(runs, key=lambda r: r.data.tags["run_id"], reverse=True)
    assert first.data.params["knn.k"] == "20"
    assert first.data.params["catalogue.columns.product_id"] == "product_id"
    assert first.data.metrics == {
        "counts.images": 720.0,
        "counts.embedded": 715.0,
        "seconds.embed": 31.5,
        "metrics.coverage": 0.98,
    }
    assert {name: first.data.tags[name] for name in ("run_id", "model_version", "status")} == {
        "run_id": "20261121-1",
        "model_version": "default:abc",
        "status": "published",
    }
    assert (first.info.status, second.info.status) == ("FINISHED", "FAILED")
    assert second.data.tags["message"] == "coverage 0.5 < 0.9"
    assert first.info.end_time - first.info.start_time == 72_000
    assert not [tag for tag in first.data.tags if "git" in tag]
    copy = client.download_artifacts(first.info.run_id, "r.html", str(tmp_path))
    assert Path(copy).read_text() == "<p>report</p>"
    assert first.info.artifact_uri.startswith((folder / "deep").as_uri())
    assert not (tmp_path / "mlruns").exists()
    assert caplog.text == ""


def test_no_secret_reaches_the_store(folder, run, report):
    config = tracked(
        folder,
        "secrets",
        {
            "spark.hadoop.fs.s3a.secret.key": f"{CANARY}1",
            "spark.hadoop.fs.s3a.access.key": f"{CANARY}2",
            "spark.hadoop.fs.s3a.bucket.shop.session.token": f"{CANARY}3",
            "spark.ssl.keyStorePassword": f"{CANARY}4",
            "spark.driver.extraJavaOptions": f"-Xmx2g -Djavax.net.ssl.trustStorePassword={CANARY}5 -Dx=1",
            "spark.hadoop.fs.azure.account.key.shop.blob.core.windows.net": f"{CANARY}6",
            "spark.executor.memory": "4g",
        },
    ).model_copy(
        update={
            "catalogue": Config().catalogue.model_copy(
                update={"table": f"https://me:{CANARY}7@host/c.csv?sig={CANARY}8&v=1"}
            )
        }
    )
    log_run(config, run | {"status": "failed", "message": f"no route to s3://{CANARY}9:{CANARY}@host"}, str(report))
    _, (logged,) = logged_runs(config)
    assert logged.data.params["spark.spark.executor.memory"] == "4g"
    assert (
        logged.data.params["spark.spark.driver.extraJavaOptions"]
        == "-Xmx2g -Djavax.net.ssl.trustStorePassword=*** -Dx=1"
    )
    assert logged.data.params["catalogue.table"] == "https://***@host/c.csv?sig=***&v=1"
    stored = [path for path in (folder / "deep").rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "harmless",
    [
        "spark.sql.shuffle.partitions",
        "spark.kryo.registrator",
        "spark.hadoop.fs.s3a.endpoint",
        "spark.hadoop.fs.s3a.path.style.access",
        "blocking.by",
        "monkey",
    ],
)
def test_ordinary_settings_stay_readable(harmless):
    assert masked({harmless: "a"}) == {harmless: "a"}


@pytest.mark.parametrize("text", ["s3a://bucket/a b@2x.jpg", "coverage 0.5 is below 0.9", "2026-11-21T02:00:00"])
def test_ordinary_text_stays_as_it_is(text):
    assert mask_text(text) == text


def test_flattened_names_every_leaf_once():
    assert flattened({"a": {"b": 1, "c": None}, "d": {}, "e": [1, 2]}) == {
        "a.b": "1",
        "a.c": "None",
        "d": "{}",
        "e": "[1, 2]",
    }


def test_an_unusable_store_is_one_message_without_its_password(tmp_path, run, report):
    (tmp_path / "deep").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"mlflow\.tracking_uri"):
        log_run(tracked(tmp_path, "any"), run, str(report))


def test_a_deleted_experiment_is_named(folder, run, report):
    config = tracked(folder, "shop")
    log_run(config, run, str(report))
    client, _ = logged_runs(config)
    client.delete_experiment(client.get_experiment_by_name(config.mlflow.experiment).experiment_id)
    with pytest.raises(ConfigError, match=r"mlflow\.experiment=shop was deleted"):
        log_run(config, run, str(report))
