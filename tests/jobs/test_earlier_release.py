"""An output that release 0.1 wrote: readers read it as it is, the next night turns it into today's tables."""

from __future__ import annotations

import json
import shutil

import pytest
from invariants import check, connect, content
from shops import arguments, draw_shop, write_catalogue

from jobs import query, recommend, report
from vsspark.config import OutputConfig
from vsspark.schemas import CATALOGUE_COLUMNS
from vsspark.storage.store import Store

OLD_EMBEDDINGS = """i.image_id, i.content_hash, i.model_version, e.embedding, i.predicted_category,
    i.category_probabilities, i.head, i.uri AS source_uri, e.size_bytes, i.fingerprint, i.box, e.width, e.height, e.run_id"""


def _as_release_0_1(spark, output: str, form: str) -> None:
    """Rewrites `images` and `embeddings` as that release had them: a row of `embeddings` per image."""
    store = Store(spark, OutputConfig(path=output, format=form))
    images, embeddings = store.read("images"), store.read("embeddings")
    rows = spark.sql(
        f"SELECT {OLD_EMBEDDINGS} FROM {{i}} i JOIN {{e}} e ON i.content_hash = e.content_hash "
        "AND i.model_version = e.model_version AND i.box <=> e.box",
        i=images,
        e=embeddings,
    ).localCheckpoint()
    images = images.select(CATALOGUE_COLUMNS).localCheckpoint()
    for table, frame, by in (("images", images, []), ("embeddings", rows, ["model_version"])):
        if form == "parquet":
            shutil.rmtree(f"{output}/{table}")
        writer = frame.write.format(form).mode("overwrite").partitionBy(*by)
        (writer.option("overwriteSchema", True) if form == "delta" else writer).save(f"{output}/{table}")
    run = Store(spark, OutputConfig(path=output, format=form)).published_run()
    store = Store(spark, OutputConfig(path=output, format=form))
    store.write_run_row(run | {"versions": store.versions(), "inputs": "of release 0.1"})


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["delta", "parquet"])
def old_night(request, spark, tmp_path_factory):
    """(folder, rows of the catalogue, arguments, what the night published) of a night of that release."""
    folder = tmp_path_factory.mktemp("old")
    rows = draw_shop(folder, products=8, images=1)
    shutil.copy(folder / rows[0]["photo"], folder / "copy.jpg")
    rows.append(rows[0] | {"sku": "COPY", "photo": "copy.jpg"})
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    rows.append(rows[0] | {"sku": "BROKEN", "photo": "broken.jpg"})
    write_catalogue(folder, rows)
    own = arguments(folder, f"{folder}/out", f"output.format={request.param}", "gate.max_quarantined=0.5")
    assert recommend.main([*own, "--run-id", "old"]) == 0
    expected = content(f"{folder}/out")
    _as_release_0_1(spark, f"{folder}/out", request.param)
    return folder, rows, own, expected


def test_readers_read_it_and_the_next_night_goes_on_from_it(old_night, capsys):
    folder, rows, own, expected = old_night
    capsys.readouterr()
    assert query.main([*own, "--json", "--k", "2", f"{folder}/{rows[0]['photo']}"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert {similar["product_id"] for similar in answer["similar"]} == {"P00", "COPY"}
    assert report.main(own) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "not_an_image" in page

    capsys.readouterr()
    assert recommend.main([*own, "--run-id", "new"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if " migrate " in line]
    assert len(lines) == 1
    con = connect(f"{folder}/out")
    check(con, 5, "new")
    counts = con.sql("select counts from runs where run_id = 'new'").fetchall()[0][0]
    assert dict(counts)["inferred"] == 1  # the broken one
    assert content(f"{folder}/out") == expected
    assert con.sql("select count(*) from embeddings").fetchall() == [(8,)]
    assert recommend.main([*own, "--run-id", "again"]) == 0
    assert connect(f"{folder}/out").sql("select status from runs where run_id = 'again'").fetchall() == [("unchanged",)]
