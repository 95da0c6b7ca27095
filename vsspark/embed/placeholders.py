"""Pictures that stand in for a missing one: one file's bytes behind more products than any real picture has.

A shop's "no image available" is nobody's product photo; its products would recommend each other, at similarity 1. How
many products share a real picture differs from shop to shop, so the limit follows the catalogue: ten, or three times
what nine pictures in ten stay below, whichever is more. Variants of one group count once.

Cost: one aggregation of the images' ids and hashes, no file is read.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.errors import Reason

LEAST = 10  # products: size runs whose sizes are products of their own share a picture this often
TIMES = 3  # the 90th percentile of products per picture
_STAGE = "decode"  # quarantine.stage: the file could be read, its picture is of no use


def shared_contents(contents: DataFrame, images: DataFrame) -> DataFrame:
    """content, products (how many have it; variants of one group are one), a row per content: a picture of many products,
    each with a box of its own, is many contents.

    contents: image_id, content. images: image_id, product_id, attributes.
    """
    owner = F.coalesce(F.concat(F.lit("group "), F.col("attributes")["group"]), F.col("product_id"))
    rows = contents.select("image_id", "content").join(
        images.select("image_id", F.xxhash64(owner).alias("owner")), "image_id"
    )
    return rows.groupBy("content").agg(F.count_distinct("owner").alias("products"))


def most_shared(shared: DataFrame, limit: int | None) -> int:
    """How many products may share a picture. limit: images.shared_by_at_most; None: by the catalogue itself."""
    if limit is not None:
        return limit
    ninth = shared.agg(F.percentile("products", F.lit(0.9))).first()[0]
    return max(LEAST, int(TIMES * (ninth or 1)))


def without_placeholders(rows: DataFrame, shared: DataFrame, most: int) -> DataFrame:
    """The rows of `embed.reuse.outcomes`, those of contents that too many products share refused as placeholders."""
    detail = F.format_string(
        "%d products share this picture, more than %d; SHA-256 %s",
        "products",
        F.lit(most),
        F.substring("content", 1, 64),
    )
    too_many = shared.where(F.col("products") > most).select("content", detail.alias("shared_detail"))
    found = rows.join(F.broadcast(too_many), "content", "left")
    good = F.col("shared_detail").isNull()
    refusal = {"stage": F.lit(_STAGE), "reason": F.lit(Reason.PLACEHOLDER.value), "detail": F.col("shared_detail")}
    columns = {name: F.when(good, F.col(name)).otherwise(value) for name, value in refusal.items()}
    return found.withColumns({**columns, "content": F.when(good, F.col("content"))}).select(rows.columns)


def placeholder_contents(images: DataFrame, quarantine: DataFrame) -> DataFrame:
    """uri, box, fingerprint, content of the placeholders that a run has set aside: their files are not read again.

    images: rows of `images`. quarantine: of the run that `images` is of.
    """
    hashes = F.regexp_extract("detail", r"SHA-256 ([0-9a-f]{64})$", 1).alias("set_aside")
    known = quarantine.where(F.col("reason") == Reason.PLACEHOLDER.value).select("image_id", hashes)
    rows = images.where("content_hash IS NULL AND fingerprint IS NOT NULL").join(known, "image_id")
    return rows.select("uri", "box", "fingerprint", F.concat_ws(" ", "set_aside", "box").alias("content"))
