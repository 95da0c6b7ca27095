"""Executors and Python workers killed one by one while a job runs on a cluster of several: it ends with the table of
an undisturbed run.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from invariants import check, connect, content
from shops import REPO, arguments, draw_shop, write_catalogue
from worker_processes import busy, is_python_worker

from jobs import recommend

CLUSTER = [
    "spark.master=local-cluster[2,1,1024]",
    f"spark.executorEnv.PYTHONPATH={REPO}",
    "spark.ui.showConsoleProgress=false",
]
MOST_PER_RUN = 6  # Spark gives a task up when it has failed four times
STAGES = ("embed", "neighbours", "ingest", "products")  # the killing begins with one of them


class ClusterJob:
    """The job with two executors, each a process of its own; all that belongs to it is one session of the operating
    system.
    """

    def __init__(self, arguments: list[str], log: Path):
        with log.open("w") as out:
            env = os.environ | {"PYTHONPATH": str(REPO)}
            self.job = subprocess.Popen(
                [sys.executable, "jobs/recommend.py", *arguments],
                cwd=REPO,
                env=env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.folders: set[Path] = set()

    def wait(self, timeout: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.job.wait(timeout)
        return None

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.job.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def victims(self) -> dict[str, list[psutil.Process]]:
        kinds: dict[str, list[psutil.Process]] = {"executor": [], "worker": []}
        for process in self.processes():
            with suppress(psutil.Error):
                line = process.cmdline()
                if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in line:
                    kinds["executor"].append(process)
                    self.folders.add(Path(process.cwd()).parent)
                elif is_python_worker(process):
                    kinds["worker"].append(process)
        return kinds | {"worker": busy(kinds["worker"])}

    def kill_one(self, dice: random.Random) -> str | None:
        """Kills a Python worker that has a task to do, or an executor: which kind it was; None where there is
        neither.
        """
        kinds = self.victims()
        kind = dice.choice([kind for kind, victims in kinds.items() if victims] or [None])
        if kind:
            dice.choice(kinds[kind]).kill()
        return kind

    def end(self) -> None:
        """Leaves nothing behind: no process, and no executor's log."""
        self.victims()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.job.wait()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def _disturbed(own: list[str], log: Path, stage: str, dice: random.Random, killed: Counter) -> None:
    """Runs the job while, from that stage on, its processes are killed; where Spark gives up, the same command again,
    in peace.
    """
    cluster = ClusterJob(own, log)
    try:
        while cluster.wait(0.2) is None and f" I {stage} " not in log.read_text():
            pass
        kills = 0
        while kills < MOST_PER_RUN and cluster.wait(dice.uniform(0.5, 6)) is None:
            kind = cluster.kill_one(dice)
            if kind is not None:
                killed[kind] += 1
                kills += 1
        code = cluster.wait(900)
    finally:
        cluster.end()
    assert code in (0, 1), log.read_text()[-5000:]
    if code == 1:
        killed["given up"] += 1
        assert "Job aborted due to stage failure" in log.read_text(), log.read_text()[-5000:]
        again = ClusterJob(own, log)
        try:
            assert again.wait(900) == 0, log.read_text()[-5000:]
        finally:
            again.end()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_executors_and_workers_killed_one_by_one_change_no_row(spark, tmp_path):
    """Runs from scratch, then nights on a copy of a published output, each disturbed again and again."""
    rows = draw_shop(tmp_path, products=60, images=2)
    limits = ["gate.max_drift=1.0", "gate.max_changed=1.0", "gate.max_products_lost=1.0", "knn.tile_rows=32"]
    wanted, dice, killed, runs = int(os.environ.get("VSSPARK_KILLS", "5")), random.Random(3), Counter(), 0
    assert recommend.main([*arguments(tmp_path, f"{tmp_path}/undisturbed", *limits), "--run-id", "first"]) == 0
    last, expected = f"{tmp_path}/undisturbed", content(f"{tmp_path}/undisturbed")
    for night, enough in (("first", wanted / 2), ("second", wanted)):
        if night == "second":
            for row in rows[:10]:
                photo = tmp_path / row["photo"]
                photo.write_bytes(photo.read_bytes() + b"\0")
            write_catalogue(tmp_path, rows[:-4])
            assert recommend.main([*arguments(tmp_path, f"{tmp_path}/scratch", *limits), "--run-id", "second"]) == 0
            expected = content(f"{tmp_path}/scratch")
        while killed["executor"] + killed["worker"] < enough:
            output = tmp_path / f"out-{runs}"
            if night == "second":
                shutil.copytree(last, output)
            before = killed.copy()
            own = [*arguments(tmp_path, str(output), *limits, *CLUSTER), "--run-id", f"{night}-{runs}"]
            _disturbed(own, tmp_path / f"{runs}.log", STAGES[runs % 4], dice, killed)
            print(f"run {runs}, {night} night, from {STAGES[runs % 4]} on: {dict(killed - before)}", flush=True)
            assert content(str(output)) == expected
            check(connect(str(output)), 5, f"{night}-{runs}")
            for table, key in (
                ("image_embeddings", "image_id"),
                ("neighbours", "query_image_id, rank"),
                ("quarantine", "image_id, run_id"),
            ):
                assert (
                    connect(str(output)).sql(f"select {key} from {table} group by all having count(*) > 1").fetchall()
                    == []
                )
            assert not (output / "_staging").exists()
            assert not (output / "_work").exists()
            runs += 1
    print(f"{runs} runs, killed {dict(killed)}")
