"""`neighbours` -> the gate -> `similar_products`, and what follows a publish: report and tracking."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import Config
from vsspark.errors import DataQualityError, GateRefused, PublishedIncomplete, VssparkError
from vsspark.job.embed import embeddings_of
from vsspark.job.neighbours import searchable
from vsspark.job.run import FOLLOWERS, Run
from vsspark.knn.spark import search_neighbours
from vsspark.recommend.gate import judge
from vsspark.recommend.lists import describe, merge_neighbours, short_products, top_products, with_backfill
from vsspark.report.build import report_path, write_report
from vsspark.schemas import SIMILAR_PRODUCTS
from vsspark.spark import session
from vsspark.storage.files import first_line
from vsspark.tracking import check_store, log_run

log = logging.getLogger("vsspark")


def publish_stage(run: Run) -> None:
    """`neighbours` -> product lists, backfilled -> the gate -> `similar_products`, in one commit."""
    config, store = run.config, run.store
    images, embeddings = store.read("images"), embeddings_of(run)
    k = config.recommend.k
    searched = (
        store.read("neighbours")
        .where(F.col("model_version") != run.current_model_version())
        .select("model_version")
        .first()
    )
    if searched is not None:
        raise DataQualityError(
            f"neighbours holds those of {searched.model_version}, embeddings those of {run.current_model_version()}: "
            "run jobs/neighbours.py first"
        )
    with run.progress.stage("products", f"merging images into {k} similar products each") as stage:
        visual = store.stage(run.run_id, "visual", top_products(merge_neighbours(store.read("neighbours"), images), k))
        usable = images.join(embeddings.select("image_id"), "image_id", "left_semi").select("product_id").distinct()
        backfill = _backfill(run, visual, usable) if config.recommend.backfill else None
        lists = with_backfill(visual, backfill, k)
        rows = describe(
            lists,
            images,
            embeddings.select("image_id", "predicted_category"),
            run.current_model_version(),
            run.run_id,
            run.run_date,
        )
        lists = store.stage(run.run_id, "similar_products", rows)
        stage.count(recommendations=lists.count())
    with run.progress.stage("gate", "judging the run"):
        published = store.read("similar_products") if store.current_run("similar_products") is not None else None
        before = (run.published or {}).get("metrics") or {}
        counts, recall = _gate_counts(run), config.knn.target_recall
        verdict = judge(lists, counts, k, config.gate, published, run.metrics, before, recall)
        run.metrics |= verdict.metrics
        log.info(
            "gate       %s",
            ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in verdict.metrics.items()),
        )
        refusals = (*verdict.broken, *verdict.refusals)
        if refusals and run.force is not None and not verdict.broken:
            run.forced_by = f"{run.spark.sparkContext.sparkUser()}: {run.force}"
            run.message = f"published in spite of: {'; '.join(refusals)}"
            log.warning("gate       forced by %s; it had refused: %s", run.forced_by, "; ".join(refusals))
        elif refusals:
            _refuse(run, f"the gate refused run {run.run_id}, nothing was published: {'; '.join(refusals)}")
    with run.progress.stage("publish", f"one commit to {store.path('similar_products')}"):
        versions = {table: version for table, version in store.versions().items() if table != "similar_products"}
        run.owed = list(FOLLOWERS)
        run.status, run.versions = "publishing", versions
        if store.current_run("similar_products") != run.run_id:
            run.record()  # a reader who sees the commit finds the versions of the other tables beside it
        # A run of this name that is published already keeps its row, and with it its own versions, until the commit.
        run.versions = store.publish("similar_products", lists, SIMILAR_PRODUCTS, run.run_id, versions)
        run.status = "published"
    run.record()  # what follows may still be killed
    with run.progress.stage("vacuum", f"files older than {config.output.keep_days} days"):
        try:
            store.vacuum()
        except Exception:
            log.exception("vacuum     failed: the next publish does it")


def _refuse(run: Run, message: str) -> None:
    refusal = GateRefused(message)
    run.status, run.message = "refused", message
    try:
        log_run(run.config, run.row(), None)
    except VssparkError as error:
        log.warning("tracking   %s", error)  # the refusal is what the scheduler must hear of
    raise refusal


def check_followers(run: Run) -> None:
    """Raises when report or tracking could not be written: found before the work, not when the table is out."""
    report_path(run.config, run.run_id)
    check_store(run.config.mlflow)


def finish(run: Run) -> None:
    """The report and the tracking of a published run; `run.owed` keeps what is not done."""
    _follow(run, run.row(), run.config, run.owed)
    log.info("table      %s", run.store.path("similar_products"))
    log.info("report     %s", report_path(run.config, run.run_id))


def finish_owed(run: Run) -> PublishedIncomplete | None:
    """Draws and logs what published runs still owe; returns what failed again for the one that is current."""
    failed = None
    for row in run.store.runs_that_owe():
        owed = list(row["owed"])
        log.info("owed       %s of run %s, which was published without", " and ".join(owed), row["run_id"])
        try:
            _follow(run, row, _as_recorded(run.config, json.loads(row["config"])), owed)
        except Exception as error:
            log.exception("owed       %s of run %s failed again", " and ".join(owed), row["run_id"])
            if run.published is not None and run.published["run_id"] == row["run_id"]:
                todo = f"still to do: {', '.join(owed)}, by the next call"
                failed = PublishedIncomplete(f"run {row['run_id']} is published; then {first_line(error)}; {todo}")
            else:
                log.warning("owed       given up: run %s is not the published one any more", row["run_id"])
                owed = []
        if owed != row["owed"]:
            run.store.write_run_row(row | {"owed": owed})
            run.reload()
    return failed


def _follow(run: Run, row: Mapping[str, Any], config: Config, owed: list[str]) -> None:
    """Does what a published run owes, and takes it from the list."""
    if "report" in owed:
        with run.progress.stage("report", f"drawing the report of {row['run_id']}"):
            write_report(run.spark, run.store, dict(row), config, session.storage_options(run.spark))
        owed.remove("report")
    if "tracking" in owed:
        with run.progress.stage("tracking", f"logging to {config.mlflow.experiment}"):
            log_run(config, row, str(report_path(config, row["run_id"])))
        owed.remove("tracking")


def _as_recorded(config: Config, recorded: Mapping[str, Any]) -> Config:
    """The configuration with the sections that explain a report as they were in an earlier run."""
    sections = ("encoder", "blocking", "knn", "recommend")
    earlier = {name: type(getattr(config, name)).model_validate(recorded[name]) for name in sections}
    return config.model_copy(update=earlier)


def _backfill(run: Run, visual: DataFrame, usable: DataFrame) -> DataFrame | None:
    """The nearest products of the whole catalogue, for the products whose own blocks did not fill their list; None
    where all are full.

    The few short products query, everything recommendable is an item: cost = their images x all images, tile by tile.
    """
    short = short_products(usable, visual, run.config.recommend.k).select("product_id")
    if short.isEmpty():
        return None
    items = searchable(run)
    asks = items.join(short.withColumn("asks", F.lit(True)), "product_id", "left")
    rows = asks.select(
        "image_id",
        "group_id",
        "embedding",
        F.when(F.col("recommendable"), F.lit(0)).alias("block"),
        F.when(F.col("asks"), F.array(F.lit(0))).otherwise(F.array().cast("array<int>")).alias("probes"),
    )
    knn = run.config.knn.model_copy(update={"k": run.config.recommend.k, "mode": "exact"})
    found = search_neighbours(
        rows, run.store.staging(run.run_id, "backfill_tiles"), knn, session.storage_options(run.spark)
    )
    merged = merge_neighbours(found, run.store.read("images"))
    return run.store.stage(run.run_id, "backfill", top_products(merged, run.config.recommend.k))


def _gate_counts(run: Run) -> dict[str, int]:
    quarantined = (
        run.store.read("quarantine")
        .where(F.col("run_id") == run.embedding_run())
        .select("image_id", F.lit(True).alias("bad"))
    )
    found = searchable(run).select("image_id", F.lit(True).alias("good"), "recommendable")
    images = (
        run.store.read("images")
        .select("image_id", "product_id")
        .join(found, "image_id", "left")
        .join(quarantined, "image_id", "left")
    )
    totals = images.agg(
        F.count("*").alias("images"),
        F.count("good").alias("embedded"),
        F.count("bad").alias("quarantined"),
        F.countDistinct("product_id").alias("products"),
        F.countDistinct(F.when(F.col("good"), F.col("product_id"))).alias("usable_products"),
        F.countDistinct(F.when(F.col("recommendable"), F.col("product_id"))).alias("recommendable_products"),
    )
    counts = totals.first().asDict()
    run.progress.counts |= counts | {"unusable_products": counts["products"] - counts["usable_products"]}
    if counts["products"] > counts["usable_products"]:
        log.warning(
            "products   %d of %d products have no usable image and get no list: see quarantine",
            counts["products"] - counts["usable_products"],
            counts["products"],
        )
    return counts
