"""GPU scheduling without a GPU: a real standalone master and two workers that announce pretend GPUs through a
discovery script.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from colours import colour_of, write_pictures
from standalone import standalone

REPO = Path(__file__).resolve().parents[2]


def properties() -> dict[str, str]:
    lines = (REPO / "conf" / "spark-gpu.conf").read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def cluster(tmp_path):
    script = tmp_path / "gpus.sh"
    script.write_text('#!/bin/sh\necho \'{"name": "gpu", "addresses": ["0", "1"]}\'\n')
    script.chmod(0o755)
    announced = {
        "SPARK_WORKER_OPTS": (
            f"-Dspark.worker.resource.gpu.amount=2 -Dspark.worker.resource.gpu.discoveryScript={script}"
        )
    }
    with standalone(tmp_path, ["127.0.0.1", "127.0.0.1"], 4, announced) as running:
        yield running


@pytest.mark.slow
def test_tasks_that_embed_or_search_have_a_gpu_each_to_themselves(cluster, tmp_path):
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
        cluster.url,
        *(part for name, value in settings.items() for part in ("--conf", f"{name}={value}")),
    ]
    done = subprocess.run(
        [*command, str(Path(__file__).parent / "gpu_job.py"), str(photos)],
        env=cluster.environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
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
