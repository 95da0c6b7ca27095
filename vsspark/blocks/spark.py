"""Embedded images -> predicted categories -> blocks to be in and blocks to probe.

Cost: the head is fitted on the driver from at most `blocking.fit_sample` rows, whatever the catalogue's size: 100 MB of
float32 for 20,000 x 1280, and five times that in the fit (`fit_softmax_head`). Applying it is one narrow pass over the
embeddings, n * d * c multiplications, no shuffle.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType, MapType, StringType, StructField, StructType
from pyspark.sql.window import Window

from vsspark.arrow import to_matrix
from vsspark.blocks.head import Head, Sample, fit_cluster_head, fit_softmax_head
from vsspark.blocks.quotas import category_quotas
from vsspark.config import BlockingConfig
from vsspark.spark.workers import map_in_arrow

_CATEGORIES = 16  # probabilities stored per image: the tail of many categories is noise, and larger than the embedding


def sample_embeddings(
    rows: DataFrame, vectors: DataFrame, config: BlockingConfig, images: Mapping[str, int] | None = None
) -> Sample:
    """At most `fit_sample` rows on the driver.

    rows: image_id, product_id, category, content. vectors: content, embedding. images: labelled images by category;
    None: labels do not matter. The rows with the smallest hash of image_id, the same ones every night; where labels
    matter, those of each category, by its quota (`category_quotas`).
    """
    # The ids alone are sorted: an embedding in the sort would send every partition's best 20,000 through one task.
    if images is not None:
        labelled = rows.where(F.col("category").isNotNull())
        ids = _ids_by_quota(labelled, images, category_quotas(images, config.fit_sample), config.seed)
    else:
        order = F.xxhash64("image_id", F.lit(config.seed))
        ids = rows.select("image_id").orderBy(order, "image_id").limit(config.fit_sample)
    sample = rows.join(F.broadcast(ids), "image_id", "left_semi")
    sample = vectors.select("content", "embedding").join(F.broadcast(sample), "content")
    table = (
        sample.select("image_id", "embedding", "category", "product_id").toArrow().sort_by("image_id").combine_chunks()
    )
    names = [table.column(name).to_numpy(zero_copy_only=False) for name in ("category", "product_id")]
    return Sample(to_matrix(table.column("embedding")), *names)


def count_categories(rows: DataFrame) -> dict[str, int]:
    """Labelled images by category. One row per category comes to the driver."""
    with_category = rows.where(F.col("category").isNotNull())
    return {row["category"]: row["count"] for row in with_category.groupBy("category").count().collect()}


def _ids_by_quota(rows: DataFrame, images: Mapping[str, int], quotas: Mapping[str, int], seed: int) -> DataFrame:
    """image_id of each category's rows with the smallest hashes, as many as its quota.

    A bound on the hash first leaves about 1.5 times the quota, so that no task sorts a whole category. That fewer than
    the quota pass it has a chance below 1e-6 for each category, none at all of fewer than 20 images.
    """
    spark = rows.sparkSession
    share = {name: min(1.0, (1.5 * quota + 20) / images[name]) for name, quota in quotas.items()}
    bounds = [(name, quota, int(2**64 * share[name]) - 2**63 - 1) for name, quota in quotas.items()]
    limits = spark.createDataFrame(bounds, "category string, quota int, bound long")
    hashes = rows.select("image_id", "category", F.xxhash64("image_id", F.lit(seed)).alias("hash"))
    near = hashes.join(F.broadcast(limits), "category").where(F.col("hash") <= F.col("bound"))
    place = F.row_number().over(Window.partitionBy("category").orderBy("hash", "image_id"))
    return near.withColumn("place", place).where(F.col("place") <= F.col("quota")).select("image_id")


def fit_head(rows: DataFrame, vectors: DataFrame, config: BlockingConfig, images: int) -> Head:
    """A softmax head where any image has a category, else clusters. rows, vectors: see `sample_embeddings`."""
    if config.by != "cluster":
        counts = count_categories(rows)
        if counts:
            x, labels, products = sample_embeddings(rows, vectors, config, counts)
            return fit_softmax_head(
                Sample(x, labels.astype(str), products.astype(str)), config.holdout, config.seed, counts
            )
    x, _, _ = sample_embeddings(rows, vectors, config)
    clusters = config.clusters or int(np.clip(math.sqrt(images / 50), 2, 1000))
    return fit_cluster_head(x, clusters, config.seed)


def head_digest(head: Head) -> str:
    """A hash of what the head computes."""
    numbers = head.weights.tobytes() + head.bias.tobytes()
    return hashlib.sha256(numbers + repr(head.categories).encode()).hexdigest()[:16]


def predict_categories(embedded: DataFrame, head: Head | None, head_categories: tuple[str, ...] | None) -> DataFrame:
    """The rows with predicted_category and category_probabilities (map, most probable first, at most 16) in place of
    `probabilities`.

    head None: the encoder's own `probabilities` (aligned with head_categories) are used; otherwise the head is
    applied to `embedding`.
    """
    schema = StructType([f for f in embedded.schema.fields if f.name != "probabilities"])
    schema = StructType([
        *schema.fields,
        StructField("predicted_category", StringType()),
        StructField("category_probabilities", MapType(StringType(), FloatType())),
    ])  # fmt: skip
    categories = head.categories if head is not None else head_categories
    names = [f.name for f in schema.fields[:-2]]

    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            p = (
                to_matrix(batch.column("probabilities"))
                if head is None
                else head.probabilities(to_matrix(batch.column("embedding")))
            )
            best, largest = most_probable(p, _CATEGORIES)  # (n, m) each
            labels = pa.array(np.asarray(categories, dtype=object)[best.ravel()], pa.string())
            offsets = pa.array(np.arange(len(p) + 1, dtype=np.int32) * best.shape[1])
            maps = pa.MapArray.from_arrays(offsets, labels, pa.array(largest.ravel(), pa.float32()))
            first = pa.array(np.asarray(categories, dtype=object)[best[:, 0]], pa.string())
            yield pa.RecordBatch.from_arrays(
                [*[batch.column(n) for n in names], first, maps], [f.name for f in schema.fields]
            )

    return map_in_arrow(embedded, predict, schema)


def most_probable(p: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns (n, m) int64, values (n, m)) of the m largest per row, largest first, ties by lower column."""
    best = np.argsort(-p, axis=1, kind="stable")[:, :m]
    return best, np.take_along_axis(p, best, axis=1)


