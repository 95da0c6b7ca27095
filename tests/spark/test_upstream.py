"""What we lean on inside other projects is still there, and still needed. A failure here says that upstream has
changed: try again what the module's first lines claim, and drop the module if it can go.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyspark.daemon
import pytest

ROOM = Path(__file__).parents[2] / "vsspark"


@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("spark/jvm.py", {"PySpark": "pyspark"}),
        ("spark/daemon.py", {"PySpark": "pyspark"}),
        ("spark/workers.py", {"PySpark": "pyspark"}),
        ("training/legacy_arrow.py", {"Petastorm": "petastorm", "pyarrow": "pyarrow", "NumPy": "numpy"}),
    ],
)
def test_it_was_tried_on_what_is_installed(module, packages):
    claim = (ROOM / module).read_text(encoding="utf-8").partition("Tried on ")[2].partition('"""')[0]
    for name, package in packages.items():
        assert f"{name} {version(package)}" in claim


def test_pysparks_daemon_still_collects_garbage_after_every_task():
    assert "gc.collect()" in inspect.getsource(pyspark.daemon.manager)


def test_petastorm_still_asks_for_names_that_pyarrow_has_dropped():
    run = subprocess.run([sys.executable, "-c", "import petastorm.reader"], capture_output=True, text=True)
    assert "No module named 'pyarrow.filesystem'" in run.stderr
