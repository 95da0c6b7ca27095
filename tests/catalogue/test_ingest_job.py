"""`jobs/ingest.py` on a feed with rows that cannot be read, into a folder whose name could be a pattern."""

from __future__ import annotations

import pytest

from jobs import ingest
from vsspark.storage.filesystems import PLAIN_PATHS


@pytest.fixture(scope="module")
def feed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "new [1] {a} *"
    folder.mkdir()
    rows = "".join(f"P{i};{i}.jpg;{i},50\n" for i in range(9))
    (folder / "feed.csv").write_text("product_id;image;preis\n" + rows + "Q1;a.jpg\nQ2;b.jpg;viel\n\n")
    return folder


def _arguments(feed, *more):
    sets = [f"catalogue.table={feed}/feed.csv", "catalogue.columns.price=preis", f"output.path={feed}/out", *more]
    return [word for item in sets for word in ("--set", item)]


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_rejected_rows_are_a_table(spark, feed, kind):
    out = f"{feed}/{kind}"
    arguments = _arguments(feed, f"output.path={out}", f"output.format={kind}")
    assert ingest.main([*arguments, "--run-id", "night-1"]) == 0
    reader = spark.read.options(**PLAIN_PATHS).format(kind)
    rejected = sorted((r.line, r.column, r.text, r.run_id) for r in reader.load(f"{out}/rejected_rows").collect())
    assert rejected == [(11, None, "Q1;a.jpg", "night-1"), (12, "preis", "viel", "night-1")]
    assert reader.load(f"{out}/images").count() == 9
    run = reader.load(f"{out}/runs").first()
    assert (run.counts["rejected_rows"], run.counts["blank_rows"], run.counts["products"]) == (2, 1, 9)


def test_a_check_writes_nothing(spark, feed, capsys):
    assert ingest.main([*_arguments(feed), "--check"]) == 0
    said = capsys.readouterr().out
    assert "2 rejected rows" in said
    assert "viel" in said
    assert not (feed / "out").exists()
    assert ingest.main([*_arguments(feed, "catalogue.max_rejected_rows=1"), "--check"]) == 2
    assert "2 of 11 rows" in capsys.readouterr().err
    assert ingest.main(["--check"]) == 2
    assert "expected catalogue.table" in capsys.readouterr().err
