"""What becomes of a night that is stopped just before or just after its commit, and of what it owes after that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from deltalake import DeltaTable
from invariants import check, connect, content
from quick_spark import JVM_OPTIONS, QUICK_QUERIES
from shops import REPO, arguments, draw_shop, write_catalogue

from jobs import neighbours, recommend

BESIDE = ("images", "neighbours", "_searched")


@pytest.fixture(scope="module")
def first_night(spark, tmp_path_factory):
    """A small shop whose night `one` is published: (folder, rows of its catalogue)."""
    folder = tmp_path_factory.mktemp("shop")
    rows = draw_shop(folder, products=6, images=1)
    assert recommend.main([*arguments(folder, f"{folder}/out"), "--run-id", "one"]) == 0
    return folder, rows


class Shop(NamedTuple):
    folder: Path
    rows: list[dict]
    own: list[str]
    output: str

    def reprice(self, cost: str) -> None:
        write_catalogue(self.folder, [row | {"cost": cost} for row in self.rows])

    def report(self) -> str:
        return (self.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def shop(first_night, tmp_path):
    """A copy of that night's tables, and its catalogue with other prices."""
    folder, rows = first_night
    shutil.copytree(folder / "out", tmp_path / "out")
    sets = ["gate.max_changed=1.0", "gate.max_drift=1.0", f"catalogue.images_root={folder}"]
    shop = Shop(tmp_path, rows, arguments(tmp_path, f"{tmp_path}/out", *sets), f"{tmp_path}/out")
    shop.reprice("9.00")
    return shop


def _outcome(output: str) -> dict:
    return json.loads(Path(output, "outcome.json").read_text(encoding="utf-8"))


def _row(output: str, run_id: str) -> dict:
    rows = DeltaTable(f"{output}/runs").to_pyarrow_table().to_pylist()
    row = next(row for row in rows if row["run_id"] == run_id)
    return row | {"versions": dict(row["versions"] or [])}


def _read(output: str, table: str, version: int | None = None) -> list[str]:
    """The rows, in one order."""
    return sorted(map(repr, DeltaTable(f"{output}/{table}", version=version).to_pyarrow_table().to_pylist()))


def _consistent(output: str, run_id: str) -> None:
    """The published run is this one, its row names the versions that the tables hold, and they keep every promise."""
    row = _row(output, run_id)
    assert row["status"] == "published"
    assert connect(output).sql("select distinct run_id from similar_products").fetchall() == [(run_id,)]
    check(connect(output), 5, run_id)
    for table in (*BESIDE, "similar_products"):
        assert _read(output, table, row["versions"][table]) == _read(output, table), table
    other_price = """select count(*) from similar_products s where not exists
        (select * from images i where i.product_id = s.product_id and i.price = s.price)"""
    assert connect(output).sql(other_price).fetchall() == [(0,)]


def _tracked(shop: Shop) -> set[str]:
    """The runs that MLflow has."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{shop.folder}/mlflow.db")
    experiments = [found.experiment_id for found in client.search_experiments()]
    return {run.data.tags["run_id"] for run in client.search_runs(experiments)}


def _when(path: Path, act: Callable[[], None]) -> None:
    """Acts once, as soon as a file is there."""

    def watch():
        while not path.exists():
            time.sleep(0.001)
        act()

    threading.Thread(target=watch, daemon=True).start()


def _commits(output: str, table: str) -> int:
    return len(list(Path(f"{output}/{table}/_delta_log").glob("*.json")))


def _next_commit(output: str, table: str) -> Path:
    return Path(f"{output}/{table}/_delta_log/{_commits(output, table):020d}.json")


READER = """
import os, sys, time
from pathlib import Path

from deltalake import DeltaTable

output, stop = sys.argv[1], Path(sys.argv[2])
seen = []
print("ready", flush=True)
while not stop.exists():
    shown = DeltaTable(f"{output}/similar_products").to_pyarrow_table().to_pydict()
    (run_id,) = set(shown["run_id"])
    runs = DeltaTable(f"{output}/runs").to_pyarrow_table().to_pylist()
    versions = dict(next(row["versions"] for row in runs if row["run_id"] == run_id))
    images = DeltaTable(f"{output}/images", version=versions["images"]).to_pyarrow_table().to_pydict()
    prices = dict(zip(images["product_id"], images["price"]))
    assert dict(zip(shown["product_id"], shown["price"])).items() <= prices.items(), run_id
    seen.append(run_id)
    time.sleep(0.05)
