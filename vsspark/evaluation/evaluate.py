"""The whole comparison: sample, embed by every encoder, search by every metric, the rating sheet, the files and
MLflow.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark import encoders, knn
from vsspark.catalogue.checks import check_images
from vsspark.catalogue.columns import own_columns
from vsspark.catalogue.spark import images_from, named_images, read_catalogue, unreadable
from vsspark.catalogue.uris import leads_outside
from vsspark.config import CatalogueConfig, Config, EncoderConfig, EvaluationConfig
from vsspark.demo.spark import demo_catalogue
from vsspark.embed.spark import embed_images, prepare, spread
from vsspark.encoders import Encoder
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.errors import DataQualityError, Reason, SchemaError
from vsspark.evaluation.compare import Row, Sample, draw_queries, head_figures, random_figures, search_figures
from vsspark.evaluation.files import output_folder, write_results, write_texts
from vsspark.evaluation.rating_sheet import blind_pairs, write_sheet
from vsspark.evaluation.ratings import summarise_ratings
from vsspark.evaluation.results import EncoderLine, Results, Unusable
from vsspark.evaluation.spark import read_embeddings, read_sample, refusals, sample_images
from vsspark.images.product import preprocessing_mark
from vsspark.progress import Progress
from vsspark.spark import session
from vsspark.storage.store import Store
from vsspark.tracking import check_store, log_comparison, use_tracking_store


class _Comparison(NamedTuple):
    """What every step of one comparison uses."""

    store: Store
    config: Config
    run_id: str
    progress: Progress


class _Contender(NamedTuple):
    """An encoder that is compared."""

    number: int
    title: str  # name and layer; a second one of that title (other weights) is numbered
    config: EncoderConfig


class _Embeddings(NamedTuple):
    title: str
    encoder: Encoder
    model_version: str
    unit_norm: bool
    rows: DataFrame  # of `embed_images`, as written
    seconds: float


def compare_encoders(spark: SparkSession, config: Config, run_id: str) -> tuple[Results, Path]:
    """(the comparison, the folder evaluation.path/RUN_ID with its files); it is logged to MLflow as well.

    Nothing published is touched: of the tables below output.path none is read or written, and the staged embeddings
    go when it ends. Memory of the driver: one encoder's embeddings of the sample at a time, read from Arrow, and the
    engine's copies of them while it searches: 5 * sample * d * 4 bytes or less, 512 MB for 20,000 x 1280.
    """
    folder = output_folder(config.evaluation, run_id)
    check_store(config.mlflow)
    # A root of its own: a nightly run clears the staging folder beside its tables when it starts.
    output = config.output.model_copy(update={"path": f"{config.output.path.rstrip('/')}/_evaluation/{run_id}"})
    store, progress, settings = Store(spark, output), Progress(spark.sparkContext.setJobDescription), config.evaluation
    comparison = _Comparison(store, config, run_id, progress)
    store.check_writable()
    store.drop_staging()  # what a killed attempt left behind
    try:
        catalogue = (
            config.catalogue
            if config.catalogue.table is not None
            else demo_catalogue(spark, config.demo, session.storage_options(spark))
        )
        images = _stage_sample(comparison, catalogue)
        inside, outside = (
            images.where(~leads_outside(F.col("uri"), catalogue)),
            images.where(leads_outside(F.col("uri"), catalogue)),
        )
        embeddings = [
            _embed(comparison, inside, contender) for contender in _contenders(settings.encoders or (config.encoder,))
        ]
        unusable = _unusable(images, outside, [each.rows for each in embeddings])
        sample = read_sample(images, np.array([image.image_id for image in unusable], np.int64), settings.sender)
        if len(sample.image_ids) < 2:
            first = f", for example {unusable[0].uri}: {unusable[0].reason}" if unusable else ""
            raise DataQualityError(
                f"{len(sample.image_ids)} of {images.count()} sampled images can be used by every encoder, "
                f"expected at least 2{first}; is catalogue.images_root right?"
            )
        queries = draw_queries(len(sample.image_ids), settings)
        lines, rows, nearest = _figures(embeddings, sample, queries, settings, progress)
    finally:
        store.drop_root()
    counts = len(sample.image_ids) + len(unusable), len(sample.image_ids), len(queries)
    results = Results(run_id, catalogue.table, *counts, sample.several_images, settings, lines, rows, tuple(unusable))
    files = write_results(results, folder)
    if settings.rated_queries:
        with progress.stage("ratings", "drawing the rating sheet") as stage:
            pairs = blind_pairs(nearest, queries, settings.rated_queries, settings.seed)
            files += write_sheet(pairs, sample.uris, folder, config.images, session.storage_options(spark))
            stage.count(pairs=len(pairs))
    with progress.stage("tracking", f"logging to {config.mlflow.experiment}"):
        log_comparison(config, run_id, results.metrics(), results.as_table(), files)
    return results, folder


def judge_models(files: Sequence[str], config: Config) -> str:
    """Each model's mean rating and the raters' agreement as Markdown, from filled-in sheets; written beside the sheet
    and logged to MLflow.
    """
    ratings = summarise_ratings(files, config.evaluation)
    text = ratings.to_markdown()
    paths = write_texts(output_folder(config.evaluation, ratings.sheet), {"ratings.md": text})
    log_comparison(config, f"{ratings.sheet}-ratings", ratings.metrics(), ratings.as_table(), paths)
    return text


def _stage_sample(comparison: _Comparison, catalogue: CatalogueConfig) -> DataFrame:
    """The sampled rows of `images`, written, from the catalogue's table, checked as `ingest` checks it."""
    store, config, run_id, progress = comparison
    with progress.stage("sample", f"at most {config.evaluation.sample:,} images of {catalogue.table}") as stage:
        table = read_catalogue(store.spark, catalogue)
        sender, columns = config.evaluation.sender, catalogue.columns.model_dump().values()
        if sender is not None and (sender not in own_columns(table) or sender in columns):
            further = ", ".join(name for name in own_columns(table) if name not in columns) or "none"
            raise SchemaError(
                f"evaluation.sender={sender}: expected a column of {catalogue.table} "
                f"that catalogue.columns does not name: {further}"
            )
        try:
            rows = store.stage(run_id, "catalogue", images_from(table, catalogue))
        except (PySparkException, Py4JJavaError) as error:
            raise unreadable(catalogue, error) from None
        check_images(rows, catalogue)
        images = store.stage(run_id, "sample", sample_images(named_images(rows), config.evaluation))
        stage.count(images=images.count())
    return images


