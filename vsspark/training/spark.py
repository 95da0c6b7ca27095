"""The training set: a catalogue's pictures, decoded once, as a Petastorm dataset that Spark writes.

Cost: every picture is fetched and decoded once and stored at `training.stored_side` (about 25 kB at 256 pixels); one
shuffle of the stored pictures brings a product's together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import cv2
import numpy as np
import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.config import ImagesConfig, TrainingConfig
from vsspark.embed.kernel.photos import PhotoSource, load_photos, photo_rows
from vsspark.spark.workers import map_in_arrow
from vsspark.training import legacy_arrow  # noqa: F401 - before petastorm

# isort: split
from petastorm.codecs import CompressedImageCodec, ScalarCodec
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql.types import IntegerType, LongType, StringType

JPEG_QUALITY = 95
ROW_GROUP_MB = 4  # some 150 pictures: what is read at once
# Where there are products enough: of several workers each gets row groups of its own, and a file has one or more.
FILES = 16
_PER_FILE = 20_000  # pictures, half a gigabyte
_PICTURES = "image_id long, picture binary, stage string, reason string, detail string"


def training_schema(side: int) -> Unischema:
    """One row is a picture: who it is, its product, its category's index (-1 = none), the split its product is in,
    and its pixels as JPEG.
    """
    return Unischema("TrainingSet", [
        UnischemaField("image_id", np.int64, (), ScalarCodec(LongType()), False),
        UnischemaField("product", np.int64, (), ScalarCodec(LongType()), False),
        UnischemaField("product_id", np.str_, (), ScalarCodec(StringType()), False),
        UnischemaField("category", np.int32, (), ScalarCodec(IntegerType()), False),
        UnischemaField("split", np.str_, (), ScalarCodec(StringType()), False),
        UnischemaField("picture", np.uint8, (side, side, 3), CompressedImageCodec("jpeg", JPEG_QUALITY), False),
    ])  # fmt: skip


def decode_pictures(
    images: DataFrame, side: int, config: ImagesConfig, storage_options: Mapping[str, str]
) -> DataFrame:
    """One row per row of `image_id long, uri string, box string`: the picture as JPEG (side, side), or the stage,
    reason and detail of its refusal.

    Lazy, and every picture is decoded again whenever it is evaluated: write it, then split it. images: in as many
    partitions as tasks, see `embed.spark.spread`.
    """
    task = partial(_decode_partition, side=side, config=config, storage_options=dict(storage_options))
    return map_in_arrow(images.select("image_id", "uri", "box"), task, _PICTURES)


def training_rows(
    images: DataFrame, pictures: DataFrame, total: int, categories: list[str], config: TrainingConfig
) -> DataFrame:
    """Rows of `training_schema`: the pictures that have pixels, a product's in one partition and side by side.

    total: rows of images. categories: names in the order of their indices; any other is -1. The split is a hash of
    the product, the same in every run.
    """
    product = F.xxhash64("product_id")
    is_held_out = F.pmod(F.xxhash64("product_id", F.lit(config.seed)), F.lit(1_000_000)) < int(
        config.holdout * 1_000_000
    )
    names = F.array(*[F.lit(name) for name in categories])
    category = F.coalesce(F.array_position(names, F.col("category")), F.lit(0)) - 1
    rows = pictures.where("reason IS NULL").join(images.select("image_id", "product_id", "category"), "image_id")
    rows = rows.select(
        "image_id",
        product.alias("product"),
        "product_id",
        category.cast("int").alias("category"),
        F.when(is_held_out, "validation").otherwise("train").alias("split"),
        "picture",
    )
    return rows.repartition(max(FILES, -(-total // _PER_FILE)), "product").sortWithinPartitions("product", "image_id")


def write_training_set(spark: SparkSession, rows: DataFrame, folder: str, side: int) -> None:
    """Writes the rows below `folder`, a path that the driver and the executors share, with the metadata Petastorm's
    readers look for.
    """
    with materialize_dataset(
        spark, f"file://{folder}", training_schema(side), ROW_GROUP_MB, filesystem_factory=_local_files
    ):
        rows.write.mode("overwrite").parquet(folder)


def _local_files():
    """Unpickled by its name, so that an executor restores the old names before it needs them."""
    return pa.localfs


def _decode_partition(
    batches: Iterable[pa.RecordBatch], side: int, config: ImagesConfig, storage_options: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    cv2.setNumThreads(1)
    source = PhotoSource((side, side), config, storage_options, TaskContext.get().cpus())
    for photo in load_photos(photo_rows(batches), source, 4 * config.fetch_threads):
        picture = None if photo.error else encode_picture(photo.photo.pixels)
        refusal = (photo.stage, photo.error.reason.value, photo.error.detail) if photo.error else (None, None, None)
        values = (photo.image_id, picture, *refusal)
        yield pa.RecordBatch.from_pylist([dict(zip(_ARROW.names, values, strict=True))], schema=_ARROW)


def encode_picture(pixels: np.ndarray) -> bytes:
    """JPEG bytes of (h, w, 3) uint8 RGB, as Petastorm's image codec writes and reads them."""
    return cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


_ARROW = pa.schema(
    [
        ("image_id", pa.int64()),
        ("picture", pa.binary()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
