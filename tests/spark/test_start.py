"""What has to be said before the driver's JVM starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vsspark.errors import ConfigError
from vsspark.spark import jvm, start

REPO = Path(__file__).parents[2]
_SESSION = """
import time
from vsspark.spark import jvm, session
spark = session.create("start", {"driver.memory": "700m", "spark.driver.extraJavaOptions": "-Dshop=garments"})
java = jvm.packages(spark).java.lang
print(java.Runtime.getRuntime().maxMemory() >> 20, java.System.getProperty("shop"))
spark.sparkContext.parallelize([1], 1).foreach(lambda _: time.sleep(1.5))
"""


def test_memory_and_options_of_the_driver_reach_its_jvm_and_a_log_has_no_progress_bars():
    process = subprocess.run(
        [sys.executable, "-c", _SESSION], cwd=REPO, capture_output=True, text=True, timeout=300, check=False
    )
    assert process.returncode == 0, process.stderr
    megabytes, shop = process.stdout.split()
    assert 600 < int(megabytes) <= 700
    assert shop == "garments"
    assert "[Stage" not in process.stderr


def test_a_setting_that_comes_too_late_is_refused_by_name(spark):
    with pytest.raises(ConfigError, match=r"spark\.driver\.memory=17g comes too late.*--conf spark\.driver\.memory"):
        start.start_jvm({"spark.driver.memory": "17g"})
    start.start_jvm({"spark.driver.memory": spark.conf.get("spark.driver.memory")})


def test_a_refused_setting_keeps_its_password(spark):
    with pytest.raises(ConfigError, match="comes too late") as refusal:
        start.start_jvm({"spark.driver.extraJavaOptions": "-Djavax.net.ssl.trustStorePassword=canary"})
    assert "canary" not in str(refusal.value)


def test_a_jvm_tells_which_classes_it_has(spark):
    assert jvm.has_class(spark, "io.delta.tables.DeltaTable")
    assert not jvm.has_class(spark, "io.delta.tables.NoSuchTable")


def test_a_jvm_that_cannot_start_is_one_message(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "vsspark", "recommend", "--set", f"output.path={tmp_path}/out"],
        cwd=REPO,
        env={"PATH": str(tmp_path), "JAVA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 2
    assert "Spark's JVM did not start" in process.stderr
    assert "Java 17 or 21" in process.stderr
    assert "Traceback" not in process.stderr


def test_delta_s_jars_are_fetched_where_nobody_has_set_them_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.delenv("PYSPARK_SUBMIT_ARGS", raising=False)
    assert not start._names_delta({})
    assert start._names_delta({"spark.jars.packages": "io.delta:delta-spark_4.2_2.13:4.4.0"})
    (tmp_path / "spark-defaults.conf").write_text("spark.jars /opt/delta-spark_4.2_2.13-4.4.0.jar\n", encoding="utf-8")
    assert start._names_delta({})