print(" ".join(seen), flush=True)
os._exit(0)  # threads of Arrow may abort an interpreter that ends
"""


@pytest.fixture
def reader(shop):
    """A process that reads the published tables over and over; called, it ends and gives the runs it has met, in order."""
    stop = shop.folder / "stop"
    command = [sys.executable, "-c", READER, shop.output, str(stop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def end() -> list[str]:
        stop.touch()
        seen = process.communicate(timeout=60)[0].split()
        assert process.returncode == 0
        return seen

    try:
        assert process.stdout.readline() == "ready\n"
        yield end
    finally:
        process.kill()
        process.wait()


def test_ctrl_c_just_after_the_commit_leaves_a_published_run(spark, shop, reader):
    """A reader meets one run after the other, never two at once."""
    output, own = shop.output, shop.own
    _when(_next_commit(output, "similar_products"), lambda: os.kill(os.getpid(), signal.SIGINT))
    assert recommend.main([*own, "--run-id", "two"]) == 130
    _consistent(output, "two")
    # What it could not do any more is done by the next night, though that has nothing of its own to do.
    assert _row(output, "two")["owed"] == ["report", "tracking"]
    assert recommend.main([*own, "--run-id", "three"]) == 0
    seen = reader()
    assert seen == sorted(seen, key=["one", "two"].index)
    assert set(seen) == {"one", "two"}
    assert _row(output, "three")["status"] == "unchanged"
    assert _row(output, "two")["owed"] == []
    assert _tracked(shop) == {"two"}
    assert "two" in shop.report()
    _consistent(output, "two")


@pytest.mark.slow
def test_sigterm_before_the_commit_leaves_the_night_before(spark, shop):
    output, own = shop.output, shop.own
    before = content(output)
    _when(_next_commit(output, "images"), lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert recommend.main([*own, "--run-id", "two"]) == 143
    assert content(output) == before
    assert _row(output, "two")["status"] == "failed"
    _consistent(output, "one")


@pytest.mark.slow
def test_a_report_that_fails_after_the_publish_is_drawn_by_the_next_call(spark, shop, capsys):
    """/dev/full opens for writing and takes no byte: the report fails when it is written, not when the run begins."""
    output, own = shop.output, shop.own
    full = [*own, "--set", "report.path=/dev/full"]
    assert recommend.main([*full, "--run-id", "two"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("recommend: run two is published; then report.path=/dev/full cannot be written")
    assert message.endswith("still to do: report, tracking, by the next call")
    assert (_outcome(output)["published"], _outcome(output)["current"]) == (True, "two")
    _consistent(output, "two")
    assert recommend.main([*full, "--run-id", "again"]) == 1  # nothing has changed, and it still cannot be written
    assert _outcome(output)["current"] == "two"
    assert recommend.main([*own, "--run-id", "two"]) == 0  # as a scheduler tries again
    assert (_outcome(output)["published"], _outcome(output)["current"]) == (False, "two")
    assert "two" in shop.report()
    assert _row(output, "two")["owed"] == []
    _consistent(output, "two")


@pytest.mark.slow
def test_a_name_that_is_published_already_keeps_its_versions_until_its_next_commit(spark, shop):
    """Killed between the record and the commit, it would leave readers with new images beside old lists."""
    output, own = shop.output, shop.own
    _when(_next_commit(output, "neighbours"), lambda: os.kill(os.getpid(), signal.SIGINT))
    before = content(output)
    assert recommend.main([*own, "--run-id", "one", "--set", "knn.k=4", "--set", "recommend.k=4"]) == 130
    assert content(output) == before
    row = _row(output, "one")
    images, lists = (_read(output, table, row["versions"][table]) for table in ("images", "similar_products"))
    assert (images, lists) == (_read(output, "images"), _read(output, "similar_products"))


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, os.getcwd())
from jobs import recommend
def watch():
    while not Path(sys.argv[1]).exists():
        time.sleep(0.001)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
recommend.main(sys.argv[2:])
"""


def _killed_when(path: Path, *arguments: str) -> None:
    """Runs the job as a process that dies with its JVM as soon as a file is there."""
    quick = [part for name, value in QUICK_QUERIES.items() for part in ("--set", f"{name}={str(value).lower()}")]
    quick += ["--set", f"spark.driver.extraJavaOptions={JVM_OPTIONS}", "--set", "spark.master=local[2]"]
    command = [sys.executable, "-c", KILLED, str(path), *arguments, *quick]
    job = subprocess.run(command, cwd=REPO, start_new_session=True, timeout=300, capture_output=True, text=True)
    assert job.returncode == -signal.SIGKILL, job.stderr


def test_a_driver_killed_half_way_and_then_a_night_without_changes(spark, shop):
    output, own = shop.output, shop.own
    before = content(output)
    shorter = ["--set", "recommend.k=4", "--set", "knn.k=4"]
    _killed_when(_next_commit(output, "images"), *own, *shorter, "--run-id", "killed")
    assert connect(output).sql("select distinct price from images").fetchall() == [(9.0,)]
    write_catalogue(shop.folder, shop.rows)
    assert recommend.main([*own, "--run-id", "quiet"]) == 0
    assert _row(output, "quiet")["status"] == "unchanged"
    assert content(output) == before
    _consistent(output, "one")


def test_a_setting_that_only_a_task_can_judge_is_one_message(spark, shop, capsys):
    command = [*shop.own, "--set", "knn.device=gpu", "--set", "knn.metric=l2", "--run-id", "two"]
    assert neighbours.main(command) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("neighbours: knn.device=gpu: TensorFlow is not installed on this executor or sees no GPU")
    assert _row(shop.output, "two")["message"].startswith("knn.device=gpu")
