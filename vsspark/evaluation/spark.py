"""The sample that is compared, drawn by product from the catalogue, and its embeddings as arrays.

Cost: two shuffles of product ids and one join for the sample; then each encoder embeds at most `evaluation.sample`
images. What comes to the driver is bounded by the sample, not by the catalogue: sample * d * 4 bytes for an encoder
(102 MB for 20,000 x 1280), one encoder at a time.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.arrow import to_matrix
from vsspark.config import EvaluationConfig
from vsspark.errors import DataQualityError
from vsspark.evaluation.compare import Sample
from vsspark.evaluation.measures import UNKNOWN


def sample_images(images: DataFrame, config: EvaluationConfig) -> DataFrame:
    """Rows of `images` of whole products, at most config.sample of them: the products with the smallest hashes, the
    same ones every time.

    Raises DataQualityError where the first product alone has more images than that.
    """
    order = F.xxhash64("product_id", F.lit(config.seed))
    # Every product has an image.
    products = images.groupBy("product_id").count().orderBy(order, "product_id").limit(config.sample).toArrow()
    fitting = int(np.searchsorted(np.cumsum(products["count"].to_numpy()), config.sample, side="right"))
    if fitting == 0:
        product, count = products["product_id"][0].as_py(), products["count"][0].as_py()
        raise DataQualityError(
            f"evaluation.sample={config.sample}: product {product} alone has {count} images and is not split; "
            f"give at least {count}"
        )
    sample = images.sparkSession.createDataFrame(products.slice(0, fitting).select(["product_id"]))
    return images.join(F.broadcast(sample), "product_id", "left_semi")


def read_sample(images: DataFrame, unusable: np.ndarray, sender: str | None) -> Sample:
    """The sampled images as arrays, but those in `unusable` (int64 image ids). images: rows of `images`. sender: a
    key of `attributes`.
    """
    sender_column = F.col("attributes")[sender] if sender else F.lit(None).cast("string")
    rows = images.select(
        "image_id", "uri", "product_id", "category", F.nullif(F.trim(sender_column), F.lit("")).alias("sender")
    ).toArrow()
    rows = rows.filter(pa.array(~np.isin(rows["image_id"].to_numpy(), unusable))).sort_by("image_id")
    categories, names = _numbers(rows["category"])
    senders = None
    if sender:
        senders, names_of_senders = _numbers(rows["sender"])
        senders = np.where(senders == UNKNOWN, len(names_of_senders) + np.arange(len(senders)), senders)
    return Sample(
        rows["image_id"].to_numpy(),
        rows["uri"].to_numpy(zero_copy_only=False),
        _numbers(rows["product_id"])[0],
        categories,
        names,
        senders,
    )


def refusals(embedded: DataFrame) -> DataFrame:
    """image_id, reason, detail of the rows of `embed_images` that have no embedding."""
    return embedded.where("reason IS NOT NULL").select("image_id", "reason", "detail")


def read_embeddings(embedded: DataFrame, image_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(embeddings (n, d) float32, probabilities (n, c) float32, or None without a head) of these images, in the order
    of their ids.

    embedded: rows of `embed_images`, as written. image_ids: (n,) int64, rising, each of them embedded.
    """
    rows = embedded.where("reason IS NULL").select("image_id", "embedding", "probabilities").toArrow()
    rows = rows.filter(pa.array(np.isin(rows["image_id"].to_numpy(), image_ids))).sort_by("image_id")
    if not np.array_equal(rows["image_id"].to_numpy(), image_ids):
        raise DataQualityError(f"embeddings are lost: {len(image_ids)} images expected, {rows.num_rows} written")
    headless = rows["probabilities"].null_count == rows.num_rows
    return to_matrix(rows["embedding"]), None if headless else to_matrix(rows["probabilities"])


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(numbers (n,) int64 with UNKNOWN for null, the values they stand for)."""
    codes = column.combine_chunks().dictionary_encode()
    return codes.indices.fill_null(UNKNOWN).to_numpy().astype(np.int64), tuple(codes.dictionary.to_pylist())
