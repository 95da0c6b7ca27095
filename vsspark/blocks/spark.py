"""Embedded images -> predicted categories -> blocks to be in and blocks to probe.

Cost: the head is fitted on the driver from at most `blocking.fit_sample` rows (20,000 x 1280 float32 = 100 MB), whatever the catalogue's
size; applying it is one narrow pass over the embeddings, n * d * c multiplications, no shuffle.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType, MapType, StringType, StructField, StructType

from vsspark.blocks.head import Head, fit_cluster_head, fit_softmax_head
from vsspark.config import BlockingConfig
from vsspark.workers import map_in_arrow

_KEPT = 16  # probabilities stored per image: with more categories the tail is noise, and it would outweigh the embedding


def sample_embeddings(embedded: DataFrame, config: BlockingConfig, labelled: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most `fit_sample` rows on the driver: embeddings (n, d) float32, categories (n,) str, product ids (n,) str.

    embedded: image_id, product_id, category, embedding. The rows with the smallest hash of image_id: the same ones every night.
    """
    rows = embedded.where(F.col("category").isNotNull()) if labelled else embedded
    # The ids alone are sorted, 8 bytes a row: an embedding in the sort would send every partition's best 20,000 through one task.
    picked = rows.select("image_id").orderBy(F.xxhash64("image_id", F.lit(config.seed)), "image_id").limit(config.fit_sample)
    kept = rows.join(F.broadcast(picked), "image_id", "left_semi")
    table = kept.select("image_id", "embedding", "category", "product_id").toArrow().sort_by("image_id").combine_chunks()
    return matrix(table.column("embedding")), table.column("category").to_numpy(zero_copy_only=False), table.column("product_id").to_numpy(zero_copy_only=False)


def fit_head(embedded: DataFrame, config: BlockingConfig, images: int) -> Head:
    """A softmax head where any image has a category, else clusters. embedded: see `sample_embeddings`."""
    if config.by != "cluster":
        x, labels, products = sample_embeddings(embedded, config, labelled=True)
        if len(x):
            return fit_softmax_head(x, labels.astype(str), products.astype(str), config.holdout, config.seed)
    x, _, _ = sample_embeddings(embedded, config, labelled=False)
    clusters = config.clusters or int(np.clip(math.sqrt(images / 50), 2, 1000))
    return fit_cluster_head(x, clusters, config.seed)


def head_digest(head: Head) -> str:
    """A hash of what the head computes."""
    return hashlib.sha256(head.weights.tobytes() + head.bias.tobytes() + repr(head.categories).encode()).hexdigest()[:16]


def predict_categories(embedded: DataFrame, head: Head | None, head_categories: tuple[str, ...] | None) -> DataFrame:
    """The rows with predicted_category and category_probabilities (map, most probable first, at most 16) in place of `probabilities`.

    head None: the encoder's own `probabilities` (aligned with head_categories) are used; otherwise the head is applied to `embedding`.
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
            p = matrix(batch.column("probabilities")) if head is None else head.probabilities(matrix(batch.column("embedding")))
            best, kept = most_probable(p, _KEPT)  # (n, m) each
            labels = pa.array(np.asarray(categories, dtype=object)[best.ravel()], pa.string())
            offsets = pa.array(np.arange(len(p) + 1, dtype=np.int32) * best.shape[1])
            maps = pa.MapArray.from_arrays(offsets, labels, pa.array(kept.ravel(), pa.float32()))
            first = pa.array(np.asarray(categories, dtype=object)[best[:, 0]], pa.string())
            yield pa.RecordBatch.from_arrays([*[batch.column(n) for n in names], first, maps], [f.name for f in schema.fields])

    return map_in_arrow(embedded, predict, schema)


def most_probable(p: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """(columns (n, m) int64, values (n, m)) of the m largest per row, largest first, ties by lower column."""
    best = np.argsort(-p, axis=1, kind="stable")[:, :m]
    return best, np.take_along_axis(p, best, axis=1)


def with_blocks(images: DataFrame, config: BlockingConfig) -> DataFrame:
    """The rows with `block` (the one it is an item of) and `probes` (those its query searches, its own first), both by name.

    images: predicted_category, category_probabilities, category. A probe of a category in which there is no item is left out.
    """
    if config.by == "none":
        return images.withColumns({"block": F.lit("all"), "probes": F.array(F.lit("all"))})
    own = F.coalesce("category", "predicted_category") if config.by == "catalogue_category" else F.col("predicted_category")
    names = F.lit(sorted(row[0] for row in images.select(own).distinct().collect()))
    probed = F.filter(_probed_categories(config), lambda c: F.array_contains(names, c))
    return images.withColumns({"block": own, "probes": F.slice(F.array_distinct(F.concat(F.array(own), probed)), 1, config.probes)})


def number_blocks(rows: DataFrame) -> DataFrame:
    """The rows with block and probes as int, numbered by name; a probe of a block in which there is no item falls away.

    block null: an item of none.
    """
    names = F.lit(sorted(row[0] for row in rows.select("block").where("block IS NOT NULL").distinct().collect())).cast("array<string>")
    number = lambda name: (F.array_position(names, name) - 1).cast("int")  # noqa: E731
    return rows.withColumns({"block": number(F.col("block")), "probes": F.filter(F.transform("probes", number), lambda b: b >= 0)})


def _probed_categories(config: BlockingConfig) -> Column:
    """The most probable categories until their probabilities add up to `blocking.probability`, at most `blocking.probes`."""
    entries = F.array_sort(
        F.map_entries("category_probabilities"),
        lambda a, b: F.when(a["value"] > b["value"], -1).when(a["value"] < b["value"], 1).when(a["key"] < b["key"], -1).otherwise(1),
    )
    first = F.slice(entries, 1, config.probes)
    before = lambda i: F.aggregate(F.slice(first, 1, i), F.lit(0.0), lambda total, e: total + e["value"])  # noqa: E731
    return F.transform(F.filter(first, lambda e, i: before(i) < config.probability), lambda e: e["key"])


def matrix(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n, d) float32 of a list<float> column, without a Python object per row. Every row must have the same length."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = array.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(len(array), -1)
