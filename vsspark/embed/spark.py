"""The embed stage on Spark: images in, one row per image out, the model shipped to the executors once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark import SparkFiles, TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.kernel.files import stat_files
from vsspark.embed.kernel.frame import embed_batches
from vsspark.embed.kernel.photos import PhotoSource
from vsspark.encoders import Encoder
from vsspark.encoders.engines import load_engine
from vsspark.errors import ConfigError
from vsspark.images.fit import Fit
from vsspark.spark.gpus import cores_per_gpu, one_gpu_per_task, take_gpu
from vsspark.spark.workers import map_in_arrow

STATED = "image_id long, uri string, box string, size_bytes long, fingerprint string"
# One row per image that comes in; `reason` is null for an embedded one and for a copy, which has no embedding. In an
# encoder without a head `probabilities` is null.
EMBEDDED = (
    "image_id long, uri string, box string, fingerprint string, content_hash string, size_bytes long, "
    "width int, height int, embedding array<float>, probabilities array<float>, "
    "stage string, reason string, detail string"
)
# ONNX Runtime on one core, MobileNetV2: 138 images/s in batches of 4, 131 of 8, 117 of 32, whose layers outgrow the
# cache.
CPU_BATCH = 4


@dataclass(frozen=True)
class ShippedModel:
    """What a task needs to know of the model; the file itself travels by SparkContext.addFile."""

    file: str  # its name among the session's files
    engine: str
    batch_size: int
    size: tuple[int, int] | Fit  # (height, width) of its pictures, pixels, or how they are fitted
    cpus_per_gpu: int | None = None  # where a task has a GPU to itself: the cores that decode for it


def prepare(spark: SparkSession, encoder: Encoder, config: EncoderConfig) -> ShippedModel:
    """The encoder shipped to every executor of the session; calling it again costs nothing."""
    cpus_per_gpu = cores_per_gpu(spark)
    engine = config.engine
    if engine == "auto":
        engine = "tensorflow" if cpus_per_gpu and "tensorflow" in encoder.files else "onnxruntime"
    if engine not in encoder.files:
        raise ConfigError(f"encoder.engine: got {engine}; {encoder.name} runs on {', '.join(encoder.files)}")
    path = encoder.network(engine)
    files = {os.path.basename(file) for file in spark.sparkContext.listFiles}
    for file in (path, encoder.tensors):
        if file is not None and file.name not in files:
            spark.sparkContext.addFile(str(file))
    batch_size = min(config.batch_size, CPU_BATCH) if engine == "onnxruntime" else config.batch_size
    return ShippedModel(
        path.name, engine, batch_size, encoder.picture_size, cpus_per_gpu if engine == "tensorflow" else None
    )


def stat_images(images: DataFrame, config: ImagesConfig, storage_options: Mapping[str, str]) -> DataFrame:
    """`STATED` rows, one per row of `image_id long, uri string`: size and fingerprint, null where the file cannot be
    reached. No file is read.

    A column `box` is passed on, here and in `embed_images`; where the rows have none, it is null. Rows in the order of
    their uris, a range of them in each partition, let a listing tell of a thousand objects at once.
    """
    return map_in_arrow(
        _with_box(images), partial(stat_files, images=config, storage_options=dict(storage_options)), STATED
    )


def embed_images(
    images: DataFrame,
    model: ShippedModel,
    images_config: ImagesConfig,
    encoder_config: EncoderConfig,
    storage_options: Mapping[str, str],
) -> DataFrame:
    """`EMBEDDED` rows, one per row of `image_id long, uri string, fingerprint string`, in any order.

    With a column `known array<long>` (first 60 bits of the hashes of the contents that a file may be a copy of; null:
    of none) a task embeds each content once and skips those; a copy has a row without embedding. A file is read once.

    Lazy, and the network runs again whenever it is evaluated: write it, then filter what was written. Photos cost
    very different times, so give it several partitions per core, with a folder's images spread over them (`spread`).
    """
    task = partial(
        _embed_partition,
        model=model,
        images=images_config,
        encoder=encoder_config,
        storage_options=dict(storage_options),
    )
    columns = [name for name in ("fingerprint", "known") if name in images.columns]
    return map_in_arrow(_with_box(images, *columns), task, EMBEDDED, profile=one_gpu_per_task(model.cpus_per_gpu))


def _with_box(images: DataFrame, *more: str) -> DataFrame:
    box = F.col("box") if "box" in images.columns else F.lit(None).cast("string")
    return images.select("image_id", "uri", box.alias("box"), *more)


def spread(images: DataFrame, total: int, slots: int, total_bytes: int = 0) -> DataFrame:
    """The same rows in partitions that cost about the same: every folder's images hashed over all of them, rows of one
    `bundle`, where there is that column, in one partition.

    total: rows. slots: tasks that run at a time. total_bytes: of their files, where it is known. Four partitions per
    slot, but not for fewer than 64 images each (in eight per slot the same 2,000 images took a tenth longer); about
    2,000 images or 512 MiB at most, so that neither many images nor large ones keep a task for long, and a lost
    executor repeats minutes, not hours.
    """
    partitions = max(min(4 * slots, -(-total // 64)), -(-total // 2000), -(-total_bytes // 2**29), 1)
    key = "bundle" if "bundle" in images.columns else "image_id"
    return images.repartition(min(partitions, max(total, 1)), key)


def _embed_partition(
    batches: Iterator[pa.RecordBatch],
    model: ShippedModel,
    images: ImagesConfig,
    encoder: EncoderConfig,
    storage_options: dict[str, str],
) -> Iterator[pa.RecordBatch]:
    take_gpu()
    threads = TaskContext.get().cpus()
    engine = load_engine(model.engine, SparkFiles.get(model.file), model.batch_size, threads)
    photos = PhotoSource(model.size, images, storage_options, threads)
    yield from _with_files(batches, lambda rows: embed_batches(rows, engine, encoder, photos))


def _with_files(batches: Iterable[pa.RecordBatch], embed: Callable) -> Iterator[pa.RecordBatch]:
    """What `embed` makes of the batches, with the uri, box and fingerprint of each image; it holds those of the
    images on their way.
    """
    waiting: dict[int, tuple[str | None, ...]] = {}

    names = ("uri", "box", "fingerprint")

    def remember() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids, *columns = (batch.column(name).to_pylist() for name in ("image_id", *names))
            waiting.update(zip(ids, zip(*columns, strict=True), strict=True))
            yield batch

    for batch in embed(remember()):
        files = [waiting.pop(image_id) for image_id in batch.column("image_id").to_pylist()]
        for i, name in enumerate(names):
            batch = batch.add_column(1 + i, name, pa.array([file[i] for file in files], pa.string()))
        yield batch
