"""`images` -> `embeddings` and `quarantine`: the network sees only what no run before has embedded."""

from __future__ import annotations

import logging
import uuid

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.blocks.head import Head
from vsspark.blocks.head_table import compare_labels, keep_head, kept_head
from vsspark.blocks.kept import Fitted, Labels
from vsspark.blocks.spark import fit_head, head_digest, predict_categories
from vsspark.catalogue.uris import leads_outside
from vsspark.config import ImagesConfig
from vsspark.embed.reuse import outcomes, possible_copies, to_embed, unchanged, with_content
from vsspark.embed.spark import EMBEDDED, embed_images, hash_images, spread
from vsspark.errors import DataQualityError, GateRefused, Reason, StorageError
from vsspark.job.check import Checked, check_stage
from vsspark.job.run import Run
from vsspark.schemas import EMBEDDINGS, QUARANTINE, complete
from vsspark.spark import session

log = logging.getLogger("vsspark")

_OWN_HEAD = "encoder"
_SMALL = 200_000  # images, about 50 MB of names and hashes


def embed_stage(run: Run, checked: Checked | None = None) -> None:
    """`images` -> `embeddings` and `quarantine`; every image ends in exactly one of the two.

    An image is embedded once per content and model version. What the network has finished is kept below `_work` as
    each task ends, so that a killed run goes on from there.
    """
    checked = checked or check_stage(run)
    config, store = run.config, run.store
    images, files, version = store.read("images"), checked.files, checked.model_version
    with run.progress.stage("embed", f"{checked.images:,} images with {version}") as stage:
        known = _contents(run, checked)
        same = unchanged(files, known)
        changed = files.join(same, "image_id", "left_anti")
        hashed = hash_images(possible_copies(changed, known), config.images, session.storage_options(run.spark))
        hashed = store.stage(run.run_id, "hashed", with_content(hashed).select("image_id", "content"))
        attempt, inferred = _run_network(run, checked, to_embed(changed, hashed, known))
        attempts = [attempt]
        outcome, good, unsettled = _outcomes(run, checked, same, hashed, attempts)
        if unsettled:
            # A file that became another between its hash and its picture leaves its copies without one.
            left = files.join(outcome.where("content IS NULL AND reason IS NULL"), "image_id", "left_semi")
            attempt, more = _run_network(run, checked, left)
            attempts.append(attempt)
            outcome, good, unsettled = _outcomes(run, checked, same, hashed, attempts)
            inferred += more
            if unsettled:
                raise StorageError(f"{unsettled} images have neither embedding nor reason: was _work cleared?")
        stage.count(inferred=inferred, embedded=good, quarantined=checked.images - good)
    outside = leads_outside(F.col("uri"), config.catalogue)
    store.replace(
        "quarantine",
        _quarantine_rows(run, images, outcome, outside),
        QUARANTINE,
        by="run_id",
        value=run.run_id,
        run_id=run.run_id,
    )
    if good == 0:
        raise GateRefused(f"no image could be used, nothing was published; {_commonest_reason(run)}")
    with run.progress.stage("categories", "predicting categories") as stage:
        _write_embeddings(run, checked, outcome, good)
        run.model_version, run.embedded_by = version, run.run_id  # from here on later stages may work on it
        written, categories = embeddings_of(run).agg(F.count("*"), F.count_distinct("predicted_category")).first()
        stage.count(categories=categories)
    lost = store.read("quarantine").where(F.col("run_id") == run.run_id).count()
    if written + lost != checked.images:
        raise DataQualityError(
            f"images are lost: {checked.images} in, {written} embedded + {lost} quarantined below {store.root}"
        )


def embeddings_of(run: Run) -> DataFrame:
    """The rows of `embeddings` of the run's model version."""
    return complete(run.store.read("embeddings"), EMBEDDINGS).where(
        F.col("model_version") == run.current_model_version()
    )


def _run_network(run: Run, checked: Checked, wanted: DataFrame) -> tuple[str, int]:
    """Embeds the files into `_work`: the name under which their rows stand there, and how many they are."""
    attempt = uuid.uuid4().hex
    count, size = wanted.agg(F.count("*"), F.coalesce(F.sum("size_bytes"), F.lit(0))).first()
    if count:
        dealt = spread(wanted, count, session.task_slots(run.spark), size)
        embedded = embed_images(
            dealt, checked.model, run.config.images, run.config.encoder, session.storage_options(run.spark)
        )
        run.store.add_work(_work_name(checked.model_version), embedded.withColumn("attempt", F.lit(attempt)))
    return attempt, count