def with_blocks(images: DataFrame, config: BlockingConfig) -> DataFrame:
    """The rows with `block` (the one it is an item of) and `probes` (those its query searches, its own first), both
    by name.

    images: predicted_category, category_probabilities, category. A probe of a category in which there is no item is
    left out.
    """
    if config.by == "none":
        return images.withColumns({"block": F.lit("all"), "probes": F.array(F.lit("all"))})
    block = (
        F.coalesce("category", "predicted_category")
        if config.by == "catalogue_category"
        else F.col("predicted_category")
    )
    names = F.lit(sorted(row[0] for row in images.select(block).distinct().collect()))
    probes = F.filter(_probes(config), lambda c: F.array_contains(names, c))
    return images.withColumns(
        {"block": block, "probes": F.slice(F.array_distinct(F.concat(F.array(block), probes)), 1, config.probes)}
    )


def number_blocks(rows: DataFrame) -> DataFrame:
    """The rows with block and probes as int, numbered by name; a probe of a block in which there is no item falls away.

    block null: an item of none.
    """
    names = F.lit(sorted(row[0] for row in rows.select("block").where("block IS NOT NULL").distinct().collect())).cast(
        "array<string>"
    )
    number = lambda name: (F.array_position(names, name) - 1).cast("int")  # noqa: E731
    return rows.withColumns(
        {"block": number(F.col("block")), "probes": F.filter(F.transform("probes", number), lambda b: b >= 0)}
    )


def _probes(config: BlockingConfig) -> Column:
    """The most probable categories until their probabilities add up to `blocking.probability`, at most
    `blocking.probes`.
    """
    entries = F.array_sort(
        F.map_entries("category_probabilities"),
        lambda a, b: (
            F.when(a["value"] > b["value"], -1)
            .when(a["value"] < b["value"], 1)
            .when(a["key"] < b["key"], -1)
            .otherwise(1)
        ),
    )
    first = F.slice(entries, 1, config.probes)
    before = lambda i: F.aggregate(F.slice(first, 1, i), F.lit(0.0), lambda total, e: total + e["value"])  # noqa: E731
    return F.transform(F.filter(first, lambda e, i: before(i) < config.probability), lambda e: e["key"])
