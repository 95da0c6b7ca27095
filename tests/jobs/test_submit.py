"""The jobs as processes: exit codes as a scheduler sees them, and the shape of a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from invariants import check, connect
from shops import REPO, arguments, draw_shop

BIN = Path(sys.executable).parent


def _submit(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))} | environment
    return subprocess.run([str(BIN / "spark-submit"), *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=500)


def test_a_failing_job_fails_under_spark_submit(tmp_path):
    done = _submit(str(REPO / "jobs/recommend.py"), "--set", "knn.kk=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "knn.kk: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_cluster_needs_only_the_wheel(tmp_path):
    """Two executors of their own, started in another folder: the package reaches them through --py-files alone."""
    built = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "wheel"), str(REPO)]
    subprocess.run(built, check=True, capture_output=True)
    wheel = next((tmp_path / "wheel").glob("*.whl"))
    (tmp_path / "away").mkdir()
    (tmp_path / "away/recommend.py").write_text((REPO / "jobs/recommend.py").read_text())
    draw_shop(tmp_path / "shop", products=6)
    # A .pth inside a folder that a .pth names is not followed: this interpreter has every package of ours but the editable vsspark.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    site = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    (site / "packages.pth").write_text(str(next((Path(sys.prefix) / "lib").glob("python3*/site-packages"))))
    python = str(tmp_path / "venv/bin/python")
    assert subprocess.run([python, "-c", "import vsspark"], cwd=tmp_path, capture_output=True).returncode == 1
    args = ["--master", "local-cluster[2,1,1024]", "--py-files", str(wheel), str(tmp_path / "away/recommend.py")]
    done = _submit(*args, *arguments(tmp_path / "shop", f"{tmp_path}/out"), "--run-id", "c", cwd=tmp_path / "away", PYSPARK_PYTHON=python)
    assert done.returncode == 0, done.stderr[-3000:]
    check(connect(f"{tmp_path}/out"), 5, "c")