def _outcomes(
    run: Run, checked: Checked, same: DataFrame, hashed: DataFrame, attempts: list[str]
) -> tuple[DataFrame, int, int]:
    """Rows of `reuse.outcomes`, how many have a content, and how many have neither content nor refusal."""
    work = _work(run, checked.model_version)
    none = "image_id long, content string, stage string, reason string, detail string"
    embedded = (
        run.spark.createDataFrame([], none)
        if work is None
        else with_content(work.where(F.col("attempt").isin(attempts)))
    )
    rows = run.store.stage(
        run.run_id,
        f"outcomes-{len(attempts)}",
        outcomes(checked.files, same, hashed, embedded, _contents(run, checked)),
    )
    unsettled = F.count_if(F.col("content").isNull() & F.col("reason").isNull())
    good, left = rows.agg(F.count("content"), unsettled).first()
    return rows, good, left


def _contents(run: Run, checked: Checked, head: Head | None = None) -> DataFrame:
    """What has been embedded with this model version, last night or by a run that did not get to its end.

    attempt and image_id name a row; uri, box, fingerprint, size_bytes, width, height, content_hash, content;
    embedding, predicted_category, category_probabilities. A content may stand there more than once. head: a fitted
    one that predicts the categories, of the rows it has not predicted yet; None where the encoder has its own, or the
    categories are not known yet (null).
    """
    store, version = run.store, checked.model_version
    names = ["attempt", "image_id", "uri", "box", "fingerprint", "size_bytes", "width", "height", "content_hash"]
    names += ["embedding", "predicted_category", "category_probabilities"]
    parts = []
    if store.exists("embeddings"):
        table = complete(store.read("embeddings"), EMBEDDINGS).where(F.col("model_version") == version)
        if not _fits_head(run, checked):
            # A fitted head predicts from the embedding; the encoder's own needs its own pass.
            table = table.where(F.col("head") == _OWN_HEAD)
        elif head is None or (table.select("head").head(1) or [[None]])[0][0] != head_digest(head):
            table = _predicted(table, head)
        parts.append(table.withColumn("attempt", F.lit("table")).withColumnRenamed("source_uri", "uri"))
    work = _work(run, version)
    if work is not None:
        done = work.where("reason IS NULL")
        parts.append(
            _predicted(done, head)
            if _fits_head(run, checked)
            else predict_categories(done, None, checked.encoder.categories)
        )
    if not parts:
        types = {
            "image_id": "long",
            "size_bytes": "long",
            "width": "int",
            "height": "int",
            "embedding": "array<float>",
            "category_probabilities": "map<string,float>",
        }
        return run.spark.createDataFrame(
            [], ", ".join(f"{name} {types.get(name, 'string')}" for name in [*names, "content"])
        )
    rows = parts[0].select(names)
    rows = rows if len(parts) == 1 else rows.unionByName(parts[1].select(names))
    return with_content(rows.where(_within_limits(run.config.images)))


def _within_limits(images: ImagesConfig) -> Column:
    """Whether what was embedded under other limits would be embedded under these."""
    fits = (F.col("size_bytes") <= images.max_bytes) & (F.least("width", "height") >= images.min_side)
    fits &= F.col("width").cast("long") * F.col("height") <= images.max_pixels
    return F.coalesce(fits, F.lit(True))  # an earlier release's rows do not say


def _predicted(rows: DataFrame, head: Head | None) -> DataFrame:
    """The rows with the categories this head predicts; nulls where there is none."""
    if head is not None:
        return predict_categories(rows.drop("predicted_category", "category_probabilities"), head, None)
    return rows.withColumns(
        {
            "predicted_category": F.lit(None).cast("string"),
            "category_probabilities": F.lit(None).cast("map<string,float>"),
        }
    )


def _write_embeddings(run: Run, checked: Checked, outcome: DataFrame, good: int) -> None:
    """Every usable image with its content's embedding, as the new rows of this model version; nothing is written
    where they are there already.
    """
    store, version = run.store, checked.model_version
    usable = outcome.where("content IS NOT NULL").select("image_id", "content")
    head, digest = None, _OWN_HEAD
    if _fits_head(run, checked):
        head = _head(run, checked, usable, good)
        digest = head_digest(head)
    if _holds_already(run, checked, usable, good, digest):
        return
    rows = _rows_of(run, checked, usable, head).withColumns(
        {"model_version": F.lit(version), "head": F.lit(digest), "run_id": F.lit(run.run_id)}
    )
    store.replace(
        "embeddings",
        rows.withColumnRenamed("uri", "source_uri"),
        EMBEDDINGS,
        by="model_version",
        value=version,
        run_id=run.run_id,
    )


