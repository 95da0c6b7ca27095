"""The engine runs from a wheel on sys.path, as --py-files ships it, without a folder for Numba beside its modules and
without Spark.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vsspark

SCRIPT = """
import sys
sys.path.insert(0, {wheel!r})
import numpy as np
from vsspark.knn import self_join, topk
assert topk.__file__.startswith({wheel!r}), topk.__file__
nearest = self_join(np.eye(3, dtype=np.float32), 1)[1].ravel().tolist()
print(nearest, sorted({{"pyspark", "tensorflow"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("name", "writable", "kept"),
    [
        ("vsspark.zip", True, True),
        ("vsspark.zip", False, False),
        pytest.param("vsspark.whl", True, False, marks=pytest.mark.slow),
    ],
)
def test_the_engine_runs_from_a_zip(tmp_path, name, writable, kept):
    wheel = tmp_path / name
    package = Path(vsspark.__file__).parent
    with zipfile.ZipFile(wheel, "w") as file:
        for path in package.rglob("*.py"):
            file.write(path, path.relative_to(package.parent))
    home = tmp_path / "home"
    home.mkdir() if writable else home.write_text("no folder: nothing can be kept below it")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(wheel=str(wheel))],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1, 0, 0] []"
    assert (home.is_dir() and any(home.rglob("*.nbi"))) == kept
