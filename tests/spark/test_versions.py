"""The releases of Spark beside the pinned one: what stands in for what they lack, and the whole demo run on each."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F
from quick_spark import JVM_OPTIONS

from vsspark.errors import ConfigError
from vsspark.spark import versions

REPO = Path(__file__).parents[2]
OTHERS = {"4.1.4": "4.4.0", "4.0.5": "4.0.1"}  # pyspark: delta-spark
_OF_THE_RUN = ["run_id", "run_date"]


def test_a_release_that_it_does_not_run_on_is_refused():
    for version in ("3.5.9", "4.3.0.dev1", "5.0.0"):
        with pytest.raises(ConfigError, match=rf"pyspark {version} is installed.*4\.0, 4\.1, 4\.2"):
            versions.check_spark(version)
    assert versions.check_spark("4.0.0.dev2") == "4.0"


def test_each_release_has_its_delta():
    assert versions.delta_package("4.0.5") == "io.delta:delta-spark_2.13:4.0.1"
    assert versions.delta_package("4.1.4") == "io.delta:delta-spark_4.1_2.13:4.4.0"
    assert versions.delta_package("4.2.0") == "io.delta:delta-spark_4.2_2.13:4.4.0"


@pytest.mark.parametrize("partitions", [1, 2, 3, 17, 400])
def test_the_hash_of_a_key_leads_to_its_partition(spark, partitions):
    ids = spark.range(0, 1000, 1, 2).select(F.col("id").cast("int"))
    for repartition in (versions.repartition_by_id, versions.repartition_by_key):
        placed = repartition(ids, partitions, F.col("id"))
        rows = placed.select("id", F.spark_partition_id().alias("place")).collect()
        assert len(rows) == 1000
        assert all(row.place == row.id % partitions for row in rows)


def _python(pyspark: str, delta: str) -> Path:
    """An interpreter with this environment's packages, but another Spark and no jars set up; made once."""
    folder = REPO / "build/spark" / pyspark
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--no-deps"]
        subprocess.run([*pip, f"pyspark=={pyspark}", f"delta-spark=={delta}"], check=True)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "others.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        (folder / "ready").touch()
    return folder / "bin/python"


def _demo(python: str | Path, folder: Path) -> list[dict]:
    """The demo run as a user starts it; returns `similar_products` without the run's name and date."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
    environment["JAVA_TOOL_OPTIONS"] = JVM_OPTIONS
    values = {"demo.products": 24, "demo.path": f"{folder}/demo", "output.path": f"{folder}/out"}
    values |= {"mlflow.tracking_uri": f"sqlite:///{folder}/mlflow.db", "report.path": f"{folder}/report.html"}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    command = [str(python), "-m", "vsspark", "recommend", "--config", "conf/demo.yaml", *sets]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    table = DeltaTable(f"{folder}/out/similar_products").to_pyarrow_table().drop_columns(_OF_THE_RUN)
    rows = sorted(table.to_pylist(), key=lambda row: (row["product_id"], row["rank"]))
    pictures = {"image_uri", "similar_image_uri"}  # in another folder each time
    return [{k: Path(v).name if k in pictures else v for k, v in row.items()} for row in rows]


@pytest.fixture(scope="module")
def pinned(tmp_path_factory) -> list[dict]:
    return _demo(sys.executable, tmp_path_factory.mktemp("pinned"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("pyspark", "delta"), OTHERS.items())
def test_the_demo_run_publishes_the_same_table(pinned, tmp_path, pyspark, delta):
    python = _python(pyspark, delta)
    found = subprocess.run([python, "-c", "import pyspark; print(pyspark.__version__)"], capture_output=True, text=True)
    assert found.stdout.strip() == pyspark
    rows = _demo(python, tmp_path)
    assert len(rows) == len(pinned) > 40
    assert rows == pinned


def test_a_python_without_spark_is_one_message(tmp_path):
    venv.create(tmp_path / "venv")
    site, others = next((tmp_path / "venv").glob("lib/python*/site-packages")), tmp_path / "packages"
    others.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(("pyspark", "py4j", "delta_spark")) and package.name != "delta":
            (others / package.name).symlink_to(package)
    (site / "others.pth").write_text(f"{others}\n")
    command = [tmp_path / "venv/bin/python", "-m", "vsspark", "recommend"]
    done = subprocess.run(command, cwd=REPO, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "this Python has no pyspark: pip install 'vsspark[spark]'" in done.stderr
    assert "Traceback" not in done.stderr