def _figures(
    embeddings: Sequence[_Embeddings],
    sample: Sample,
    queries: np.ndarray,
    settings: EvaluationConfig,
    progress: Progress,
) -> tuple[tuple[EncoderLine, ...], tuple[Row, ...], dict[str, np.ndarray]]:
    """(the encoders, a row per encoder and metric behind the random control's, model -> nearest image of another
    product of each query).
    """
    control, items = random_figures(sample, queries, settings)
    lines, rows, nearest = [], [control], {control.model: items}
    for each in embeddings:
        x, probabilities = read_embeddings(each.rows, sample.image_ids)
        head = None if probabilities is None else head_figures(probabilities, each.encoder.categories, sample, settings)
        lines.append(
            EncoderLine(
                each.title,
                each.model_version,
                x.shape[1],
                each.unit_norm,
                each.seconds,
                probabilities is not None,
                head,
            )
        )
        for metric in dict.fromkeys(settings.metrics):
            model = f"{each.title} {metric}"
            with progress.stage("search", model):
                knn.search(x[:2], x[:2], 1, metric)  # compiles what the metric needs before the clock runs
                row, nearest[model] = search_figures(x, sample, queries, (each.title, metric), settings)
            rows.append(row)
    return tuple(lines), tuple(rows), nearest


def _contenders(choices: Sequence[EncoderConfig]) -> list[_Contender]:
    contenders, counts = [], {}
    for number, choice in enumerate(choices):
        title = f"{choice.name}.{choice.layer}" if choice.layer else choice.name
        counts[title] = counts.get(title, 0) + 1
        contenders.append(_Contender(number, title if counts[title] == 1 else f"{title} ({counts[title]})", choice))
    return contenders


def _embed(comparison: _Comparison, images: DataFrame, contender: _Contender) -> _Embeddings:
    store, config, run_id, progress = comparison
    number, title, choice = contender
    spark, total = store.spark, images.count()
    with progress.stage("encoder", f"loading {title}"):
        if choice.name.startswith(MLFLOW_SCHEMES):
            use_tracking_store(config.mlflow)
        encoder = encoders.load_configured(choice, session.storage_options(spark))
        model = prepare(spark, encoder, choice)
    version = f"{encoder.model_version}{preprocessing_mark(config.images)}"
    begin = time.perf_counter()
    with progress.stage("embed", f"{total:,} images with {version}") as stage:
        parts = spread(images.withColumn("fingerprint", F.lit(None).cast("string")), total, session.task_slots(spark))
        rows = embed_images(parts, model, config.images, choice, session.storage_options(spark))
        rows = store.stage(run_id, f"embedded-{number}", rows)
        stage.count(images=rows.count())
    if rows.count() != total:
        raise DataQualityError(f"images are lost: {total} in, {rows.count()} embedded or quarantined by {title}")
    return _Embeddings(title, encoder, version, choice.unit_norm, rows, time.perf_counter() - begin)


def _unusable(images: DataFrame, outside: DataFrame, embeddings: Sequence[DataFrame]) -> list[Unusable]:
    """The images that any of the encoders could not use, once each, by their uris."""
    unusable = outside.select("image_id", F.lit(Reason.OUTSIDE_ROOT.value).alias("reason"), F.lit("").alias("detail"))
    for rows in embeddings:
        unusable = unusable.unionByName(refusals(rows))
    first = unusable.groupBy("image_id").agg(F.min(F.struct("reason", "detail")).alias("why"))
    images_and_reasons = (
        images.join(first, "image_id").select("image_id", "uri", "why.reason", "why.detail").orderBy("uri", "image_id")
    )
    return [Unusable(*row) for row in images_and_reasons.collect()]
