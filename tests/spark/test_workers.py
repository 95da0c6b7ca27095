from __future__ import annotations

import gc
import os
import subprocess
import sys

import pyarrow as pa
import pytest
from pyspark import SparkConf
from pyspark.errors import PythonException

from vsspark.spark import session
from vsspark.spark.workers import map_in_arrow


def test_a_worker_that_is_used_again_has_its_modules_out_of_the_collectors_sight(spark):
    def counts(batches):
        for _ in batches:
            yield pa.record_batch({"worker": pa.array([os.getpid()]), "frozen": pa.array([gc.get_freeze_count()])})

    frozen = {}
    for _ in range(3):
        for row in map_in_arrow(spark.range(0, 2, 1, 2), counts, "worker long, frozen long").collect():
            frozen.setdefault(row.worker, []).append(row.frozen)
    again = [seen[-1] for seen in frozen.values() if len(seen) > 1]
    assert again, frozen
    assert min(again) > 10_000


def test_rows_pass_through_and_so_does_a_limit(spark):
    rows = map_in_arrow(spark.range(0, 50, 1, 2), lambda batches: batches, "id long")
    assert sorted(row.id for row in rows.collect()) == list(range(50))
    assert len(rows.limit(1).collect()) == 1


def test_a_task_that_raises_fails_the_job(spark):
    def task(batches):
        yield from batches
        raise ValueError("no such thing")

    with pytest.raises(PythonException, match="no such thing"):
        map_in_arrow(spark.range(3), task, "id long").collect()


def test_jars_that_spark_has_fetched_do_not_keep_workers_from_the_sockets(spark):
    conf = SparkConf(loadDefaults=False).set("spark.master", "local[2]")
    conf.set("spark.submit.pyFiles", "/opt/io.delta_delta-storage-4.4.0.jar")
    assert "spark.python.daemon.module" in session._unix_sockets(conf)
    conf.set("spark.submit.pyFiles", "/opt/a.jar,/opt/vsspark.whl")
    assert session._unix_sockets(conf) == {}


def test_local_sessions_use_the_sockets_and_the_daemon_together(spark):
    conf = spark.sparkContext.getConf()
    assert conf.get("spark.python.unix.domain.socket.enabled") == "true"
    assert conf.get("spark.python.daemon.module") == "vsspark.spark.daemon"
    assert os.stat(conf.get("spark.python.unix.domain.socket.dir")).st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "given",
    [{"spark.master": "local-cluster[2,1,1024]"}, {"spark.master": "yarn"}, {"spark.submit.pyFiles": "vsspark.whl"}],
)
def test_workers_that_may_not_find_the_daemon_keep_sparks_own(spark, given):
    conf = SparkConf(loadDefaults=False).setAll(list(({"spark.master": "local[2]"} | given).items()))
    assert session._unix_sockets(conf) == {}


@pytest.mark.parametrize(("module", "says"), [("vsspark.spark.daemon", ""), ("pyspark.daemon", "BrokenPipeError")])
def test_a_worker_whose_socket_is_closed_ends_in_silence(module, says):
    """What the JVM does to a worker that was idle for a minute, to ours and, so that this test can fail, to PySpark's
    own.
    """
    ends = (
        f"import socket; from {module} import worker; a, b = socket.socketpair(); b.close(); "
        "raise SystemExit(0 if worker(a, True) else 3)"
    )
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, check=True)
    assert says in done.stderr
    assert says or not done.stderr
