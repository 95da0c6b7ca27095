"""The jobs as processes: exit codes as a scheduler sees them, and the shape of a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from invariants import check, connect
from quick_spark import JVM_OPTIONS
from shops import REPO, arguments, draw_shop

from vsspark import encoders
from vsspark.config import ImagesConfig
from vsspark.images.decode import decode_image

BIN = Path(sys.executable).parent


def _submit(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """In the environment of a user's shell: without what the tests' own session has set."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
    env |= {"JAVA_TOOL_OPTIONS": JVM_OPTIONS, **environment}  # of executors, too
    command = [str(BIN / "spark-submit"), *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


def test_a_failing_job_fails_under_spark_submit(tmp_path):
    done = _submit(str(REPO / "jobs/recommend.py"), "--set", "knn.kk=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "knn.kk: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shared = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*shared, "-w", str(folder), str(REPO)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_file_and_runs_elsewhere(wheel, tmp_path):
    """Installed into an empty folder, seen from a folder that is not the checkout."""
    shared = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target"]
    subprocess.run([*shared, str(tmp_path / "site"), str(wheel)], check=True, capture_output=True)
    tracked = subprocess.run(["git", "ls-files", "vsspark"], cwd=REPO, capture_output=True, text=True, check=True)
    missing = [name for name in tracked.stdout.splitlines() if not (tmp_path / "site" / name).is_file()]
    assert missing == []
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    where = [sys.executable, "-c", "import vsspark; print(vsspark.__file__)"]
    script = tmp_path / "site/bin/vsspark"
    runs = (where, f"{tmp_path}/site/vsspark/__init__.py"), ([script, "recommend", "--help"], "--set")
    for command, expected in runs:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def test_an_executor_killed_on_a_cluster_that_has_only_the_wheel(wheel, tmp_path):
    """Every picture has one row and its own embedding. The package reaches the two executors by --py-files alone."""
    photos = tmp_path / "photos"
    rows = draw_shop(photos, products=18, images=2)
    (tmp_path / "embed.py").write_text((REPO / "tests/jobs/embed_on_cluster.py").read_text())
    settings = ("spark.ui.enabled=false", "spark.sql.execution.arrow.maxRecordsPerBatch=2", "spark.driver.memory=1g")
    done = _submit(
        *("--master", "local-cluster[2,1,1024]", "--py-files", str(wheel)),
        *(part for setting in settings for part in ("--conf", setting)),
        *(str(tmp_path / "embed.py"), str(photos)),
        cwd=tmp_path,
        PYSPARK_PYTHON=_python_without_vsspark(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((photos / "result.json").read_text())
    assert not Path(f"/proc/{result['killed']}").exists()
    assert set(result["executors"]) - {result["killed"]}
    embedded = {row["image_id"]: row for row in result["embedded"]}
    assert len(result["embedded"]) == len(embedded) == len(rows) == 36
    encoder, paths = encoders.load("default"), sorted(photos.glob("*.jpg"))
    pictures = [decode_image(path.read_bytes(), encoder.input_size, ImagesConfig()) for path in paths]
    expected, _ = encoder.encode(np.stack(pictures))
    for i, row in embedded.items():
        assert row["uri"] == str(paths[i])
        np.testing.assert_allclose(row["embedding"], expected[i], atol=1e-4)


@pytest.mark.slow
def test_a_cluster_needs_only_the_wheel(wheel, tmp_path):
    """The whole job on two executors, started in another folder."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away/recommend.py").write_text((REPO / "jobs/recommend.py").read_text())
    draw_shop(tmp_path / "shop", products=6)
    args = ["--master", "local-cluster[2,1,1024]", "--py-files", str(wheel), str(tmp_path / "away/recommend.py")]
    args += [*arguments(tmp_path / "shop", f"{tmp_path}/out"), "--run-id", "c"]
    done = _submit(*args, cwd=tmp_path / "away", PYSPARK_PYTHON=_python_without_vsspark(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    check(connect(f"{tmp_path}/out"), 5, "c")


def _python_without_vsspark(folder: Path) -> str:
    """An interpreter with every installed package but this one: a .pth file does not lead to another .pth file."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    site = next((folder / "venv/lib").glob("python3*/site-packages"))
    (site / "packages.pth").write_text(str(next((Path(sys.prefix) / "lib").glob("python3*/site-packages"))))
    python = str(folder / "venv/bin/python")
    assert subprocess.run([python, "-c", "import vsspark"], cwd=folder, capture_output=True).returncode == 1
    return python
