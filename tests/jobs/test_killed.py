"""Jobs killed without warning, and what the same command makes of it; two jobs at once; readers while runs are
published and taken back.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from invariants import check, connect
from shops import REPO, arguments, draw_shop, write_catalogue

from jobs import recommend, rollback

CONTENT = (
    "select * exclude (run_id, run_date) replace (round(similarity, 5) as similarity) "
    "from similar_products order by product_id, rank"
)
LOCAL = ["spark.master=local[2]", "spark.driver.memory=2g"]


def _start(arguments: list[str], log: Path) -> subprocess.Popen:
    """The job as a scheduler starts it, in a process group of its own."""
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "jobs/recommend.py", *arguments], cwd=REPO, stdout=out, stderr=out, start_new_session=True
        )


def _kill(job: subprocess.Popen) -> None:
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()


def _finished(folder: Path) -> tuple[int, int]:
    """(rows, distinct contents) the network has finished below `_work`, over all attempts."""
    files = list(folder.glob("out/_work/*/embedded/*/part-*.parquet"))
    if not files:
        return 0, 0
    names = ", ".join(f"'{file}'" for file in files)
    return (
        connect(f"{folder}/out")
        .sql(f"select count(*), count(distinct content_hash) from read_parquet([{names}])")
        .fetchall()[0]
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)  # twenty kills take a quarter of an hour
def test_a_job_killed_again_and_again_ends_with_the_same_table_and_embeds_nothing_twice(spark, tmp_path):
    """Each kill is followed by the same command; where a run is quicker than its kill, the next night's catalogue is
    another.
    """
    rows = draw_shop(tmp_path, products=150, images=2)
    own = [
        *arguments(tmp_path, f"{tmp_path}/out", "gate.max_drift=1.0"),
        *[part for item in LOCAL for part in ("--set", item)],
    ]
    random.seed(5)
    kills, nights, finished = 0, 0, 0
    while kills < int(os.environ.get("VSSPARK_KILLS", "5")):
        name = f"night-{nights}-kill-{kills}"
        job = _start([*own, "--run-id", name], tmp_path / f"{name}.log")
        try:
            job.wait(timeout=random.uniform(8, 45))
        except subprocess.TimeoutExpired:
            _kill(job)
            kills += 1
            now, contents = _finished(tmp_path)
            # What a task had finished is there after the kill, and was not done again.
            assert finished <= now == contents
            finished = now
            continue
        assert job.returncode == 0, (tmp_path / f"{name}.log").read_text()
        nights, finished = nights + 1, 0
        for row in rows[nights * 20 : nights * 20 + 20]:  # a picture in fifteen has other bytes
            photo = tmp_path / row["photo"]
            photo.write_bytes(photo.read_bytes() + b"\0")
        rows = [row | {"cost": f"{nights}.00"} for row in rows if row["sku"] != f"P{nights:02d}"]
        write_catalogue(tmp_path, rows)
    job = _start([*own, "--run-id", "last"], tmp_path / "last.log")
    assert job.wait(timeout=300) == 0, (tmp_path / "last.log").read_text()
    print(f"{kills} kills, {nights} nights in between")
    # In this process, whose session has its memory already: LOCAL would be refused.
    fresh = arguments(tmp_path, f"{tmp_path}/fresh", "gate.max_drift=1.0")
    assert recommend.main([*fresh, "--run-id", "fresh"]) == 0
    assert connect(f"{tmp_path}/out").sql(CONTENT).fetchall() == connect(f"{tmp_path}/fresh").sql(CONTENT).fetchall()
    current = connect(f"{tmp_path}/out").sql("select distinct run_id from similar_products").fetchall()[0][0]
    check(connect(f"{tmp_path}/out"), 5, current)
    assert not (tmp_path / "out/_staging").exists()
    assert not (tmp_path / "out/_work").exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_of_two_jobs_at_once_one_publishes_and_the_other_says_why_not(tmp_path):
    rows = draw_shop(tmp_path, products=8, images=1)
    own = [*arguments(tmp_path, f"{tmp_path}/out"), *[part for item in LOCAL for part in ("--set", item)]]
    for night in range(int(os.environ.get("VSSPARK_DUELS", "2"))):
        write_catalogue(tmp_path, [row | {"cost": f"{night + 1}.00"} for row in rows])
        logs = [tmp_path / f"{name}-{night}.log" for name in ("a", "b")]
        jobs = [_start([*own, "--run-id", log.stem], log) for log in logs]
        codes = [job.wait(timeout=300) for job in jobs]
        assert sorted(codes) == [0, 2], [log.read_text() for log in logs]
        refused = logs[codes.index(2)].read_text()
        assert f"run {logs[codes.index(0)].stem} (process" in refused
        check(connect(f"{tmp_path}/out"), 5, logs[codes.index(0)].stem)


READER = """
import sys, time
from pathlib import Path

from deltalake import DeltaTable

output, stop = sys.argv[1], Path(sys.argv[2])
queries = 0
while not stop.exists():
    shown = DeltaTable(f"{output}/similar_products").to_pyarrow_table().to_pydict()
    (run_id,), (price,) = set(shown["run_id"]), set(shown["price"])
    run = next(row for row in DeltaTable(f"{output}/runs").to_pyarrow_table().to_pylist() if row["run_id"] == run_id)
    versions = dict(run["versions"])
    images = DeltaTable(f"{output}/images", version=versions["images"]).to_pyarrow_table().to_pydict()
    assert set(images["price"]) == {price}, (run_id, price, set(images["price"]))
    assert set(shown["product_id"]) == set(images["product_id"]), run_id
    neighbours = DeltaTable(f"{output}/neighbours", version=versions["neighbours"]).to_pyarrow_table().to_pydict()
    assert set(neighbours["query_image_id"]) <= set(images["image_id"]), run_id
    queries += 1
    time.sleep(0.2)
print(queries)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_readers_never_see_two_runs_at_once(spark, tmp_path):
    """Every query reads the published run's tables as `runs.versions` names them, while other runs are published and
    taken back.
    """
    rows = draw_shop(tmp_path, products=8, images=1)
    output, stop = f"{tmp_path}/out", tmp_path / "stop"
    own = arguments(tmp_path, output, "gate.max_changed=1.0", "gate.max_products_lost=1.0")

    def night(number: int) -> None:
        # A night's prices say which night it is; every other night a product is missing.
        write_catalogue(tmp_path, [row | {"cost": f"{number + 1}.00"} for row in rows[: len(rows) - number % 2]])
        assert recommend.main([*own, "--run-id", f"night-{number}"]) == 0

    night(0)
    # A process of its own: a reader that keeps the interpreter lock while it waits would hold up the jobs.
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, output, str(stop)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for number in range(1, int(os.environ.get("VSSPARK_NIGHTS", "4"))):
            night(number)
            if number % 3 == 1:
                assert rollback.main(own) == 0
    finally:
        stop.touch()
    queries = [int(reader.communicate(timeout=60)[0] or -1) for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    print("queries", queries)
    assert min(queries) > 20
