"""What every test shares: one Spark session shaped so that the multi-worker, multi-batch paths run."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from pyspark import SparkContext
from quick_spark import JVM_OPTIONS, QUICK_QUERIES
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

REPO = Path(__file__).resolve().parents[1]
REAL = REPO.parent / "shared" / "data"  # real photos, beside the repository where they exist; users do not have them

_SHARED = {  # file -> what it shares with other files, so that one process makes it once
    "test_recommend.py": "published",
    "test_query_job.py": "published",
    "test_outcome.py": "published",
    "test_live_job.py": "published",
    "test_export.py": "published",
    "test_register_as.py": "published",
    "test_without_adaptive.py": "published",
    "test_report_spark.py": "report",
    "test_report_job.py": "report",
    "test_browser.py": "report",
}
_LONG = ("published", "test_after_commit.py", "test_nightly.py", "test_submit.py", "test_knn_incremental.py")


def _group(file: PurePath) -> str:
    return _SHARED.get(file.name, file.name)


class Groups(LoadScopeScheduling):
    """Run in one process the tests of a file, or of the files that share a shop: `pytest -n 2`."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(PurePath(nodeid.split("::")[0]))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    # xdist's own --dist loadgroup writes Item._nodeid, which pytest 9.2 does not read any more.
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest groups first, so that none of them begins when the others have ended."""
    place = {group: number for number, group in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(_group(item.path), len(place)))


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    from vsspark.spark import session

    scratch = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYSPARK_SUBMIT_ARGS", f"--driver-java-options '{JVM_OPTIONS}' pyspark-shell")
        SparkContext._ensure_initialized()  # starts the JVM, which takes its options from the environment alone
    active = session.create(
        "vsspark-tests",
        {
            "spark.master": "local[2]",
            "spark.sql.shuffle.partitions": 2,
            "spark.default.parallelism": 2,
            "spark.sql.execution.arrow.maxRecordsPerBatch": 7,
            **QUICK_QUERIES,
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
