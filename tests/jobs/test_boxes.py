"""Boxes and found foregrounds from the catalogue to the published table: what is embedded again, what is not, what is
set aside.
"""

from __future__ import annotations

import json
import shutil

import pytest
from deltalake import DeltaTable
from invariants import check, connect
from shops import arguments, draw_shop, write_catalogue

from jobs import embed, query, recommend

BOXED = ("--set", "catalogue.columns.box=frame")
QUERIES = (
    "select image_id, content_hash, box, predicted_category from image_embeddings order by 1",
    "select image_id, reason from quarantine where run_id = '{run}' order by 1",
    "select query_image_id, rank, item_image_id, round(similarity, 5) from neighbours order by 1, 2",
    "select product_id, rank, similar_product_id, round(similarity, 5), source from similar_products order by 1, 2",
)

pytestmark = pytest.mark.slow  # four runs; boxes themselves are tested in catalogue, images and embed


def _content(output: str, run: str) -> list[list[tuple]]:
    con = connect(output)
    return [con.sql(sql.format(run=run)).fetchall() for sql in QUERIES]


def _counts(output: str, run_id: str) -> dict[str, int]:
    return next(
        dict(row["counts"])
        for row in DeltaTable(f"{output}/runs").to_pyarrow_table().to_pylist()
        if row["run_id"] == run_id
    )


def _without_boxes(spark, output: str) -> None:
    """The tables as a release that knew of no boxes left them."""
    for table, partitions in (("images", []), ("embeddings", ["model_version"])):
        rows = spark.read.format("delta").load(f"{output}/{table}").drop("box").localCheckpoint()
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", True).partitionBy(*partitions).save(
            f"{output}/{table}"
        )


@pytest.fixture(scope="module")
def nights(spark, tmp_path_factory):
    """A night without boxes; one with three of them, a wrong one among them; one in which a box is another."""
    folder = tmp_path_factory.mktemp("boxes")
    rows = [row | {"frame": ""} for row in draw_shop(folder, products=10, images=1)]
    shutil.copy(folder / rows[0]["photo"], folder / "copy.jpg")
    rows.append(rows[0] | {"sku": "COPY", "photo": "copy.jpg"})
    write_catalogue(folder, rows)
    output = f"{folder}/out"
    own = arguments(folder, output, "gate.max_changed=1.0", "gate.max_drift=1.0")
    assert recommend.main([*own, "--run-id", "one"]) == 0
    _without_boxes(spark, output)
    rows[0]["frame"], rows[1]["frame"], rows[2]["frame"] = "40 40 240 300", "(0, 0, 144, 360)", "9000 0 9100 90"
    write_catalogue(folder, rows)
    assert recommend.main([*own, *BOXED, "--run-id", "two"]) == 0
    rows[1]["frame"] = "30 60 250 300"
    write_catalogue(folder, rows)
    assert recommend.main([*own, *BOXED, "--run-id", "three"]) == 0
    return folder, output, own


def test_a_boxed_copy_has_an_embedding_of_its_own(nights):
    _, output, _ = nights
    check(connect(output), 5, "three")
    sql = """select images.product_id, e.content_hash, e.box, embedding
        from image_embeddings e join images using (image_id)
        where product_id in ('P00', 'COPY') order by 1 desc"""
    boxed, whole = connect(output).sql(sql).fetchall()
    assert (boxed[1], boxed[2], whole[2]) == (whole[1], "40 40 240 300", None)
    assert boxed[3] != whole[3]


def test_only_what_has_another_box_is_embedded_again(nights):
    _, output, _ = nights
    assert _counts(output, "one")["inferred"] == 10  # a copy is embedded once
    assert _counts(output, "two")["inferred"] == 3  # of them one is refused, every night again
    assert _counts(output, "three")["inferred"] == 2
    assert (_counts(output, "three")["embedded"], _counts(output, "three")["quarantined"]) == (10, 1)


def test_a_wrong_box_is_set_aside_with_its_code(nights):
    _, output, _ = nights
    rows = (
        connect(output)
        .sql("select product_id, stage, reason, detail from quarantine where run_id = 'three'")
        .fetchall()
    )
    assert [row[:3] for row in rows] == [("P02", "decode", "bad_box")]
    assert (
        rows[0][3] == "box 9000 0 9100 90: nothing of it is inside the picture of 288x360, the shorter side must have 8"
    )


def test_the_result_is_that_of_a_run_from_scratch(nights):
    folder, output, own = nights
    fresh = [f"output.path={folder}/fresh" if part.startswith("output.path=") else part for part in own]
    assert recommend.main([*fresh, *BOXED, "--run-id", "fresh"]) == 0
    assert _content(f"{folder}/fresh", "fresh") == _content(output, "three")


def test_tables_without_boxes_are_read_by_a_stage_on_its_own(spark, nights):
    folder, output, own = nights
    shutil.copytree(output, f"{folder}/old")
    _without_boxes(spark, f"{folder}/old")
    old = [f"output.path={folder}/old" if part.startswith("output.path=") else part for part in own]
    assert embed.main([*old, "--run-id", "four"]) == 0
    assert _counts(f"{folder}/old", "four")["embedded"] == 11


def test_a_found_foreground_is_another_model_version_and_queries_are_cut_like_the_catalogue(nights, capsys):
    folder, output, own = nights
    before = {row[0] for row in connect(output).sql("select distinct model_version from similar_products").fetchall()}
    crop = [*own, "--set", "images.foreground=crop", "--run-id", "cropped"]
    assert recommend.main(crop) == 0
    after = {row[0] for row in connect(output).sql("select distinct model_version from similar_products").fetchall()}
    assert after == {f"{version}-crop-grabcut-1" for version in before}
    assert _counts(output, "cropped")["inferred"] == 10
    capsys.readouterr()
    assert query.main([*own, "--json", "--k", "1", str(folder / "p04-0.jpg")]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert (answer["similar"][0]["product_id"], round(answer["similar"][0]["similarity"], 4)) == ("P04", 1.0)
