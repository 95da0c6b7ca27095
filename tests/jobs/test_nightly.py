"""Night after night on one output: nothing changed, a little changed, a feed that must not be published, two runs at
once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable
from invariants import check, connect, content
from shops import REPO, arguments, draw_shop, write_catalogue

from jobs import recommend, rollback
from vsspark.config import OutputConfig
from vsspark.storage.store import Store

TABLES = ("images", "embeddings", "quarantine", "neighbours", "similar_products")


def _versions(output: str) -> dict[str, int]:
    return {table: DeltaTable(f"{output}/{table}").version() for table in TABLES}


def _run(output: str, run_id: str) -> dict:
    rows = DeltaTable(f"{output}/runs").to_pyarrow_table().to_pylist()
    return next(
        row | {"counts": dict(row["counts"]), "metrics": dict(row["metrics"])}
        for row in rows
        if row["run_id"] == run_id
    )


def _change(folder, rows: list[dict]) -> list[dict]:
    """A night's changes: a photo replaced, one renamed, one touched, a product gone, one new with a copy of another's
    photo, a price.
    """
    shutil.copy(folder / rows[0]["photo"], folder / "replaced.tmp")
    data = bytearray((folder / rows[3]["photo"]).read_bytes())
    # Bytes after the picture's end: another content, one that decodes.
    (folder / rows[1]["photo"]).write_bytes(bytes(data) + b"\0\0")
    (folder / rows[4]["photo"]).rename(folder / "renamed.jpg")
    os.utime(folder / rows[5]["photo"])
    shutil.copy(folder / rows[6]["photo"], folder / "copy.jpg")
    rows = [dict(row) for row in rows]
    rows[4]["photo"] = "renamed.jpg"
    rows[7]["cost"] = "1.00"
    rows = [row for row in rows if row["sku"] != rows[-1]["sku"]]
    return [*rows, rows[0] | {"sku": "NEW", "photo": "copy.jpg"}]


@pytest.fixture(scope="module")
def nights(spark, tmp_path_factory):
    """One published run, and then: a night without changes, a night of changes."""
    folder = tmp_path_factory.mktemp("nights")
    rows = draw_shop(folder, products=14, images=1)
    output = f"{folder}/out"
    own = arguments(folder, output, "gate.max_changed=1.0", "gate.max_drift=1.0", "gate.max_products_lost=0.3")
    assert recommend.main([*own, "--run-id", "one"]) == 0
    first = _versions(output)
    assert recommend.main([*own, "--run-id", "quiet"]) == 0
    quiet = _versions(output)
    write_catalogue(folder, _change(folder, rows))
    assert recommend.main([*own, "--run-id", "two"]) == 0
    return folder, output, own, first, quiet


def test_a_night_without_changes_writes_no_table(nights):
    _, output, _, first, quiet = nights
    assert quiet == first
    run = _run(output, "quiet")
    assert (run["status"], run["message"]) == ("unchanged", "nothing has changed since run one, which stays published")
    assert "inferred" not in run["counts"]


def test_only_new_contents_see_the_network_and_only_touched_queries_are_searched_again(nights):
    _, output, _, _, _ = nights
    check(connect(output), 5, "two")
    counts = _run(output, "two")["counts"]
    assert counts["embedded"] == 14
    # The replaced photo: the renamed, the touched and the copied one are known by content.
    assert counts["inferred"] == 1


def test_the_result_is_that_of_a_run_from_scratch(spark, nights, tmp_path):
    _, output, own, _, _ = nights
    fresh = [f"output.path={tmp_path}/fresh" if part.startswith("output.path=") else part for part in own]
    assert recommend.main([*fresh, "--run-id", "fresh"]) == 0
    assert content(f"{tmp_path}/fresh") == content(output)
    assert _run(f"{tmp_path}/fresh", "fresh")["counts"]["inferred"] == 13  # a copy is embedded once


def _halve(folder) -> str:
    """Leaves seven products in the feed; returns the feed as it was."""
    whole = (folder / "catalogue.csv").read_text(encoding="utf-8")
    (folder / "catalogue.csv").write_text("\n".join(whole.splitlines()[:8]) + "\n", encoding="utf-8")
    return whole


def test_a_refused_feed_leaves_every_table_with_the_published_run(spark, nights, capsys):
    folder, output, own, _, _ = nights
    before = content(output)
    whole = _halve(folder)
    assert recommend.main([*own, "--run-id", "half"]) == 3
    (folder / "catalogue.csv").write_text(whole, encoding="utf-8")
    assert "gate.max_products_lost allows 30.0%" in capsys.readouterr().err
    assert content(output) == before
    assert _run(output, "half")["status"] == "refused"
    outcome = json.loads(Path(output, "outcome.json").read_text(encoding="utf-8"))
    assert (outcome["run_id"], outcome["exit_code"], outcome["published"]) == ("half", 3, False)
    assert not Path(output, "_staging").exists()


@pytest.mark.slow
def test_force_is_on_record_and_an_earlier_run_comes_back_with_all_its_tables(spark, nights, monkeypatch):
    """Forced by a user id without a name: in a container it may have no entry in /etc/passwd."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    folder, output, own, _, _ = nights
    store = Store(spark, OutputConfig(path=output))
    before = content(output)
    whole = _halve(folder)
    assert recommend.main([*own, "--run-id", "half-forced", "--force", "half the range is discontinued"]) == 0
    forced = _run(output, "half-forced")
    assert forced["status"] == "published"
    assert forced["forced_by"].endswith(": half the range is discontinued")
    assert "gate.max_products_lost" in forced["message"]
    assert store.read_published("images").count() == 7
    # Back: the earlier run's tables come back together, and a night with the earlier feed then has nothing to do.
    assert rollback.main([*own, "--to", "two"]) == 0
    assert content(output) == before
    (folder / "catalogue.csv").write_text(whole, encoding="utf-8")
    assert recommend.main([*own, "--run-id", "again"]) == 0
    assert _run(output, "again")["status"] == "unchanged"


