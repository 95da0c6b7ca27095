"""What the contracts in pyproject.toml cannot say: imports inside functions do not happen when a job starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOBS = sorted(path.stem for path in (Path(__file__).parents[2] / "jobs").glob("[a-z]*.py"))
STARTS = {
    "a job": (", ".join(f"jobs.{name}" for name in JOBS), ("tensorflow", "mlflow", "petastorm")),
    "a query": ("jobs.query, vsspark.query.ask", ("pyspark", "tensorflow", "mlflow", "sklearn", "numba", "pandas")),
    "a Python worker": (
        "vsspark.embed.kernel.frame, vsspark.knn.engine",
        ("pyspark", "tensorflow", "mlflow", "sklearn"),
    ),
}


@pytest.mark.parametrize("start", STARTS)
def test_what_starts_leaves_heavy_packages_out(start):
    modules, heavy = STARTS[start]
    code = f"import sys, {modules}; print(*(name for name in {heavy!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
