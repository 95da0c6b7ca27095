"""`jobs/report.py`, on tables that the store published."""

from __future__ import annotations

import pytest
import small_shop

from jobs import report
from vsspark import schemas
from vsspark.config import OutputConfig
from vsspark.storage.store import Store


@pytest.fixture(scope="module")
def published(spark, shop_rows, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("published"))
    store = Store(spark, OutputConfig(path=path, format="parquet"))
    for name in ("images", "embeddings", "quarantine", "runs"):
        schema = getattr(schemas, name.upper())
        store.overwrite(name, spark.createDataFrame(shop_rows[name], schema), schema, small_shop.RUN_ID)
    similar = spark.createDataFrame(shop_rows["similar_products"], schemas.SIMILAR_PRODUCTS)
    store.publish("similar_products", similar, schemas.SIMILAR_PRODUCTS, small_shop.RUN_ID)
    return path


def test_the_report_of_the_published_run_is_drawn_again(published, tmp_path, capsys):
    html = tmp_path / "deep" / "report.html"
    options = [
        "--set",
        f"output.path={published}",
        "--set",
        f"report.path={html}",
        "--set",
        "output.format=parquet",
        "--set",
        "recommend.k=3",
        "--set",
        "report.examples=3",
    ]
    assert report.main(options) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(html)
    assert "7 of them have a full list of 3 similar products." in html.read_text()


def test_without_a_published_run_it_is_wrong_usage(spark, tmp_path, capsys):
    assert report.main(["--set", f"output.path={tmp_path}"]) == 2
    assert "nothing is published" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_names_its_key(published, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert (
        report.main(
            [
                "--set",
                f"output.path={published}",
                "--set",
                "output.format=parquet",
                "--set",
                f"report.path={tmp_path}/file/report.html",
            ]
        )
        == 2
    )
    assert f"report.path={tmp_path}/file/report.html cannot be written" in capsys.readouterr().err
