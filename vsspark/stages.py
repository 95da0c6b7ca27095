"""The stages of the main job in the order the data walks through them, each from the tables of the one before."""

from __future__ import annotations

import logging

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark import encoders, session
from vsspark.blocks.spark import fit_head, predict_categories, with_blocks
from vsspark.catalogue.spark import check_images, hash_id, images_from, named_images, read_catalogue, unreadable
from vsspark.catalogue.uris import leads_outside
from vsspark.config import CatalogueConfig, ColumnsConfig
from vsspark.demo.spark import generate_catalogue
from vsspark.embed.spark import embed_images, prepare, spread
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.errors import DataQualityError, GateRefused, Reason, VssparkError
from vsspark.knn.spark import audited_recall, search_neighbours
from vsspark.products.spark import describe, merge_neighbours, product_facts, short_products, top_products, with_backfill
from vsspark.publish.gate import judge
from vsspark.report.build import report_path, write_report
from vsspark.run import Run
from vsspark.schemas import EMBEDDINGS, IMAGES, NEIGHBOURS, QUARANTINE, SIMILAR_PRODUCTS
from vsspark.tracking import check_store, log_run, use_tracking_store

log = logging.getLogger("vsspark")


def ingest_stage(run: Run) -> None:
    """The catalogue table, checked -> `images`."""
    catalogue = run.config.catalogue
    if catalogue.table is None:
        with run.progress.stage("demo", f"drawing the demo catalogue of {run.config.demo.products:,} products below {run.config.demo.path}"):
            catalogue = _demo_catalogue(run)
    with run.progress.stage("ingest", f"reading {catalogue.table}") as stage:
        rows = images_from(read_catalogue(run.spark, catalogue), catalogue)
        try:
            rows = run.store.stage(run.run_id, "catalogue", rows)
        except (PySparkException, Py4JJavaError) as error:
            raise unreadable(catalogue, error) from None
        counts = check_images(rows, catalogue)
        run.store.overwrite("images", named_images(rows), IMAGES, run.run_id)
        stage.count(images=counts["images"], products=counts["products"], products_without_image=counts["products_without_image"])


def embed_stage(run: Run) -> None:
    """`images` -> `embeddings` and `quarantine`; every image ends in exactly one of the two."""
    config, store = run.config, run.store
    images = store.read("images")
    with run.progress.stage("encoder", f"loading {config.encoder.name}"):
        if config.encoder.name.startswith(MLFLOW_SCHEMES):
            use_tracking_store(config.mlflow)
        encoder = encoders.load(config.encoder.name, config.encoder.weights, config.encoder.layer)
        model = prepare(run.spark, encoder, config.encoder)
    total = images.count()
    with run.progress.stage("embed", f"{total:,} images with {encoder.model_version}") as stage:
        outside = leads_outside(F.col("uri"), config.catalogue)
        wanted = spread(images.where(~outside).select("image_id", "uri"), total, session.task_slots(run.spark))
        embedded = embed_images(wanted, model, config.images, config.encoder, session.storage_options(run.spark))
        embedded = store.stage(run.run_id, "embedded", embedded)
        good = embedded.where("reason IS NULL").count()
        stage.count(embedded=good, quarantined=total - good)
    quarantined = _quarantine_rows(run, images, embedded, outside)
    store.replace("quarantine", quarantined, QUARANTINE, by="run_id", value=run.run_id, run_id=run.run_id)
    if good == 0:
        raise GateRefused(f"no image could be used, nothing was published; {_commonest_reason(run)}")
    with run.progress.stage("categories", "predicting categories") as stage:
        rows = embedded.where("reason IS NULL").join(images.select("image_id", "product_id", "category"), "image_id")
        head = None
        if encoder.categories is None or config.blocking.by == "cluster":
            head = _fit_head(run, rows, good)
        predicted = predict_categories(rows.drop("product_id", "category"), head, encoder.categories)
        predicted = predicted.withColumns({"model_version": F.lit(encoder.model_version), "run_id": F.lit(run.run_id)})
        store.replace("embeddings", predicted, EMBEDDINGS, by="model_version", value=encoder.model_version, run_id=run.run_id)
        run.model_version = encoder.model_version  # from here on later stages may work on it
        stage.count(categories=embeddings_of(run).select("predicted_category").distinct().count())
    written = embeddings_of(run).count()
    lost = store.read("quarantine").where(F.col("run_id") == run.run_id).count()
    if written + lost != total:
        raise DataQualityError(f"images are lost: {total} in, {written} embedded + {lost} quarantined below {store.root}")


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


def publish_stage(run: Run) -> None:
    """`neighbours` -> product lists, backfilled -> the gate -> `similar_products`, in one commit."""
    config, store = run.config, run.store
    images, embeddings = store.read("images"), embeddings_of(run)
    k = config.recommend.k
    searched = store.read("neighbours").where(F.col("model_version") != run.current_model_version()).select("model_version").first()
    if searched is not None:
        raise DataQualityError(
            f"neighbours holds those of {searched.model_version}, embeddings those of {run.current_model_version()}: run jobs/neighbours.py first"
        )
    with run.progress.stage("products", f"merging images into {k} similar products each") as stage:
        visual = store.stage(run.run_id, "visual", top_products(merge_neighbours(store.read("neighbours"), images), k))
        usable = images.join(embeddings.select("image_id"), "image_id", "left_semi").select("product_id").distinct()
        backfill = _backfill(run, visual, usable) if config.recommend.backfill else None
        lists = with_backfill(visual, backfill, k)
        rows = describe(lists, images, embeddings.select("image_id", "predicted_category"), run.current_model_version(), run.run_id, run.run_date)
        lists = store.stage(run.run_id, "similar_products", rows)
        stage.count(recommendations=lists.count())
    with run.progress.stage("gate", "judging the run"):
        verdict = judge(lists, _gate_counts(run), k, config.gate)
        run.metrics |= verdict.metrics
        log.info("gate       %s", ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in verdict.metrics.items()))
        if verdict.refusals:
            refusal = GateRefused(f"the gate refused run {run.run_id}, nothing was published: {'; '.join(verdict.refusals)}")
            run.status, run.message = "refused", str(refusal)
            try:
                log_run(config, run.row(), None)
            except VssparkError as error:
                log.warning("tracking   %s", error)  # the refusal is what the scheduler must hear of
            raise refusal
    with run.progress.stage("publish", f"one commit to {store.path('similar_products')}"):
        store.publish("similar_products", lists, SIMILAR_PRODUCTS, run.run_id)
    run.status = "published"


