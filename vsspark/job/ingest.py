"""The catalogue table, checked -> rows of `images`."""

from __future__ import annotations

from dataclasses import dataclass

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.catalogue.checks import check_images, rejected_rows
from vsspark.catalogue.spark import images_from, named_images, read_catalogue, unreadable
from vsspark.config import CatalogueConfig, RecommendConfig
from vsspark.embed.reuse import crop
from vsspark.job.result import StageResult
from vsspark.recommend.rules import check_fields
from vsspark.schemas import IMAGES, complete
from vsspark.spark.digest import rows_digest
from vsspark.storage.run_tables import RunTables

_OF_THE_FILE = ["content_hash", "fingerprint", "model_version", "predicted_category", "category_probabilities", "head"]


@dataclass(frozen=True)
class IngestResult(StageResult):
    """images: CATALOGUE_COLUMNS, a row per image that the catalogue names; rejected: REJECTED_ROWS but for run_id, the
    catalogue's rows that are set aside. Nothing is written yet."""

    images: DataFrame
    rejected: DataFrame


def ingest_stage(tables: RunTables, catalogue: CatalogueConfig, recommend: RecommendConfig) -> IngestResult:
    """The images that the catalogue names. Raises ConfigError, SchemaError and DataQualityError as the checks do."""
    rows = images_from(read_catalogue(tables.spark, catalogue), catalogue, recommend.min_stock)
    try:
        rows = tables.stage("catalogue", rows)
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable(catalogue, error) from None
    counts = check_images(rows, catalogue)
    check_fields(rows, recommend)
    return IngestResult(named_images(rows), rejected_rows(rows), counts=counts)


def write_rejected(tables: RunTables, rejected: DataFrame, count: int) -> None:
    """Writes `rejected_rows`: those of this run, in place of the last one's. count: how many they are."""
    if count or tables.exists("rejected_rows"):
        tables.overwrite("rejected_rows", rejected.withColumn("run_id", F.lit(tables.run_id)))


def write_images(tables: RunTables, images: DataFrame) -> None:
    """Writes `images` for a stage that runs alone: with what the table knew of the same file and box."""
    before = tables.read_or_empty("images")
    known = before.where("content_hash IS NOT NULL OR fingerprint IS NOT NULL").select("uri", crop(), *_OF_THE_FILE)
    rows = images.withColumn("crop", crop()).join(known.dropDuplicates(["uri", "crop"]), ["uri", "crop"], "left")
    rows = tables.stage("images", complete(rows.drop("crop"), IMAGES))
    if not tables.exists("images") or rows_digest(rows.select(IMAGES.names)) != rows_digest(
        before.select(IMAGES.names)
    ):
        tables.overwrite("images", rows)


def named_rows(tables: RunTables) -> DataFrame:
    """CATALOGUE_COLUMNS of `images` as it is: what a later stage that runs alone begins with."""
    return tables.read("images").select(*[F.col(name) for name in IMAGES.names if name not in _OF_THE_FILE])
