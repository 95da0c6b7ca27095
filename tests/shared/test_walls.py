"""The walls of the house: what a pure module may not pull in, proven in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

PURE = {
    "vsspark.errors": ("pyspark", "tensorflow"),
    "vsspark.config": ("pyspark", "tensorflow"),
    "vsspark.progress": ("pyspark", "tensorflow"),
    "vsspark.blocks.head": ("pyspark", "tensorflow"),
    "vsspark.blocks.kept": ("pyspark", "tensorflow"),
    "vsspark.images.fetch": ("pyspark", "tensorflow"),
    "vsspark.images.decode": ("pyspark", "tensorflow"),
    "vsspark.images.decoder_process": ("pyspark", "tensorflow"),
    "vsspark.images.product": ("pyspark", "tensorflow"),
    "vsspark.knn": ("pyspark", "tensorflow"),
    "vsspark.demo.draw": ("pyspark", "tensorflow"),
    "vsspark.demo.products": ("pyspark", "tensorflow"),
    "vsspark.report.render": ("pyspark", "tensorflow"),
    "vsspark.encoders": ("pyspark", "tensorflow"),
    "vsspark.embed.kernel.frame": ("pyspark", "tensorflow"),
    "vsspark.evaluation.compare": ("pyspark", "tensorflow"),
    "vsspark.evaluation.ratings": ("pyspark", "tensorflow"),
    "vsspark.query.pictures": ("pyspark", "tensorflow"),
    "vsspark.query.answers": ("pyspark", "tensorflow"),
    "vsspark.training.pairs": ("pyspark", "tensorflow", "petastorm"),
    "vsspark.training.start": ("pyspark", "tensorflow", "petastorm"),
    "vsspark.job.cli": ("tensorflow", "mlflow"),
    "vsspark.job.pipeline": ("tensorflow", "mlflow", "petastorm"),
    "jobs.train": ("tensorflow", "mlflow", "petastorm"),
}


@pytest.fixture(scope="module")
def imported() -> dict[str, subprocess.CompletedProcess]:
    """By module: its import in an interpreter of its own, which prints the forbidden packages that came along.

    Two at a time: an import keeps one core busy.
    """

    def run(module: str) -> subprocess.CompletedProcess:
        code = f"import sys, {module}; print(*(name for name in {PURE[module]!r} if name in sys.modules))"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(PURE, pool.map(run, PURE), strict=True))


@pytest.mark.parametrize("module", PURE)
def test_importing_a_module_leaves_the_heavy_packages_out(module, imported):
    assert imported[module].returncode == 0, imported[module].stderr
    assert imported[module].stdout.strip() == ""
