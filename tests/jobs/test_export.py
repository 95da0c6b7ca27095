"""Exports read back are the table: JSON lines and bulk lines as they are, PostgreSQL in a real server where there is one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from invariants import connect
from pyspark.sql import functions as F
from shops import arguments

from jobs import export
from vsspark.config import OutputConfig
from vsspark.schemas import SIMILAR_PRODUCTS
from vsspark.storage.store import Store

COLUMNS = "product_id, rank, similar_product_id, similarity, similar_image_uri, similar_price, source, reason"


@pytest.fixture
def shop(published, tmp_path):
    """(output of its own, call of the job)."""
    _, output, _ = published
    shutil.copytree(output, tmp_path / "out")

    def call(kind, *more):
        own = arguments(tmp_path, f"{tmp_path}/out")
        assert export.main([*own, "--to", f"{tmp_path}/to-{kind}", "--format", kind, *more]) == 0
        latest = json.loads((tmp_path / f"to-{kind}/latest.json").read_text())
        folder = tmp_path / f"to-{kind}" / latest["folder"]
        return folder, json.loads((folder / "manifest.json").read_text())

    return tmp_path, call


def publish_changes(spark, folder):
    """A second run: a product has left, one has another list, one is new and has a name that wants escapes."""
    store = Store(spark, OutputConfig(path=f"{folder}/out"))
    rows = store.read("similar_products")
    names = sorted(row.product_id for row in rows.select("product_id").distinct().collect())
    new = rows.where(F.col("product_id") == names[2]).withColumn("product_id", F.lit("new\\\t'product'\nü"))
    rows = rows.where(F.col("product_id") != names[0]).unionByName(new)
    rows = rows.where((F.col("product_id") != names[1]) | (F.col("rank") < 3)).withColumn("run_id", F.lit("night-2"))
    versions = store.versions()
    store.publish("similar_products", rows.localCheckpoint(), SIMILAR_PRODUCTS, "night-2", versions)
    store.write_run_row(store.run_row("night-1") | {"run_id": "night-2", "versions": store.versions()})
    return names


def table(folder):
    return connect(f"{folder}/out").sql(f"select {COLUMNS} from similar_products order by 1, 2").fetchall()


def check_files(folder, manifest):
    """Every file of the manifest is as it says, and no other is there."""
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".", "_"))}
    assert there == {file["name"] for file in manifest["files"]} | {"manifest.json"}
    for file in manifest["files"]:
        data = (folder / file["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])


def lines(folder):
    return [
        json.loads(line) for path in sorted(folder.glob("changed/part-*")) for line in path.read_text().splitlines()
    ]


def as_rows(lists):
    return sorted(
        (product, entry["rank"], entry["similar_product_id"], pytest.approx(entry["similarity"]))
        for product, similar in lists.items()
        for entry in similar
    )


def same_lists(lists, folder):
    wanted = [row[:4] for row in table(folder)]
    assert [row[:3] for row in as_rows(lists)] == [row[:3] for row in wanted]
    assert [row[3] for row in as_rows(lists)] == [row[3] for row in wanted]


def test_json_lines_hold_the_table_and_a_delta_what_differs(spark, shop):
    folder, call = shop
    whole, manifest = call("jsonl")
    check_files(whole, manifest)
    lists = {line["product_id"]: line["similar"] for line in lines(whole)}
    same_lists(lists, folder)
    assert (manifest["kind"], manifest["run_id"], manifest["counts"]["products"]) == ("whole", "night-1", len(lists))
    assert call("jsonl") == (whole, manifest)  # nothing new: nothing is written
    names = publish_changes(spark, folder)
    delta, manifest = call("jsonl")
    check_files(delta, manifest)
    assert (manifest["kind"], manifest["base"]) == ("delta", "night-1")
    assert manifest["counts"] == {"products": 2, "gone": 1, "rows": 2 + len(lists[names[2]])}
    for line in lines(delta):
        lists[line["product_id"]] = line["similar"]
    same_lists({product: similar for product, similar in lists.items() if similar}, folder)
    assert call("jsonl", "--whole")[1]["kind"] == "whole"


def test_bulk_lines_fill_a_new_index_and_change_the_one_behind_the_alias(spark, shop):
    folder, call = shop
    whole, manifest = call("elasticsearch", "--name", "similar")
    check_files(whole, manifest)
    index: dict = {}

    def bulk(part, name):
        actions = iter(lines(part))
        for action in actions:
            ((kind, about),) = action.items()
            assert about["_index"] == name
            if kind == "index":
                index[about["_id"]] = next(actions)["similar"]
            else:
                del index[about["_id"]]

    bulk(whole, "similar-night-1")
    same_lists(index, folder)
    actions = json.loads((whole / "alias.json").read_text())["actions"]
    assert actions[-1] == {"add": {"index": "similar-night-1", "alias": "similar"}}
    publish_changes(spark, folder)
    delta, manifest = call("elasticsearch", "--name", "similar")
    check_files(delta, manifest)
    bulk(delta, "similar")
    same_lists(index, folder)


def test_what_cannot_be_exported_is_one_message(shop, capsys):
    folder, call = shop
    call("jsonl")
    own = [*arguments(folder, f"{folder}/out"), "--to", f"{folder}/to-jsonl"]
    assert export.main([*own, "--format", "postgres"]) == 2
    assert "it holds exports as jsonl" in capsys.readouterr().err
    assert export.main([*own, "--format", "postgres", "--name", "a; drop table b"]) == 2
    assert "--name" in capsys.readouterr().err


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A command that runs psql on a server of its own, on a socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    for path in (folder, *list(folder.parents)[:3]):
        path.chmod(0o755)
    (folder / "data").mkdir(mode=0o700)
    if as_user:
        shutil.chown(folder, "nobody", "nogroup")
        shutil.chown(folder / "data", "nobody", "nogroup")

    def run(*command, cwd=folder):
        return subprocess.run([*as_user, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=120)

    bin_ = found[-1]
    assert run(bin_ / "initdb", "-D", folder / "data", "-U", "shop", "--auth=trust", "-E", "UTF8").returncode == 0
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    started = run(bin_ / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
    assert started.returncode == 0, (folder / "log").read_text()
    try:
        yield lambda *more, cwd=folder: subprocess.run(
            [bin_ / "psql", "-h", folder, "-U", "shop", "-d", "postgres", "-X", "-q", "-At", *more],
            cwd=cwd, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        run(bin_ / "pg_ctl", "-D", folder / "data", "-w", "-m", "immediate", "stop")


@pytest.mark.slow
def test_postgres_holds_the_table_after_every_export(spark, shop, postgres):
    folder, call = shop

    def load(part):
        return postgres("-f", "load.sql", cwd=part)

    def held():
        names = "product_id, rank, similar_product_id, similar_image_uri, similar_price, source, reason, similarity"
        query = (
            f'select json_agg(json_build_array({names}) order by product_id collate "C", rank) from similar_products'
        )
        return json.loads(postgres("-c", query).stdout)

    def wanted():
        rows = table(folder)
        return [[*row[:3], *row[4:], pytest.approx(row[3], rel=1e-6)] for row in rows]

    whole, manifest = call("postgres")
    check_files(whole, manifest)
    assert load(whole).returncode == 0
    assert held() == wanted()
    publish_changes(spark, folder)
    delta, manifest = call("postgres")
    check_files(delta, manifest)
    assert load(delta).returncode == 0
    assert held() == wanted()
    again = load(delta)  # the table holds night-2 now
    assert again.returncode != 0
    assert "does not hold run night-1" in again.stderr
    assert held() == wanted()
    # A rollback's way back is a delta like any other.
    Store(spark, OutputConfig(path=f"{folder}/out")).restore("similar_products", "night-1")
    back, manifest = call("postgres")
    assert (manifest["run_id"], manifest["base"], manifest["kind"]) == ("night-1", "night-2", "delta")
    assert load(back).returncode == 0
    assert held() == wanted()
    assert load(call("postgres", "--whole")[0]).returncode == 0
    assert held() == wanted()
