"""`images` -> `embeddings` and `quarantine`."""

from __future__ import annotations

import logging

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark import encoders, session
from vsspark.blocks.spark import fit_head, predict_categories
from vsspark.catalogue.uris import leads_outside
from vsspark.embed.spark import embed_images, prepare, spread
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.errors import DataQualityError, GateRefused, Reason
from vsspark.run import Run
from vsspark.schemas import EMBEDDINGS, QUARANTINE
from vsspark.tracking import use_tracking_store

log = logging.getLogger("vsspark")


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


def embeddings_of(run: Run) -> DataFrame:
    """The rows of `embeddings` of the run's model version."""
    return run.store.read("embeddings").where(F.col("model_version") == run.current_model_version())


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
