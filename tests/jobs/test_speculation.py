"""Tasks that Spark starts a second time because the first attempt is slow: no row comes twice, and the table is that
of an undisturbed run.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from invariants import check, connect, content
from shops import REPO, arguments, draw_shop
from standalone import Standalone, standalone
from worker_processes import busy, is_python_worker

from jobs import recommend

HOSTS = ["127.0.0.1", "127.0.0.2"]  # a second attempt runs on another host than the first, or not at all
PAUSE = 4.0  # seconds
SETTINGS = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.quantile": "0.25",
    "spark.speculation.multiplier": "1.2",
    "spark.speculation.minTaskRuntime": "300ms",
    "spark.executor.memory": "900m",
    "spark.driver.host": "127.0.0.1",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.rolling.enabled": "false",
    "spark.eventLog.compress": "false",
    "spark.ui.showConsoleProgress": "false",
}


def pause_now_and_then(job: subprocess.Popen, cluster: Standalone, dice: random.Random) -> int:
    """Holds a Python worker that is at work for a while, again and again until the job ends: how often."""
    pauses = 0
    while job.poll() is None:
        time.sleep(dice.uniform(0.3, 2))
        below = [child for worker in cluster.workers for child in psutil.Process(worker.pid).children(recursive=True)]
        workers = []
        for process in below:
            with suppress(psutil.Error):
                if is_python_worker(process):
                    workers.append(process)
        candidates = busy(workers)
        if candidates:
            held = dice.choice(candidates)
            with suppress(psutil.Error):  # Spark may end it meanwhile
                held.suspend()
                pauses += 1
                try:
                    time.sleep(PAUSE)
                finally:
                    held.resume()
    return pauses


def second_attempts(events: Path) -> tuple[int, int]:
    """(task attempts that were speculative, how many of them were the ones that counted), from the event log."""
    started = won = 0
    for log in events.iterdir():
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd" and event["Task Info"]["Speculative"]:
                started += 1
                won += event["Task End Reason"]["Reason"] == "Success"
    return started, won


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_second_attempts_of_slow_tasks_change_no_row(spark, tmp_path):
    draw_shop(tmp_path, products=60, images=2)
    assert recommend.main([*arguments(tmp_path, f"{tmp_path}/undisturbed", "knn.tile_rows=32"), "--run-id", "one"]) == 0
    events = tmp_path / "events"
    events.mkdir()
    with standalone(tmp_path, HOSTS, 1, {}) as cluster:
        settings = [
            f"{name}={value}"
            for name, value in {**SETTINGS, "spark.master": cluster.url, "spark.eventLog.dir": f"file:{events}"}.items()
        ]
        command = [
            sys.executable,
            "jobs/recommend.py",
            *arguments(tmp_path, f"{tmp_path}/out", "knn.tile_rows=32", *settings),
            "--run-id",
            "two",
        ]
        with (tmp_path / "log").open("w") as log:
            job = subprocess.Popen(command, cwd=REPO, env=cluster.environment, stdout=log, stderr=log)
            try:
                pauses = pause_now_and_then(job, cluster, random.Random(5))
            finally:
                job.kill()
                job.wait()
    assert job.returncode == 0, (tmp_path / "log").read_text()[-5000:]
    started, won = second_attempts(events)
    print(f"{pauses} pauses, {started} second attempts, {won} of them counted")
    assert won > 0
    assert content(f"{tmp_path}/out") == content(f"{tmp_path}/undisturbed")
    check(connect(f"{tmp_path}/out"), 5, "two")
    for table, key in (
        ("image_embeddings", "image_id"),
        ("neighbours", "query_image_id, rank"),
        ("quarantine", "image_id, run_id"),
    ):
        assert (
            connect(f"{tmp_path}/out").sql(f"select {key} from {table} group by all having count(*) > 1").fetchall()
            == []
        )
    assert not (tmp_path / "out" / "_staging").exists()
    assert not (tmp_path / "out" / "_work").exists()