def test_an_empty_feed_is_refused_whatever_is_forced(spark, nights, capsys):
    folder, output, own, _, _ = nights
    before, whole = content(output), (folder / "catalogue.csv").read_text(encoding="utf-8")
    (folder / "catalogue.csv").write_text(whole.splitlines()[0] + "\n", encoding="utf-8")
    assert recommend.main([*own, "--run-id", "empty", "--force", "must go out"]) == 2
    (folder / "catalogue.csv").write_text(whole, encoding="utf-8")
    assert "is empty" in capsys.readouterr().err
    assert content(output) == before


def test_while_one_run_writes_another_says_why_it_does_not(spark, nights, capsys):
    _, output, own, _, _ = nights
    before = content(output)
    code = f"""
import sys
from vsspark.storage.lock import OutputLock
OutputLock(None, {output!r}, "the-first").acquire()
print("held", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert recommend.main([*own, "--run-id", "second"]) == 2
    assert f"run the-first (process {holder.pid}" in capsys.readouterr().err
    holder.kill()
    holder.wait()
    assert content(output) == before
    assert recommend.main([*own, "--run-id", "third"]) == 0  # what a dead process held is free at once
    assert _run(output, "third")["status"] == "unchanged"


@pytest.mark.slow
def test_a_run_called_twice_and_stopped_between_two_tables_does_not_spoil_the_next(spark, tmp_path, monkeypatch):
    rows = draw_shop(tmp_path, products=14, images=1)
    output = f"{tmp_path}/out"
    own = arguments(tmp_path, output, "gate.max_changed=1.0", "gate.max_drift=1.0", "gate.max_products_lost=1.0")
    assert recommend.main([*own, "--run-id", "one"]) == 0
    write_catalogue(tmp_path, _change(tmp_path, rows))

    def stopped(*_):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr("vsspark.job.neighbours.state_of", stopped)
        patched.setattr("vsspark.job.pipeline._restore", lambda *_: None)  # whoever is killed restores nothing
        assert recommend.main([*own, "--run-id", "one"]) == 1
    write_catalogue(tmp_path, rows[2:])
    assert recommend.main([*own, "--run-id", "two"]) == 0
    fresh = [f"output.path={tmp_path}/fresh" if part.startswith("output.path=") else part for part in own]
    assert recommend.main([*fresh, "--run-id", "fresh"]) == 0
    assert content(f"{tmp_path}/fresh") == content(output)


@pytest.mark.slow
def test_a_sold_out_product_that_leaves_takes_its_lists_along(spark, tmp_path):
    rows = [
        row | {"stock": "no" if number == 3 else "yes"}
        for number, row in enumerate(draw_shop(tmp_path, products=10, images=1))
    ]
    output = f"{tmp_path}/out"
    own = [*arguments(tmp_path, output, "recommend.in_stock_only=true"), "--set", "catalogue.columns.in_stock=stock"]
    write_catalogue(tmp_path, rows)
    assert recommend.main([*own, "--run-id", "one"]) == 0
    write_catalogue(tmp_path, rows[:3] + rows[4:])
    assert recommend.main([*own, "--run-id", "two"]) == 0
    strangers = "select count(*) from neighbours where query_image_id not in (select image_id from images)"
    assert connect(output).sql(strangers).fetchall() == [(0,)]


@pytest.mark.slow
def test_fitted_clusters_stay_until_the_catalogue_is_another(spark, tmp_path, caplog):
    rows = draw_shop(tmp_path, products=12, images=1)
    output = f"{tmp_path}/out"
    own = arguments(
        tmp_path,
        output,
        "blocking.by=cluster",
        "blocking.clusters=3",
        "gate.max_changed=1",
        "gate.max_drift=1",
        "gate.max_products_lost=1",
    )
    heads = {}
    new_category = [*rows[:7], rows[7] | {"kind": "kimono"}]  # clusters owe the labels nothing
    for night, kept in (("one", rows[:7]), ("two", new_category), ("three", rows)):
        write_catalogue(tmp_path, kept)
        assert recommend.main([*own, "--run-id", night]) == 0
        (heads[night],) = {
            row[0] for row in connect(output).sql("select distinct head from images where head is not null").fetchall()
        }
    assert heads["one"] == heads["two"]
    assert heads["three"] != heads["two"]  # 12 images, it was fitted to 7
    # From scratch, with the head that is kept: the same table.
    before = content(output)
    for table in (*TABLES, "_searched", "runs"):
        shutil.rmtree(f"{output}/{table}")
    assert recommend.main([*own, "--run-id", "scratch"]) == 0
    assert content(output) == before
