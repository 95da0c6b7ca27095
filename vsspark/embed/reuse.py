"""Which images need the network: an image is embedded once per content and model version, however many products, names or nights share it.

A file whose fingerprint is known is not read. A changed or new one is read and hashed first only where its size says that it may be a copy
of something known, or of another new file; all others go straight to the network, which hashes what it reads.

Cost: the ids, sizes and hashes of the images (about 200 bytes each) are shuffled a few times; no pixel and no embedding is.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def unchanged(files: DataFrame, known: DataFrame) -> DataFrame:
    """image_id, content_hash of the files that were embedded from the same uri with the same fingerprint.

    files: image_id, uri, size_bytes, fingerprint. known: uri, fingerprint, size_bytes, content_hash of what has been embedded.
    """
    seen = known.select("uri", "fingerprint", "content_hash").where("fingerprint IS NOT NULL").dropDuplicates(["uri", "fingerprint"])
    return files.join(seen, ["uri", "fingerprint"]).select("image_id", "content_hash")


def possible_copies(changed: DataFrame, known: DataFrame) -> DataFrame:
    """The changed files (rows of `files`) that have the size of a known file or of another changed one."""
    together = changed.groupBy("size_bytes").agg(F.countDistinct("uri").alias("files"), F.count("*").alias("rows")).where("files > 1 OR rows > 1")
    sizes = together.select("size_bytes").union(known.select("size_bytes")).distinct()
    return changed.join(sizes, "size_bytes", "left_semi")


def to_embed(changed: DataFrame, hashed: DataFrame, known: DataFrame) -> DataFrame:
    """The changed files the network must see: of every new content one, and every file of which no hash was taken.

    hashed: image_id, content_hash (null: it could not be read).
    """
    rows = changed.join(hashed, "image_id", "left")
    fresh = rows.join(known.select("content_hash").distinct(), "content_hash", "left_anti")
    first = fresh.groupBy(F.coalesce("content_hash", F.col("image_id").cast("string"))).agg(F.min("image_id").alias("image_id")).select("image_id")
    return changed.join(first, "image_id", "left_semi")


def outcomes(files: DataFrame, same: DataFrame, hashed: DataFrame, embedded: DataFrame, known: DataFrame) -> DataFrame:
    """image_id and its content_hash, or the stage, reason and detail of a refusal; neither where the content it was hashed as never reached the network.

    embedded: image_id, content_hash, stage, reason, detail of the images this run gave to the network.
    The network's own reading of an image's file counts first, then what was known of it, then what became of a copy of it.
    """
    own = embedded.select("image_id", F.col("content_hash").alias("own_hash"), *[F.col(name).alias(f"own_{name}") for name in ("stage", "reason", "detail")])
    good = known.select("content_hash").distinct().withColumn("good", F.lit(True))
    bad = embedded.where("reason IS NOT NULL AND content_hash IS NOT NULL").dropDuplicates(["content_hash"]).select("content_hash", "stage", "reason", "detail")
    claimed = same.unionByName(hashed.join(same, "image_id", "left_anti")).where("content_hash IS NOT NULL")
    rows = (
        files.select("image_id")
        .join(own, "image_id", "left")
        .join(claimed, "image_id", "left")
        .join(good, "content_hash", "left")
        .join(bad, "content_hash", "left")
    )
    refused = F.col("own_reason").isNotNull()
    embedded_here = F.col("own_hash").isNotNull() & ~refused
    return rows.select(
        "image_id",
        F.when(embedded_here, F.col("own_hash")).when(~refused & F.col("good"), F.col("content_hash")).alias("content_hash"),
        *[
            F.when(refused, F.col(f"own_{name}")).when(~embedded_here & F.col("good").isNull(), F.col(name)).alias(name)
            for name in ("stage", "reason", "detail")
        ],
    )