def _rows_of(run: Run, checked: Checked, usable: DataFrame, head: Head | None) -> DataFrame:
    """Rows of `embeddings` but for model_version, head and run_id: every usable image with its content's embedding,
    each of them once.
    """
    contents = _contents(run, checked, head)
    one = (
        contents.groupBy("content").agg(F.min(F.struct("attempt", "image_id")).alias("one")).select("content", "one.*")
    )
    source = usable.join(one.withColumnRenamed("image_id", "source"), "content").join(checked.files, "image_id")
    if checked.images <= _SMALL:
        # The embeddings stay where they are; in a larger catalogue they go through a shuffle.
        source = F.broadcast(source)
    told = ["content_hash", "width", "height", "embedding", "predicted_category", "category_probabilities"]
    vectors = contents.select("attempt", F.col("image_id").alias("source"), *told)
    return source.join(vectors, ["attempt", "source"]).drop("attempt", "source", "content")


def _head(run: Run, checked: Checked, usable: DataFrame, good: int) -> Head:
    """The head of the run before where it is as good as it was, else one fitted now."""
    store, version, blocking = run.store, checked.model_version, run.config.blocking
    images = store.read("images")

    def labels(rows: DataFrame) -> Labels:
        return Labels() if blocking.by == "cluster" else compare_labels(rows, images)  # clusters owe the labels nothing

    kept = kept_head(store, version, blocking)
    if kept is not None:
        now = labels(_rows_of(run, checked, usable, kept.head))
        reason = kept.refit_reason(now, good, blocking.refit_loss)
        if reason is None:
            _report_head(run, kept.head, now.agreement, "of an earlier run")
            return kept.head
        log.info("categories the head of an earlier run is fitted again: %s", reason)
    rows = _rows_of(run, checked, usable, None)
    head = fit_head(rows.join(images.select("image_id", "product_id", "category"), "image_id"), blocking, good)
    now = labels(predict_categories(rows.drop("predicted_category", "category_probabilities"), head, None))
    keep_head(store, Fitted(head, now, good), version, blocking, run.run_id)
    _report_head(run, head, now.agreement, "fitted now")
    return head


def _holds_already(run: Run, checked: Checked, usable: DataFrame, good: int, head: str) -> bool:
    """Whether `embeddings` has exactly these images with these contents, fingerprints and this head."""
    if not run.store.exists("embeddings"):
        return False
    table = with_content(complete(run.store.read("embeddings"), EMBEDDINGS)).where(
        F.col("model_version") == checked.model_version
    )
    counted = table.agg(
        F.count("*").alias("rows"), F.count(F.when(F.col("head") == head, 1)).alias("same_head")
    ).first()
    if not counted["rows"] == counted["same_head"] == good:
        return False
    now = usable.join(checked.files, "image_id")
    keys = ["image_id", "content", "uri", "fingerprint"]
    return now.join(table.withColumnRenamed("source_uri", "uri").select(keys), keys, "left_anti").isEmpty()


def _fits_head(run: Run, checked: Checked) -> bool:
    return checked.encoder.categories is None or run.config.blocking.by == "cluster"


def _work_name(version: str) -> str:
    return f"embedded/{version}"


def _work(run: Run, version: str) -> DataFrame | None:
    return run.store.read_work(_work_name(version), f"{EMBEDDED}, attempt string")


def _quarantine_rows(run: Run, images: DataFrame, outcome: DataFrame, outside: Column) -> DataFrame:
    bad = outcome.where("content IS NULL").select("image_id", "stage", "reason", "detail")
    detail = F.lit("the name leads outside the roots the catalogue may read from")
    refused = images.where(outside).select(
        "image_id",
        F.lit("fetch").alias("stage"),
        F.lit(Reason.OUTSIDE_ROOT.value).alias("reason"),
        detail.alias("detail"),
    )
    return (
        bad.unionByName(refused)
        .join(images.select("image_id", "product_id", "uri"), "image_id")
        .withColumn("run_id", F.lit(run.run_id))
    )


def _commonest_reason(run: Run) -> str:
    rows = run.store.read("quarantine").where(F.col("run_id") == run.run_id)
    most = (
        rows.groupBy("reason")
        .agg(F.count("*").alias("n"), F.first("uri").alias("uri"), F.first("detail").alias("detail"))
        .orderBy(F.col("n").desc())
        .first()
    )
    return (
        f"most often {most.reason} ({most.n:,} images), for example {most.uri}: {most.detail}; "
        "is catalogue.images_root right?"
    )


def _report_head(run: Run, head: Head, agreement: float | None, origin: str) -> None:
    if head.categories[0].startswith("cluster-"):
        why = "blocking.by=cluster" if run.config.blocking.by == "cluster" else "no image has a category"
        log.info("categories %d clusters %s stand in: %s", len(head.categories), origin, why)
        return
    held_out = "none held out" if head.accuracy is None else f"{head.accuracy:.3f} of the images held out"
    log.info(
        "categories softmax head %s: %d categories, right for %.3f of the labelled images, %s",
        origin,
        len(head.categories),
        agreement,
        held_out,
    )
    run.metrics["label_agreement"] = agreement
    if head.accuracy is not None:
        run.metrics["head_accuracy"] = head.accuracy
