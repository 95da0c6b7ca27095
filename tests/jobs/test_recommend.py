"""The main job on a small shop of drawn pictures with every kind of bad file in it: real Spark, real Delta, the
shipped network.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil

import numpy as np
import pytest
from deltalake import DeltaTable
from invariants import check, connect
from shops import BAD, ODD, REPO, arguments, draw_shop, write_catalogue

from jobs import embed, ingest, neighbours, publish, recommend, rollback
from vsspark.config import OutputConfig, load_config
from vsspark.job.gate import gate_stage
from vsspark.job.neighbours import NeighboursResult
from vsspark.job.run import Run
from vsspark.storage.run_tables import RunTables
from vsspark.storage.store import Store


def test_the_published_table_keeps_every_promise(published):
    _, output, rows = published
    con = connect(output)
    check(con, 5, "night-1")
    assert con.execute("select count(*) from images").fetchall()[0][0] == len(rows)
    assert con.sql(
        "select distinct run_id, run_date::varchar, model_version is not null from similar_products"
    ).fetchall() == [("night-1", "2026-03-01", True)]
    prices = con.sql("select distinct product_id, price from similar_products order by 1").fetchall()
    assert dict(prices)["P03"] == pytest.approx(float(next(r["cost"] for r in rows if r["sku"] == "P03")))


def test_every_bad_file_is_quarantined_with_its_reason_and_every_odd_one_is_used(published):
    folder, output, _ = published
    con = connect(output)
    found = {
        uri.removeprefix(f"{folder}/"): (reason, detail, product)
        for uri, reason, detail, product in con.sql("select uri, reason, detail, product_id from quarantine").fetchall()
    }
    assert {name: reason for name, (reason, _, _) in found.items()} == BAD
    assert all(detail and product == "BAD" for _, detail, product in found.values())
    used = con.sql("select uri from images where content_hash is not null and product_id = 'ODD'").fetchall()
    assert sorted(uri.removeprefix(f"{folder}/") for (uri,) in used) == sorted(ODD)


def test_odd_files_embed_as_the_picture_they_show(published):
    """Every odd file but the stretched one shows the first product's picture: as near to it as JPEG and palettes
    allow.
    """
    _, output, rows = published
    con = connect(output)
    vectors = {
        uri.rsplit("/", 1)[-1]: np.array(e)
        for uri, e in con.sql("select uri, embedding from image_embeddings").fetchall()
    }
    original = vectors[rows[0]["photo"]]
    for name in ODD:
        if name != "wide.jpg":  # the palette is 216 colours, dithered; another product comes to .49
            assert vectors[name] @ original > (0.8 if name == "palette.png" else 0.97), name


def test_the_run_is_on_record(published):
    folder, output, rows = published
    run = DeltaTable(f"{output}/runs").to_pyarrow_table().to_pylist()[0]
    counts = dict(run["counts"])
    assert (run["run_id"], run["status"], run["message"]) == ("night-1", "published", None)
    assert (counts["images"], counts["embedded"], counts["quarantined"]) == (len(rows), len(rows) - len(BAD), len(BAD))
    assert {"ingest", "embed", "neighbours", "products", "gate", "publish"} <= set(dict(run["seconds"]))
    assert json.loads(run["config"])["recommend"]["k"] == 5
    assert "night-1" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_readmes_queries_run_on_the_table(spark, published):
    _, output, _ = published
    queries = re.findall(r"```sql\n(.*?);\n```", (REPO / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    answers = [
        spark.sql(query.replace("build/demo-out", output).replace("P0000012", "P03")).collect() for query in queries
    ]
    assert [r["rank"] for r in answers[0]] == [1, 2, 3, 4, 5]
    assert sum(r["products"] for r in answers[1]) == 13
    assert {r["reason"]: r["pictures"] for r in answers[2]} == dict.fromkeys(BAD.values(), 1)
    assert {(r["run_id"], r["status"]) for r in answers[2]} == {("night-1", "published")}


@pytest.mark.slow
def test_the_stages_one_by_one_give_the_same_table(spark, published, tmp_path):
    folder, output, _ = published
    own = arguments(folder, f"{tmp_path}/out", "gate.max_quarantined=0.5")
    for number, job in enumerate((ingest, embed, neighbours, publish)):
        assert job.main([*own, "--run-id", f"step-{number}"]) == 0
    columns = (
        "product_id, rank, similar_product_id, round(similarity, 5), image_uri, similar_image_uri, category, source"
    )
    sql = f"select {columns} from similar_products order by 1, 2"
    assert connect(f"{tmp_path}/out").sql(sql).fetchall() == connect(output).sql(sql).fetchall()


@pytest.mark.slow
def test_the_same_run_again_changes_nothing_and_rollback_brings_the_earlier_one_back(spark, tmp_path):
    rows = draw_shop(tmp_path, products=6, images=1)
    output = f"{tmp_path}/out"
    own = arguments(tmp_path, output)
    for run_id in ("one", "one"):
        assert recommend.main([*own, "--run-id", run_id]) == 0
    first = connect(output).sql("select * from similar_products order by product_id, rank").fetchall()
    assert connect(output).sql("select run_id from runs").fetchall() == [("one",)]
    write_catalogue(tmp_path, rows[:-1])
    assert recommend.main([*own, "--run-id", "two"]) == 0
    check(connect(output), 5, "two")
    assert len(connect(output).sql("select * from similar_products").fetchall()) == 5 * 4
    assert rollback.main([*own, "--run-id", "back"]) == 0
    assert connect(output).sql("select * from similar_products order by product_id, rank").fetchall() == first
    assert connect(output).sql("select message from runs where status = 'rolled_back'").fetchall() == [
        ("one is current again",)
    ]
    assert rollback.main([*own, "--run-id", "back-again"]) == 2  # nothing was published before the first
    assert rollback.main([*own, "--to", "three"]) == 2
    assert rollback.main([*own, "--run-id", "forward", "--to", "two"]) == 0
    assert connect(output).sql("select distinct run_id from similar_products").fetchall() == [("two",)]


@pytest.mark.slow
def test_the_gate_keeps_a_bad_run_from_the_storefront(published, tmp_path, capsys):
    folder, output, rows = published
    shutil.copytree(output, tmp_path / "out")
    before = connect(f"{tmp_path}/out").sql("select * from similar_products order by product_id, rank").fetchall()
    good = [row for row in rows if row["sku"].startswith("P")]
    write_catalogue(tmp_path, [*good[:12], *({**row, "photo": "gone-" + row["photo"]} for row in good[12:])])
    own = arguments(tmp_path, f"{tmp_path}/out", f"catalogue.images_root={folder}", "gate.max_products_lost=1.0")
    assert recommend.main([*own, "--run-id", "bad"]) == 3
    assert "50.0% of the images are quarantined, gate.max_quarantined allows 20.0%" in capsys.readouterr().err
    con = connect(f"{tmp_path}/out")
    assert con.sql("select * from similar_products order by product_id, rank").fetchall() == before
    assert con.sql("select status from runs where run_id = 'bad'").fetchall() == [("refused",)]
    assert not (tmp_path / "out/_staging").exists()
    outcome = json.loads((tmp_path / "out/outcome.json").read_text(encoding="utf-8"))
    assert (outcome["run_id"], outcome["exit_code"], outcome["published"]) == ("bad", 3, False)


def test_a_wrong_images_root_is_refused_with_the_key_to_look_at(spark, tmp_path, capsys):
    draw_shop(tmp_path, products=3, images=1)
    assert recommend.main(arguments(tmp_path, f"{tmp_path}/out", f"catalogue.images_root={tmp_path}/elsewhere")) == 3
    message = capsys.readouterr().err
    assert "missing (3 images)" in message
    assert "catalogue.images_root" in message


def test_a_run_id_that_would_lead_to_another_folder_is_refused(tmp_path, capsys):
    draw_shop(tmp_path, products=2, images=1)
    for run_id in ("..", "a/b", "x*", ""):
        assert recommend.main([*arguments(tmp_path, f"{tmp_path}/out"), "--run-id", run_id]) == 2
        assert "--run-id" in capsys.readouterr().err


@pytest.mark.slow
def test_only_what_is_in_stock_is_recommended_even_when_few_neighbours_are_kept(spark, tmp_path):
    rows = [row | {"stock": "no" if row["sku"] == "P02" else "yes"} for row in draw_shop(tmp_path, products=6)]
    write_catalogue(tmp_path, rows)
    stock = ["catalogue.columns.in_stock=stock", "recommend.in_stock_only=true", "knn.k=1"]
    assert recommend.main([*arguments(tmp_path, f"{tmp_path}/out", *stock), "--run-id", "stock"]) == 0
    con = connect(f"{tmp_path}/out")
    assert con.sql(
        "select similar_product_id from similar_products where product_id = 'P02' order by 1"
    ).fetchall() == [(f"P0{i}",) for i in (0, 1, 3, 4, 5)]
    assert con.sql("select count(*) from similar_products where similar_product_id = 'P02'").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (["catalogue.columns.image=picture"], "catalogue.columns.image=picture"),
        (["catalogue.table=nowhere.csv"], "nowhere.csv"),
        (["encoder.name=resnet"], "resnet"),
        (["knn.k=none"], "knn.k"),
        (["output.path=/dev/null/out"], "/dev/null/out"),
        (["report.path=/dev/null/report.html"], "report.path=/dev/null/report.html"),
        (["mlflow.tracking_uri=sqlite:////dev/null/mlflow.db"], "mlflow.tracking_uri"),
        (["catalogue.columns.price=photo"], "photo"),
        (["catalogue.table={folder}/p00-0.jpg"], "expected CSV"),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_exit_code_2(spark, tmp_path, capsys, change, expected):
    draw_shop(tmp_path, products=2, images=1)
    assert recommend.main(arguments(tmp_path, f"{tmp_path}/out", *[c.format(folder=tmp_path) for c in change])) == 2
    assert not (tmp_path / "out/similar_products").exists()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("recommend: ")
    assert expected in last


def test_one_category_without_labels_in_parquet_without_backfill(spark, tmp_path):
    """The options the other tests leave alone, together: no category column, clusters, parquet, every metric's
    similarity below 1.
    """
    draw_shop(tmp_path, products=8, images=1)
    own = [
        a
        for a in arguments(
            tmp_path,
            f"{tmp_path}/out",
            "output.format=parquet",
            "recommend.backfill=false",
            "blocking.by=cluster",
            "blocking.clusters=1",
        )
    ]
    assert (
        recommend.main([*own, "--set", "catalogue.columns.category=null", "--set", "knn.metric=l2", "--run-id", "p"])
        == 0
    )
    rows = spark.read.parquet(f"{tmp_path}/out/similar_products").collect()
    assert len(rows) == 8 * 5
    assert {r.source for r in rows} == {"visual"}
    assert {r.category for r in rows} == {"cluster-0000"}
    assert all(0 < r.similarity <= 1 for r in rows)


@pytest.mark.parametrize(("recall", "refused"), [(0.98, True), (0.995, False)])
def test_the_gate_judges_the_recall_that_the_search_measured(spark, published, recall, refused):
    _, output, _ = published
    store = Store(spark, OutputConfig(path=output))
    config = load_config(None, ["gate.min_recall=0.99", "gate.max_quarantined=0.5", "recommend.k=5"])
    run = Run(spark, config, "judge", dt.date(2026, 3, 1))
    search = NeighboursResult("m", counts={}, metrics={"recall_at_k": recall})
    run.do("neighbours", "as measured", lambda: search)
    tables, rows = RunTables(store, "judge"), store.read("similar_products")
    verdict = gate_stage(tables, rows, config, "night-1", (run.metrics, None)).verdict
    assert [f"{recall:.4f}" in refusal for refusal in verdict.refusals if "recall" in refusal] == [True] * refused
