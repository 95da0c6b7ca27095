"""What every test shares: one Spark session shaped so that the multi-worker, multi-batch paths run."""

from __future__ import annotations

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
REAL = REPO.parent / "shared" / "data"  # real photos, beside the repository where they exist; users do not have them


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from vsspark.spark import session

    scratch = tmp_path_factory.mktemp("spark")
    active = session.create(
        "vsspark-tests",
        {
            "spark.master": "local[2]",
            "spark.sql.shuffle.partitions": 2,
            "spark.default.parallelism": 2,
            "spark.sql.execution.arrow.maxRecordsPerBatch": 7,
            # The tests run the same queries again and again; by default the code of a hundred is kept.
            "spark.sql.codegen.cache.maxEntries": 5000,
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
            "spark.ui.showConsoleProgress": False,
        },
    )
    yield active
    active.stop()


@pytest.fixture(scope="session")
def real_photos():
    if not REAL.is_dir():
        pytest.skip("the real photos (../shared/data) are not beside this checkout")
    return REAL
