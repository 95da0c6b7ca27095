"""GPU scheduling without a GPU: a real standalone master and two workers that announce pretend GPUs through a discovery script."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from colours import colour_of, write_pictures

REPO = Path(__file__).resolve().parents[2]


def properties() -> dict[str, str]:
    lines = (REPO / "conf" / "spark-gpu.conf").read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


class Cluster:
    def __init__(self, folder: Path):
        self.folder, self.processes = folder, []
        script = folder / "gpus.sh"
        script.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["0", "1"]}\'\n')
        script.chmod(0o755)
        self.environment = {
            **os.environ,
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYTHONPATH": str(REPO),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_WORKER_OPTS": f"-Dspark.worker.resource.gpu.amount=2 -Dspark.worker.resource.gpu.discoveryScript={script}",
        }

    def start(self, role: str, *arguments: str) -> None:
        import pyspark

        log = self.folder / f"{role}-{len(self.processes)}.log"
        command = [str(Path(pyspark.__file__).parent / "bin" / "spark-class"), f"org.apache.spark.deploy.{role.lower()}.{role}", "--host", "127.0.0.1"]
        with log.open("w") as stream:
            process = subprocess.Popen([*command, "--webui-port", "0", *arguments], env=self.environment, stdout=stream, stderr=stream, cwd=self.folder)
        self.processes.append(process)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


@pytest.fixture
def master(tmp_path):
    cluster, port = Cluster(tmp_path), free_port()
    try:
        cluster.start("Master", "--port", str(port))
        wait_for(port)
        for i in range(2):
            cluster.start("Worker", "--cores", "4", "--memory", "2g", "--work-dir", str(tmp_path / f"work{i}"), f"spark://127.0.0.1:{port}")
        yield f"spark://127.0.0.1:{port}", cluster
    finally:
        cluster.stop()


@pytest.mark.slow
def test_tasks_that_embed_or_search_have_a_gpu_each_to_themselves(master, tmp_path):
    url, cluster = master
    photos = tmp_path / "photos"
    photos.mkdir()
    write_pictures(photos, 20)
    settings = {
        **properties(),
        "spark.executor.resource.gpu.discoveryScript": str(tmp_path / "gpus.sh"),
        "spark.executor.cores": "2",
        "spark.executor.memory": "900m",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    command = [
        str(Path(sys.executable).parent / "spark-submit"),
        "--master",
        url,
        *(part for name, value in settings.items() for part in ("--conf", f"{name}={value}")),
    ]
    done = subprocess.run(
        [*command, str(Path(__file__).parent / "gpu_job.py"), str(photos)], env=cluster.environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((photos / "result.json").read_text())
    searched = result["searched"]
    line = sorted((i, j) for i in range(400) for j in ({0: (1, 2), 399: (397, 398)}.get(i) or (i - 1, i + 1)))
    assert [tuple(pair) for pair in searched["on_cores"]] == line
    assert [tuple(pair) for pair in searched["on_gpus"]] == line
    without_gpus, with_gpus = searched["gpus"]
    assert set(without_gpus) == {None}
    assert set(with_gpus) - {None}, "the search asked for no GPU"
    assert "knn.device=gpu: TensorFlow is not installed on this executor or sees no GPU" in searched["refusal"]
    assert result["engine"] == "tensorflow"
    paths = sorted(photos.glob("*.png"))
    assert sorted(row["image_id"] for row in result["embedded"]) == list(range(20))
    for row in result["embedded"]:
        expected = colour_of(int(paths[row["image_id"]].name.split()[1]))
        np.testing.assert_allclose(row["embedding"], expected, atol=0.5)
    tasks = result["with_profile"]
    assert len(tasks) == 8
    assert all(len(task["gpus"]) == 1 and task["cpus"] == 2 for task in tasks)
    hosts = [(re.search(r"work\d", task["executor"]).group(), task["gpus"][0]) for task in tasks]
    assert len(set(hosts)) > 1
    for (a, b), (x, y) in zip(combinations(tasks, 2), combinations(hosts, 2), strict=True):
        assert x != y or a["ended"] <= b["began"] or b["ended"] <= a["began"], "two running tasks shared a GPU"
    assert all(task["gpus"] is None and task["cpus"] == 1 for task in result["without"])
