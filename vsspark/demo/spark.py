"""The generated catalogue on a cluster: every executor draws and stores its own share of the products."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

import pyarrow as pa
from pyarrow import fs
from pyspark.sql import SparkSession

from vsspark.config import CatalogueConfig, ColumnsConfig, DemoConfig
from vsspark.demo.draw import encode_photo
from vsspark.demo.products import photo_specs, product_spec
from vsspark.spark.workers import map_in_arrow
from vsspark.storage.filesystems import open_filesystem

TABLE = "catalogue"  # a Parquet folder below DemoConfig.path; images lie in images/ beside it
_DONE = "catalogue.json"  # written last: what lies here is the whole catalogue of that specification
_VERSION = 2  # raise it when the same seed would draw other pictures
_FOLDER_PRODUCTS = 500  # per image folder: listings stay short
_TASK_PRODUCTS = 200  # ~6 s of drawing

# One row per image, also the images that were damaged on purpose.
CATALOGUE = pa.schema([
    ("product_id", pa.string()), ("image", pa.string()), ("name", pa.string()), ("category", pa.string()),
    ("price", pa.float64()), ("in_stock", pa.bool_()), ("family", pa.string()), ("colour", pa.string()),
    ("pattern", pa.string()), ("view", pa.string()), ("background", pa.string()),
])  # fmt: skip


def demo_catalogue(
    spark: SparkSession, config: DemoConfig, storage_options: Mapping[str, str] | None = None
) -> CatalogueConfig:
    """The `catalogue` section that reads the generated catalogue, which is drawn first where it is not there."""
    columns = ColumnsConfig(name="name", category="category", price="price", in_stock="in_stock")
    return CatalogueConfig(
        table=generate_catalogue(spark, config, storage_options), images_root=config.path, columns=columns
    )


def generate_catalogue(
    spark: SparkSession, config: DemoConfig, storage_options: Mapping[str, str] | None = None
) -> str:
    """The path of the catalogue table, whose pictures lie beside it; drawn only when it is not there already.

    The table's `image` column is relative to `config.path`: a folder that driver and executors share, or `s3a://...`.
    storage_options: Hadoop's names, as in `storage.filesystems.open_filesystem`; null = what the environment gives.
    """
    spec = {"version": _VERSION, "products": config.products, "seed": config.seed}
    table = posixpath.join(config.path, TABLE)
    files, root = open_filesystem(config.path, storage_options)
    if _read_spec(files, root) == spec:
        return table
    files.create_dir(root, recursive=True)
    if _read_spec(files, root) is not None:  # another catalogue: not complete any more from here on
        files.delete_file(posixpath.join(root, _DONE))
    # A share per task small enough that none runs long, and work for every core.
    tasks = max(min(config.products, spark.sparkContext.defaultParallelism * 2), -(-config.products // _TASK_PRODUCTS))
    seed, path, options = config.seed, config.path, dict(storage_options or {})

    def draw_share(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return draw_products((int(i) for batch in batches for i in batch.column(0).to_numpy()), seed, path, options)

    schema = ", ".join(f"{field.name} {_SQL_TYPES[field.type]}" for field in CATALOGUE)
    rows = map_in_arrow(spark.range(0, config.products, 1, tasks), draw_share, schema)
    rows.write.mode("overwrite").parquet(table)
    with files.open_output_stream(posixpath.join(root, _DONE)) as out:
        out.write(json.dumps(spec).encode())
    return table


_SQL_TYPES = {pa.string(): "string", pa.float64(): "double", pa.bool_(): "boolean"}


def draw_products(
    indices: Iterable[int], seed: int, path: str, storage_options: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """The catalogue rows of those products, in order, their pictures stored below `path` before a row is given."""
    import cv2

    cv2.setNumThreads(1)  # a task has one core; its neighbours draw too
    files, root = open_filesystem(path, storage_options)
    folders = set()
    for index in indices:
        product = product_spec(seed, index)
        rows = []
        for photo in photo_specs(product):
            image = f"images/{index // _FOLDER_PRODUCTS:05d}/{product.product_id}-{photo.position}-{photo.view}.jpg"
            target = posixpath.join(root, image)
            if posixpath.dirname(target) not in folders:
                files.create_dir(posixpath.dirname(target), recursive=True)
                folders.add(posixpath.dirname(target))
            content = encode_photo(product, photo)
            if content is not None:
                with files.open_output_stream(target) as out:
                    out.write(content)
            facts = asdict(product) | {
                "category": product.kind,
                "family": f"F{product.family:06d}",
                "image": image,
                "view": photo.view,
                "background": photo.background,
            }
            rows.append({name: facts[name] for name in CATALOGUE.names})
        yield pa.RecordBatch.from_pylist(rows, CATALOGUE)


def _read_spec(files: fs.FileSystem, root: str) -> dict | None:
    try:
        with files.open_input_stream(posixpath.join(root, _DONE)) as lines:
            return json.loads(lines.read())
    except (FileNotFoundError, ValueError):
        return None
