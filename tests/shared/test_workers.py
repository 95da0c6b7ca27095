from __future__ import annotations

import gc
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from vsspark.workers import map_in_arrow


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


def test_rows_and_errors_pass_through(spark):
    rows = map_in_arrow(spark.range(0, 5, 1, 2), lambda batches: batches, "id long").collect()
    assert sorted(row.id for row in rows) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("module", "says"), [("vsspark.daemon", ""), ("pyspark.daemon", "BrokenPipeError")])
def test_a_worker_whose_socket_is_closed_ends_in_silence(module, says):
    """What the JVM does to a worker that was idle for a minute, to ours and, so that this test can fail, to PySpark's own."""
    ends = f"import socket; from {module} import worker; a, b = socket.socketpair(); b.close(); raise SystemExit(0 if worker(a, True) else 3)"
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, check=True)
    assert says in done.stderr
    assert says or not done.stderr
