"""A query and a report hold on to one run, also where the next one is published while they work."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import small_shop

from vsspark import schemas
from vsspark.config import load_config
from vsspark.errors import StorageError
from vsspark.query import ask
from vsspark.query.pictures import PictureEmbedding
from vsspark.report.build import write_report
from vsspark.storage.store import Store

FIRST, SECOND = small_shop.RUN_ID, "20261122-020000"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return small_shop.published_tables(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def config(tmp_path):
    sets = ["recommend.k=3", "report.examples=3", "report.neighbours=3", "blocking.by=none"]
    return load_config(None, [*sets, f"output.path={tmp_path}/out", f"report.path={tmp_path}/report.html"])


def _publish(store, config, rows, run_id, mark, status="published"):
    """The small shop as a run leaves it, its steps in their order, or as it is before the last one; mark: before
    every product's id.
    """
    frames = {}
    for name, columns in {"images": (1,), "embeddings": (), "quarantine": (1,), "similar_products": (0, 3)}.items():
        marked = [
            tuple(mark + value if i in columns else run_id if value == FIRST else value for i, value in enumerate(row))
            for row in rows[name]
        ]
        frames[name] = store.spark.createDataFrame(marked, getattr(schemas, name.upper())).coalesce(1)
    for name in ("images", "embeddings", "quarantine"):
        store.overwrite(name, frames[name], getattr(schemas, name.upper()), run_id)

    def record(status):
        row = small_shop.run_row() | {
            "run_id": run_id,
            "status": status,
            "config": json.dumps(config.public()),
            "versions": store.versions(),
        }
        df = store.spark.createDataFrame([tuple(row[name] for name in schemas.RUNS.names)], schemas.RUNS).coalesce(1)
        store.replace("runs", df, schemas.RUNS, by="run_id", value=run_id, run_id=run_id)

    if status == "publishing":
        record(status)  # before the commit: it knows the lists' version of the run before
    store.publish("similar_products", frames["similar_products"], schemas.SIMILAR_PRODUCTS, run_id)
    if status == "published":
        record(status)


@pytest.mark.slow
def test_both_read_the_run_they_began_with(spark, config, rows, tmp_path, monkeypatch):
    store = Store(spark, config.output)
    with pytest.raises(StorageError, match="nothing is published"):
        store.published_run()
    _publish(store, config, rows, FIRST, "old ")
    run = store.published_run()

    def embed_while_another_is_published(images, *_):
        _publish(store, config, rows, SECOND, "new ", status="publishing")
        return [PictureEmbedding(np.array([1, 0], np.float32), None, None, None) for _ in images]

    monkeypatch.setattr(ask, "_same_encoder", lambda *_: SimpleNamespace(categories=None))
    monkeypatch.setattr(ask, "embed_pictures", embed_while_another_is_published)
    run_id, (answer,) = ask.answer_images(config, {}, ["any.png"], 8)
    assert run_id == FIRST
    assert len(answer.similar) == 8
    assert {similar.product_id.split()[0] for similar in answer.similar} == {"old"}

    html = tmp_path / "report.html"
    assert write_report(spark, store, run, config, {}) == str(html)
    assert "7 of them have a full list of 3 similar products." in html.read_text()
    assert "old B1" in html.read_text()
    assert "new B1" not in html.read_text()

    latest = store.published_run()
    assert (latest["run_id"], latest["status"]) == (SECOND, "publishing")
    for name in ("similar_products", "images"):
        assert store.read_published(name, latest).first().product_id.startswith("new ")
