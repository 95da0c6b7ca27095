"""A fitted head is used again while it is as good as it was, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark.blocks.head import Head
from vsspark.blocks.head_table import compare_labels, keep_head, kept_head
from vsspark.blocks.kept import Fitted, Labels
from vsspark.blocks.spark import head_digest
from vsspark.config import BlockingConfig, OutputConfig
from vsspark.errors import StorageError
from vsspark.query.ask import read_head
from vsspark.storage.reader import PublishedTables
from vsspark.storage.run_tables import RunTables
from vsspark.storage.store import Store

BLOCKING = BlockingConfig()


def _head(seed: int) -> Head:
    rng = np.random.default_rng(seed)
    return Head(
        rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32), ("a", "b", "c"), 0.75
    )


def _fitted(seed: int = 0, agreement: float | None = 0.9) -> Fitted:
    return Fitted(_head(seed), Labels(frozenset("abc"), agreement), 100)


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_a_kept_head_comes_back_as_it_was(spark, tmp_path, form):
    output = OutputConfig(path=f"{tmp_path}/out", format=form)
    store, reader = Store(spark, output), PublishedTables(output, {})
    tables = RunTables(store, "monday")
    assert kept_head(tables, "net-1", BLOCKING) is None
    keep_head(tables, _fitted(0), "net-1", BLOCKING)
    keep_head(RunTables(store, "tuesday"), _fitted(1, agreement=None), "net-1", BLOCKING)
    found = kept_head(tables, "net-1", BLOCKING)
    assert head_digest(found.head) == head_digest(_head(1))  # no row of images says which: the last
    assert (found.head.categories, found.head.accuracy) == (("a", "b", "c"), 0.75)
    assert (found.labels, found.images) == (Labels(frozenset("abc"), None), 100)
    assert read_head(reader, head_digest(_head(0))).bias.tolist() == _head(0).bias.tolist()
    with pytest.raises(StorageError, match=r"predicted by head feed, which is not in _heads below output.path="):
        read_head(reader, "feed")
    assert kept_head(tables, "net-2", BLOCKING) is None
    assert kept_head(tables, "net-1", BLOCKING.model_copy(update={"seed": 1})) is None
    assert kept_head(tables, "net-1", BLOCKING.model_copy(update={"probes": 9})) is not None


@pytest.mark.parametrize(
    ("now", "images", "tolerance", "reason"),
    [
        (Labels(frozenset("abc"), 0.895), 100, 0.01, None),
        (Labels(frozenset("ab"), 0.9), 51, 0.01, None),
        (Labels(frozenset("abc"), 0.88), 100, 0.01, "right for 0.880 of the labelled images, 0.900 when it was fitted"),
        (Labels(frozenset("abcxy"), 0.95), 100, 0.01, "2 new categories, the first is x"),
        (Labels(frozenset("abc"), 0.9), 151, 0.01, "151 images, it was fitted to 100"),
        (Labels(frozenset("abc"), 0.9), 100, None, "blocking.refit_loss is null"),
        (Labels(frozenset(), None), 100, 0.01, "right for 0.000 of the labelled images, 0.900 when it was fitted"),
    ],
)
def test_why_it_is_fitted_again(now, images, tolerance, reason):
    assert _fitted().refit_reason(now, images, tolerance) == reason


def test_labels_are_compared_where_there_are_any(spark):
    predicted = spark.createDataFrame(
        [(1, "a"), (2, "a"), (3, "b"), (4, "b")], "image_id long, predicted_category string"
    )
    images = spark.createDataFrame(
        [(1, "a"), (2, "b"), (3, "b"), (4, None), (5, "z")], "image_id long, category string"
    )
    # Image 5 could not be embedded.
    assert compare_labels(predicted, images) == Labels(frozenset("ab"), pytest.approx(2 / 3))
    assert compare_labels(predicted, images.where("category IS NULL")) == Labels(frozenset(), None)
