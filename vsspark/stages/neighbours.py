"""`embeddings` -> `neighbours`."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark import session
from vsspark.blocks.spark import with_blocks
from vsspark.catalogue.spark import hash_id
from vsspark.knn.spark import audited_recall, search_neighbours
from vsspark.products.spark import product_facts
from vsspark.run import Run
from vsspark.schemas import NEIGHBOURS
from vsspark.stages.embed import embeddings_of

log = logging.getLogger("vsspark")


def neighbours_stage(run: Run) -> None:
    """`embeddings` -> `neighbours`, block by block."""
    items = searchable(run)
    # Fewer neighbours than recommendations would leave every product of one image short, and send it through the whole catalogue.
    knn = run.config.knn.model_copy(update={"k": max(run.config.knn.k, run.config.recommend.k)})
    with run.progress.stage("neighbours", f"{knn.k} nearest products per image, {knn.metric}, {knn.mode}") as stage:
        blocked = with_blocks(items, run.config.blocking)
        blocked = blocked.withColumn("block", F.when(F.col("recommendable"), F.col("block")))
        rows = blocked.select("image_id", "group_id", "embedding", "block", "probes")
        scratch, options = run.store.staging(run.run_id, "tiles"), session.storage_options(run.spark)
        found = search_neighbours(rows, scratch, knn, options)
        found = found.withColumns({"model_version": F.lit(run.current_model_version()), "run_id": F.lit(run.run_id)})
        run.store.overwrite("neighbours", found, NEIGHBOURS, run.run_id)
        recall = audited_recall(scratch, options)
        if recall is not None:
            run.metrics["recall_at_k"] = recall
            log.info("neighbours recall@%d %.4f against exact search on a sample, knn.target_recall %.4f", knn.k, recall, knn.target_recall)
        stage.count(neighbours=run.store.read("neighbours").count())


def searchable(run: Run) -> DataFrame:
    """Every embedded image as the neighbour search takes it, with group_id (a hash of its product) and whether it may be recommended."""
    images, embedded = run.store.read("images"), embeddings_of(run).drop("run_id")
    rows = images.select("image_id", hash_id("product_id").alias("group_id"), "product_id", "category").join(embedded, "image_id")
    if not run.config.recommend.in_stock_only:
        return rows.withColumn("recommendable", F.lit(True))
    facts = product_facts(images, embedded).select("product_id", F.coalesce("in_stock", F.lit(False)).alias("recommendable"))
    return rows.join(facts, "product_id")