def check_followers(run: Run) -> None:
    """Raises when the report or the tracking that follow a publish could not be written: a job must not fail with its table already out."""
    report_path(run.config, run.run_id)
    check_store(run.config.mlflow)


def finish(run: Run) -> None:
    """The report and the tracking of a published run."""
    with run.progress.stage("report", "drawing the report"):
        path = write_report(run.spark, run.store, run.row(), run.config, session.storage_options(run.spark))
    with run.progress.stage("tracking", f"logging to {run.config.mlflow.experiment}"):
        log_run(run.config, run.row(), path)
    log.info("table      %s", run.store.path("similar_products"))
    log.info("report     %s", path)


def embeddings_of(run: Run) -> DataFrame:
    """The rows of `embeddings` of the run's model version."""
    return run.store.read("embeddings").where(F.col("model_version") == run.current_model_version())


def searchable(run: Run) -> DataFrame:
    """Every embedded image as the neighbour search takes it, with group_id (a hash of its product) and whether it may be recommended."""
    images, embedded = run.store.read("images"), embeddings_of(run).drop("run_id")
    rows = images.select("image_id", hash_id("product_id").alias("group_id"), "product_id", "category").join(embedded, "image_id")
    if not run.config.recommend.in_stock_only:
        return rows.withColumn("recommendable", F.lit(True))
    facts = product_facts(images, embedded).select("product_id", F.coalesce("in_stock", F.lit(False)).alias("recommendable"))
    return rows.join(facts, "product_id")


def _demo_catalogue(run: Run) -> CatalogueConfig:
    demo = run.config.demo
    columns = ColumnsConfig(name="name", category="category", price="price", in_stock="in_stock")
    return CatalogueConfig(table=generate_catalogue(run.spark, demo, session.storage_options(run.spark)), images_root=demo.path, columns=columns)


def _quarantine_rows(run: Run, images: DataFrame, embedded: DataFrame, outside: Column) -> DataFrame:
    bad = embedded.where("reason IS NOT NULL").select("image_id", "stage", "reason", "detail")
    detail = F.lit("the name leads outside the roots the catalogue may read from")
    refused = images.where(outside).select("image_id", F.lit("fetch").alias("stage"), F.lit(Reason.OUTSIDE_ROOT.value).alias("reason"), detail.alias("detail"))
    return bad.unionByName(refused).join(images.select("image_id", "product_id", "uri"), "image_id").withColumn("run_id", F.lit(run.run_id))


def _commonest_reason(run: Run) -> str:
    rows = run.store.read("quarantine").where(F.col("run_id") == run.run_id)
    most = (
        rows.groupBy("reason").agg(F.count("*").alias("n"), F.first("uri").alias("uri"), F.first("detail").alias("detail")).orderBy(F.col("n").desc()).first()
    )
    return f"most often {most.reason} ({most.n:,} images), for example {most.uri}: {most.detail}; is catalogue.images_root right?"


def _fit_head(run: Run, rows: DataFrame, count: int):
    head = fit_head(rows, run.config.blocking, count)
    if head.categories[0].startswith("cluster-"):
        log.info(
            "categories %d clusters stand in: %s",
            len(head.categories),
            "blocking.by=cluster" if run.config.blocking.by == "cluster" else "no image has a category",
        )
    else:
        accuracy = "nothing held out" if head.accuracy is None else f"{head.accuracy:.3f} of the held-out images right"
        log.info("categories softmax head fitted on the labelled images: %d categories, %s", len(head.categories), accuracy)
        if head.accuracy is not None:
            run.metrics["head_accuracy"] = head.accuracy
    return head


def _backfill(run: Run, visual: DataFrame, usable: DataFrame) -> DataFrame | None:
    """The nearest products of the whole catalogue, for the products whose own blocks did not fill their list; None where all are full.

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
    found = search_neighbours(rows, run.store.staging(run.run_id, "backfill_tiles"), knn, session.storage_options(run.spark))
    merged = merge_neighbours(found, run.store.read("images"))
    return run.store.stage(run.run_id, "backfill", top_products(merged, run.config.recommend.k))


def _gate_counts(run: Run) -> dict[str, int]:
    quarantined = run.store.read("quarantine").where(F.col("run_id") == _embedding_run(run)).select("image_id", F.lit(True).alias("bad"))
    found = searchable(run).select("image_id", F.lit(True).alias("good"), "recommendable")
    images = run.store.read("images").select("image_id", "product_id").join(found, "image_id", "left").join(quarantined, "image_id", "left")
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


def _embedding_run(run: Run) -> str:
    """The run whose quarantine belongs to these embeddings: this one, or the embed job before it."""
    first = embeddings_of(run).select("run_id").first()
    return first.run_id if first else run.run_id
