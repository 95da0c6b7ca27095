"""`_heads`: the heads that runs have fitted, one row each; `images.head` says which one predicted a row's category.

A rollback leaves it alone: whatever `images` goes back to, its head is still there.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vsspark.blocks.head import FIT, Head
from vsspark.blocks.kept import Fitted, Labels
from vsspark.blocks.spark import head_digest
from vsspark.config import BlockingConfig
from vsspark.schemas import HEADS
from vsspark.spark.digest import settings_digest
from vsspark.storage.run_tables import RunTables


def compare_labels(predicted: DataFrame, images: DataFrame) -> Labels:
    """predicted: image_id, predicted_category. images: image_id, category (the catalogue's). One row per category
    comes to the driver.
    """
    right = F.count_if(F.col("category") == F.col("predicted_category")).alias("right")
    rows_with_label = (
        images.where("category IS NOT NULL")
        .select("image_id", "category")
        .join(predicted.select("image_id", "predicted_category"), "image_id")
    )
    rows = rows_with_label.groupBy("category").agg(F.count("*").alias("images"), right).collect()
    total = sum(row.images for row in rows)
    return Labels(frozenset(row.category for row in rows), sum(row.right for row in rows) / total if total else None)


def keep_head(tables: RunTables, fitted: Fitted, model_version: str, config: BlockingConfig) -> None:
    """Writes the head's row, in place of an earlier one of the same digest: fitted again with the same outcome, it is
    good for the catalogue as it is now.
    """
    head = fitted.head
    row = (
        head_digest(head),
        model_version,
        _settings(config),
        list(head.categories),
        head.weights.astype("<f4").tobytes(),
        head.bias.astype("<f4").tobytes(),
        head.accuracy,
        sorted(fitted.labels.names),
        fitted.labels.agreement,
        fitted.images,
        dt.datetime.now(dt.UTC),
        tables.run_id,
    )
    tables.replace("_heads", tables.spark.createDataFrame([row], HEADS).coalesce(1), row[0])


def kept_head(tables: RunTables, model_version: str, config: BlockingConfig) -> Fitted | None:
    """The head that predicted the categories of `images`, if it was fitted with these settings to this model version;
    where there are no such rows, the last such head.
    """
    if not tables.exists("_heads"):
        return None
    same = (F.col("model_version") == model_version) & (F.col("settings") == _settings(config))
    heads = tables.read("_heads").where(same)
    used = tables.read_or_empty("images").where(F.col("model_version") == model_version).select("head").head(1)
    if used:
        rows = heads.where(F.col("head") == used[0]["head"]).head(1)
    else:
        rows = heads.orderBy(F.col("fitted_at").desc()).head(1)
    return _fitted(rows[0]) if rows else None


def _fitted(row: Row) -> Fitted:
    categories = tuple(row["categories"])
    weights = np.frombuffer(row["weights"], "<f4").reshape(-1, len(categories))
    head = Head(weights, np.frombuffer(row["bias"], "<f4"), categories, row["accuracy"])
    return Fitted(head, Labels(frozenset(row["labels"]), row["agreement"]), row["images"])


def _settings(config: BlockingConfig) -> str:
    """What decides the fit: how a head's probabilities are used does not."""
    decisive = {name: getattr(config, name) for name in ("by", "clusters", "fit_sample", "holdout", "seed")}
    return settings_digest(decisive | {"fit": FIT})
