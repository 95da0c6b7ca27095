"""The training set on disk: written when it is not there yet, described by a small file that is written last."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.catalogue.checks import check_images
from vsspark.catalogue.spark import images_from, named_images, read_catalogue
from vsspark.catalogue.uris import leads_outside
from vsspark.config import Config
from vsspark.embed.spark import spread
from vsspark.encoders.model_files import content_hash
from vsspark.errors import ConfigError, DataQualityError
from vsspark.progress import Progress
from vsspark.schemas import QUARANTINE, conform
from vsspark.spark import session
from vsspark.training.cluster import Cluster
from vsspark.training.spark import decode_pictures, training_rows, write_training_set

_DESCRIPTION = "training-set.json"  # written last


@dataclass(frozen=True)
class TrainingSet:
    """A training set on disk."""

    folder: str  # the Petastorm dataset; checkpoints and features of these pictures lie beside it
    categories: tuple[str, ...]  # names in the order of their indices
    category_counts: tuple[int, ...]  # pictures to learn from, in the same order
    pictures: dict[str, int]  # per split
    products: dict[str, int]
    quarantined: int


def prepare_training_set(spark: SparkSession, config: Config, run_id: str, cluster: Cluster) -> TrainingSet:
    """Decodes the catalogue's pictures into a Petastorm dataset below `training.path`; one that an earlier call
    finished is taken as it is.

    It is known by the catalogue's rows and the settings that shape it, not by the pictures' bytes: pictures that
    changed under their names want another `training.path`. What cannot be decoded is in the Parquet folder
    `quarantine` beside it, with its reason. Raises DataQualityError where too little is left to train on.
    """
    if config.catalogue.table is None:
        raise ConfigError(
            "catalogue.table: needed, an encoder is fitted to a catalogue; "
            "the one that ships was fitted with conf/default-encoder.yaml"
        )
    source = _source(spark, config)
    description = source.folder / _DESCRIPTION
    cluster.await_first(description.exists)
    if not description.exists():
        _write(spark, config, source, run_id)
    return _read(description)


class _Source(NamedTuple):
    images: DataFrame  # the catalogue's, cached
    categories: list[str]  # those to learn
    folder: Path  # of these images and settings alone


def _source(spark: SparkSession, config: Config) -> _Source:
    training = config.training
    rows = images_from(read_catalogue(spark, config.catalogue), config.catalogue).cache()
    check_images(rows, config.catalogue)
    images = named_images(rows)
    counts = (
        images.where("category IS NOT NULL").groupBy("category").count().orderBy(F.desc("count"), "category").collect()
    )
    categories = sorted(row.category for row in counts[: training.top_categories])
    if len(categories) < 2:
        raise DataQualityError(
            f"catalogue.columns.category: {len(categories)} categories in {config.catalogue.table}; "
            "an encoder learns from two or more"
        )
    if training.top_categories is not None:
        images = images.where(F.col("category").isin(categories))
    stamp = images.agg(F.sum(F.xxhash64("image_id", "category", "box").cast("decimal(38,0)"))).first()[0]
    shape = training.model_dump(include={"stored_side", "holdout", "seed"})
    key = content_hash(
        json.dumps([str(stamp), shape, config.images.model_dump(), config.catalogue.allowed_roots]).encode()
    )
    return _Source(images, categories, Path(training.path).absolute() / key)


def _write(spark: SparkSession, config: Config, source: _Source, run_id: str) -> None:
    images, categories, folder = source
    training, progress = config.training, Progress(spark.sparkContext.setJobDescription)
    with progress.stage("pictures", f"decoding to {training.stored_side} pixels") as stage:
        outside = leads_outside(F.col("uri"), config.catalogue)
        inside = images.where(~outside)
        total = inside.count()
        parts = spread(inside, total, session.task_slots(spark))
        pictures = decode_pictures(parts, training.stored_side, config.images, session.storage_options(spark))
        pictures.write.mode("overwrite").parquet(f"{folder}/decoded")
        pictures = spark.read.parquet(f"{folder}/decoded")
        refusals = pictures.where("reason IS NOT NULL").select("image_id", "stage", "reason", "detail")
        climbing = images.where(outside).select(
            "image_id", F.lit("fetch").alias("stage"), F.lit("outside_root").alias("reason"), F.lit("").alias("detail")
        )
        bad = (
            refusals.unionByName(climbing)
            .join(images.select("image_id", "product_id", "uri"), "image_id")
            .withColumn("run_id", F.lit(run_id))
        )
        conform(bad, QUARANTINE, "quarantine").write.mode("overwrite").parquet(f"{folder}/quarantine")
        quarantined = spark.read.parquet(f"{folder}/quarantine").count()
        stage.count(pictures=total, quarantined=quarantined)
    with progress.stage("dataset", f"writing {folder}/pictures"):
        write_training_set(
            spark,
            training_rows(images, pictures, total, categories, training),
            f"{folder}/pictures",
            training.stored_side,
        )
    rows = spark.read.parquet(f"{folder}/pictures")
    counts = rows.groupBy("split").agg(F.count("*").alias("n"), F.countDistinct("product").alias("products")).collect()
    picture_counts, product_counts = ({row.split: row[name] for row in counts} for name in ("n", "products"))
    if set(picture_counts) != {"train", "validation"}:
        raise DataQualityError(
            f"{config.catalogue.table}: usable pictures per split {picture_counts}; "
            "training needs products in both, raise training.holdout?"
        )
    by_category = dict(rows.where("split = 'train'").groupBy("category").count().collect())
    training_set = TrainingSet(
        f"{folder}/pictures",
        tuple(categories),
        tuple(by_category.get(i, 0) for i in range(len(categories))),
        picture_counts,
        product_counts,
        quarantined,
    )
    partial = folder / "training-set.partial"
    partial.write_text(json.dumps(asdict(training_set), indent=2), encoding="utf-8")
    partial.replace(folder / _DESCRIPTION)


def _read(file: Path) -> TrainingSet:
    about = json.loads(file.read_text(encoding="utf-8"))
    return TrainingSet(**(about | {name: tuple(about[name]) for name in ("categories", "category_counts")}))
