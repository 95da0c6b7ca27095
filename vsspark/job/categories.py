"""What every image shows -> `images`: its content, and the categories that a head predicts for it.

Cost: a kept head predicts for new contents only; a head fitted anew reads every vector of the model version once. The
rows of `images` are written anew where any of them differs, without vectors.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.blocks.head import Head
from vsspark.blocks.head_table import compare_labels, keep_head, kept_head
from vsspark.blocks.kept import Fitted, Labels
from vsspark.blocks.spark import fit_head, head_digest, predict_categories
from vsspark.config import BlockingConfig
from vsspark.embed.reuse import with_content
from vsspark.job.embed import EmbedResult, vectors_of
from vsspark.job.model import Model
from vsspark.job.result import StageResult
from vsspark.schemas import IMAGES
from vsspark.spark.digest import rows_digest
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")

_OWN_HEAD = "encoder"  # images.head of the encoder's own
_FEW = 200_000  # contents: the vectors of fewer are picked out, of more all are read
_PREDICTED = ["content", "predicted_category", "category_probabilities"]


@dataclass(frozen=True)
class CategoriesResult(StageResult):
    """model_version: of the embeddings that `images` names now."""

    model_version: str


def categories_stage(
    tables: RunTables, images: DataFrame, embed: EmbedResult, model: Model, blocking: BlockingConfig
) -> CategoriesResult:
    """Writes `images`: CATALOGUE_COLUMNS of `images`, and what `embed` and the head say of each."""
    if fits_head(model, blocking):
        head, predicted, metrics = _by_fitted_head(tables, images, embed, model, blocking)
        digest = head_digest(head)
    else:
        digest, metrics = _OWN_HEAD, {}
        predicted = with_content(vectors_of(tables, model.version)).select(_PREDICTED)
    known = embed.contents.join(predicted, "content").drop("content")
    known = known.withColumns({"model_version": F.lit(model.version), "head": F.lit(digest)})
    known = known.unionByName(embed.placeholders, allowMissingColumns=True)
    rows = tables.stage("images", images.join(known, "image_id", "left"))
    before = tables.read_or_empty("images")
    if rows_digest(rows.select(IMAGES.names)) != rows_digest(before.select(IMAGES.names)):
        tables.overwrite("images", rows)
    categories = rows.agg(F.count_distinct("predicted_category")).first()[0]
    return CategoriesResult(model.version, counts={"categories": categories}, metrics=metrics)


def fits_head(model: Model, blocking: BlockingConfig) -> bool:
    """Whether a head is fitted to the shop: the encoder has none, or clusters are wanted."""
    return model.encoder.categories is None or blocking.by == "cluster"


def _by_fitted_head(
    tables: RunTables, images: DataFrame, embed: EmbedResult, model: Model, blocking: BlockingConfig
) -> tuple[Head, DataFrame, dict[str, float]]:
    """(the head, its predictions per content, metrics): the kept head where it is still good, else one fitted now."""
    vectors = with_content(vectors_of(tables, model.version))
    labelled = images.select("image_id", "product_id", "category").join(embed.contents, "image_id")

    def labels(predicted: DataFrame) -> Labels:
        if blocking.by == "cluster":  # clusters owe the labels nothing
            return Labels()
        return compare_labels(embed.contents.join(predicted, "content"), images)

    kept = kept_head(tables, model.version, blocking)
    if kept is not None:
        predicted = _predicted(tables, embed, vectors, kept.head)
        now = labels(predicted)
        reason = kept.refit_reason(now, embed.embedded, blocking.refit_loss)
        if reason is None:
            return kept.head, predicted, _report(kept.head, now.agreement, "of an earlier run", blocking)
        log.info("categories the head of an earlier run is fitted again: %s", reason)
    rows = labelled.select("content", "image_id", "product_id", "category")
    head = fit_head(rows, vectors, blocking, embed.embedded)
    predicted = _predicted(tables, embed, vectors, head)
    now = labels(predicted)
    keep_head(tables, Fitted(head, now, embed.embedded), model.version, blocking)
    return head, predicted, _report(head, now.agreement, "fitted now", blocking)


def _predicted(tables: RunTables, embed: EmbedResult, vectors: DataFrame, head: Head) -> DataFrame:
    """_PREDICTED of every content in use: of the run before where this head has predicted it, else predicted now."""
    digest = head_digest(head)
    before = with_content(tables.read_or_empty("images")).where(
        (F.col("head") == digest) & F.col("content").isNotNull()
    )
    before = before.select(_PREDICTED).dropDuplicates(["content"])
    used = embed.contents.select("content").distinct()
    new = tables.stage(f"unpredicted-{digest}", used.join(before, "content", "left_anti"))
    count = new.count()
    if not count:
        return before
    rows = vectors.select("content", "embedding")
    if count <= _FEW:
        rows = rows.join(F.broadcast(new), "content", "left_semi")
    fresh = predict_categories(rows, head, None).select(_PREDICTED)
    fresh = tables.stage(f"predicted-{digest}", fresh)
    return before.join(fresh, "content", "left_anti").unionByName(fresh)


def _report(head: Head, agreement: float | None, origin: str, blocking: BlockingConfig) -> dict[str, float]:
    """Logs what the head is; the metrics of the run."""
    if head.categories[0].startswith("cluster-"):
        why = "blocking.by=cluster" if blocking.by == "cluster" else "no image has a category"
        log.info("categories %d clusters %s stand in: %s", len(head.categories), origin, why)
        return {}
    held_out = "none held out" if head.accuracy is None else f"{head.accuracy:.3f} of the images held out"
    about = "categories softmax head %s: %d categories, right for %.3f of the labelled images, %s"
    log.info(about, origin, len(head.categories), agreement, held_out)
    return {"label_agreement": agreement} | ({} if head.accuracy is None else {"head_accuracy": head.accuracy})
