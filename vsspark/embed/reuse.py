"""Which images need the network: an image is embedded once per content and model version, however many products,
names or nights share it.

A content is what the network would see: a file's bytes, and the box that cuts the product out where the catalogue
gives one (`with_content`).

A file whose fingerprint is known is not read. A changed or new one is read and hashed first only where its size says
that it may be a copy of something known, or of another new file; all others go straight to the network, which hashes
what it reads.

Cost: the ids, sizes and hashes of the images (about 200 bytes each) are shuffled a few times; no pixel and no
embedding is.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def with_content(rows: DataFrame) -> DataFrame:
    """The rows with `content`, one text for content_hash and box; null where content_hash is.

    Without a box it is content_hash itself: tables from before there were boxes say the same.
    """
    return rows.withColumn(
        "content", F.when(F.col("content_hash").isNotNull(), F.concat_ws(" ", "content_hash", "box"))
    )


def unchanged(files: DataFrame, known: DataFrame) -> DataFrame:
    """image_id, content of the files that were embedded from the same uri with the same fingerprint and box.

    files: image_id, uri, box, size_bytes, fingerprint. known: uri, box, fingerprint, size_bytes, content of what has
    been embedded.
    """
    seen = known.select("uri", "fingerprint", F.col("box").alias("seen_box"), "content").where(
        "fingerprint IS NOT NULL"
    )
    seen = seen.dropDuplicates(["uri", "fingerprint", "seen_box"])
    return (
        files.join(seen, ["uri", "fingerprint"])
        .where(F.col("box").eqNullSafe(F.col("seen_box")))
        .select("image_id", "content")
    )


def possible_copies(changed: DataFrame, known: DataFrame) -> DataFrame:
    """The changed files (rows of `files`) that have the size of a known file or of another changed one."""
    together = (
        changed.groupBy("size_bytes")
        .agg(F.countDistinct("uri").alias("files"), F.count("*").alias("rows"))
        .where("files > 1 OR rows > 1")
    )
    sizes = together.select("size_bytes").union(known.select("size_bytes")).distinct()
    return changed.join(sizes, "size_bytes", "left_semi")


def to_embed(changed: DataFrame, hashed: DataFrame, known: DataFrame) -> DataFrame:
    """The changed files the network must see: of every new content one, and every file of which no hash was taken.

    hashed: image_id, content (null: it could not be read).
    """
    rows = changed.join(hashed, "image_id", "left")
    fresh = rows.join(known.select("content").distinct(), "content", "left_anti")
    first = (
        fresh.groupBy(F.coalesce("content", F.col("image_id").cast("string")))
        .agg(F.min("image_id").alias("image_id"))
        .select("image_id")
    )
    return changed.join(first, "image_id", "left_semi")


def outcomes(files: DataFrame, same: DataFrame, hashed: DataFrame, embedded: DataFrame, known: DataFrame) -> DataFrame:
    """image_id and its content, or the stage, reason and detail of a refusal; neither where the content it was hashed
    as never reached the network.

    embedded: image_id, content, stage, reason, detail of the images this run gave to the network. The network's own
    reading of an image's file counts first, then what was known of it, then what became of a copy of it.
    """
    own = embedded.select(
        "image_id",
        F.col("content").alias("own_content"),
        *[F.col(name).alias(f"own_{name}") for name in ("stage", "reason", "detail")],
    )
    good = known.select("content").distinct().withColumn("good", F.lit(True))
    bad = (
        embedded.where("reason IS NOT NULL AND content IS NOT NULL")
        .dropDuplicates(["content"])
        .select("content", "stage", "reason", "detail")
    )
    claimed = same.unionByName(hashed.join(same, "image_id", "left_anti")).where("content IS NOT NULL")
    rows = (
        files.select("image_id")
        .join(own, "image_id", "left")
        .join(claimed, "image_id", "left")
        .join(good, "content", "left")
        .join(bad, "content", "left")
    )
    refused = F.col("own_reason").isNotNull()
    embedded_here = F.col("own_content").isNotNull() & ~refused
    return rows.select(
        "image_id",
        F.when(embedded_here, F.col("own_content")).when(~refused & F.col("good"), F.col("content")).alias("content"),
        *[
            F.when(refused, F.col(f"own_{name}")).when(~embedded_here & F.col("good").isNull(), F.col(name)).alias(name)
            for name in ("stage", "reason", "detail")
        ],
    )
