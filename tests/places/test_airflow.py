"""The DAG of conf/airflow with Airflow itself, in an environment of its own, and the real job below it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from quick_spark import JVM_OPTIONS

REPO = Path(__file__).parents[2]
PACKAGES = ("apache-airflow==3.3.2", "apache-airflow-providers-apache-spark==6.3.4")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def python() -> Path:
    """Airflow's interpreter, made once. Airflow and vsspark need other releases of pandas and pyarrow."""
    folder = REPO / "build/airflow"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (folder / "ready").touch()
    return folder / "bin/python"


class Scheduler:
    """Airflow's database and settings for one shop; `test` runs a DAG as `airflow dags test` does."""

    def __init__(self, python: Path, folder: Path, settings: str):
        self.python, self.home, self.output = python, folder / "airflow", folder / "out"
        config = folder / "conf.yaml"
        config.write_text(f"{settings}\nmlflow:\n  tracking_uri: sqlite:///{folder}/mlflow.db\n", encoding="utf-8")
        values = {"home": REPO, "config": config, "output": self.output, "export": folder / "export"}
        connection = {"conn_type": "spark", "host": "local[1]"}
        connection["extra"] = {"spark-binary": "spark-submit"}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "JAVA_TOOL_OPTIONS": JVM_OPTIONS,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "conf/airflow"),
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(connection),
            **{f"AIRFLOW_VAR_VSSPARK_{name.upper()}": str(value) for name, value in values.items()},
        }
        self.command("db", "migrate")
        self.command("pools", "set", "vsspark", "1", "one run at a time")

    def command(self, *words: str) -> str:
        command = [str(self.python), "-m", "airflow", *words]
        done = subprocess.run(command, cwd=self.home.parent, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0 or words[0] == "dags", done.stderr[-3000:]
        return done.stdout + done.stderr

    def test(self, dag: str, date: str) -> str:
        return self.command("dags", "test", dag, date)

    def rows(self, query: str) -> list[tuple]:
        with sqlite3.connect(self.home / "airflow.db") as database:
            return database.execute(query).fetchall()

    def tasks(self) -> list[tuple]:
        """State and tries of every task, oldest first."""
        return self.rows("SELECT task_id, state, try_number FROM task_instance ORDER BY start_date")

    def events(self) -> list[dict]:
        return [json.loads(extra) for (extra,) in self.rows("SELECT extra FROM asset_event ORDER BY id")]

    def outcome(self) -> dict:
        return json.loads((self.output / "outcome.json").read_text(encoding="utf-8"))


def test_a_publish_is_an_event_and_a_night_without_changes_is_none(python, tmp_path):
    demo = f"demo:\n  products: 8\n  path: {tmp_path}/demo\nreport:\n  path: {tmp_path}/report.html\n"
    airflow = Scheduler(python, tmp_path, demo)
    log = airflow.test("vsspark_nightly", "2026-03-01T02:00:00+00:00")
    assert airflow.tasks() == [("recommend", "success", 1)], log[-5000:]
    outcome = airflow.outcome()
    ((after,),) = airflow.rows("SELECT run_after FROM dag_run")
    assert outcome["run_date"] == after[:10]
    assert outcome["run_id"] == f"{after[:10]}T{after[11:19]}".replace("-", "").replace(":", "")
    event = {name: outcome[name] for name in ("run_id", "run_date", "model_version")}
    assert airflow.events() == [event]

    log = airflow.test("vsspark_nightly", "2026-03-02T02:00:00+00:00")
    assert [state for _, state, _ in airflow.tasks()] == ["success", "success"], log[-5000:]
    assert airflow.outcome()["status"] == "unchanged"
    assert airflow.events() == [event]

    airflow.test("vsspark_export", "2026-03-02T03:00:00+00:00")
    assert airflow.tasks()[-1][:2] == ("export", "success")
    latest = json.loads((tmp_path / "export/latest.json").read_text(encoding="utf-8"))
    assert outcome["run_id"] in latest.values()


def test_a_refused_run_is_skipped_and_wrong_settings_are_not_tried_again(python, tmp_path):
    (tmp_path / "feed.csv").write_text("sku,photo\nA,a.jpg\nB,b.jpg\n", encoding="utf-8")
    feed = f"catalogue:\n  table: {tmp_path}/feed.csv\n  images_root: {tmp_path}\n"
    airflow = Scheduler(python, tmp_path, feed + "  columns: {product_id: sku, image: photo}\n")
    log = airflow.test("vsspark_nightly", "2026-03-01T02:00:00+00:00")
    assert airflow.tasks() == [("recommend", "skipped", 1)], log[-5000:]
    refused = airflow.outcome()
    assert refused["exit_code"] == 3
    assert "no image could be used" in log

    (tmp_path / "conf.yaml").write_text("knn:\n  kk: 1\n", encoding="utf-8")
    log = airflow.test("vsspark_nightly", "2026-03-02T02:00:00+00:00")
    assert airflow.tasks()[-1] == ("recommend", "failed", 1), log[-5000:]
    assert "knn.kk: unknown key" in log
    assert airflow.outcome() == refused
    assert airflow.events() == []
