"""Which files the network must see: an image is embedded once per content and model version, however many products,
names or nights share it.

A content is what the network would see: a file's bytes, and the box that cuts the product out where the catalogue
gives one (`with_content`).

A file whose fingerprint is known is not read. Every other file is read once, by the task that embeds it: the task
hashes what it reads and skips contents that have an embedding (`known_contents`), and files of equal size, which alone
can be copies of each other, go to one task (`with_bundles`).

Cost: the ids, sizes and hashes of the images (about 200 bytes each) are shuffled a few times; no pixel and no
embedding is. A content that many files of one size share is embedded once per BUNDLE of them, not once.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.embed.kernel.copies import PREFIX_DIGITS

BUNDLE = 64  # files of one size that stay together: more would make one task of a shop of equally large files
MOST_KNOWN = 1000  # contents of one size that a task is told of, 8 kB a file; of more it is told none


def with_content(rows: DataFrame) -> DataFrame:
    """The rows with `content`, one text for content_hash and box; null where content_hash is."""
    content = F.concat_ws(" ", "content_hash", "box")
    return rows.withColumn("content", F.when(F.col("content_hash").isNotNull(), content))


def crop() -> Column:
    """The column box, made fit to join on: empty for the whole picture."""
    return F.coalesce("box", F.lit("")).alias("crop")


def unchanged(files: DataFrame, known: DataFrame) -> DataFrame:
    """image_id, content of the files that had the same uri, fingerprint and box when they were last read.

    files: image_id, uri, box, fingerprint. known: uri, box, fingerprint, content of files that have been read.
    """
    seen = known.where("fingerprint IS NOT NULL").select("uri", "fingerprint", crop(), "content")
    keys = ["uri", "fingerprint", "crop"]
    rows = files.select("image_id", "uri", "fingerprint", crop())
    return rows.join(seen.dropDuplicates(keys), keys).select("image_id", "content")


def to_read(files: DataFrame, unchanged: DataFrame, stored: DataFrame) -> DataFrame:
    """image_id, uri, box, size_bytes, fingerprint of the files to read: one image of each file and box.

    unchanged: image_id, content. stored: content of every embedding that may be used.
    """
    settled = unchanged.join(stored.select("content").distinct(), "content", "left_semi")
    rest = files.join(settled, "image_id", "left_anti")
    facts = F.struct("image_id", "box", "size_bytes", "fingerprint")
    return rest.groupBy("uri", crop()).agg(F.min_by(facts, "image_id").alias("first")).select("uri", "first.*")


def known_contents(wanted: DataFrame, stored: DataFrame) -> DataFrame:
    """The rows with `known` array<long>: the first 60 bits of the hash of each stored content of a file's size and box.

    wanted: rows of `to_read`. stored: content_hash, box, size_bytes of the embeddings. Empty where there is none, and
    where there are more than MOST_KNOWN, which costs a copy among those files a run of the network.
    """
    prefix = F.conv(F.substring("content_hash", 1, PREFIX_DIGITS), 16, 10).cast("long")
    sizes = wanted.select("size_bytes").distinct()
    alike = stored.join(sizes, "size_bytes", "left_semi").groupBy("size_bytes", crop())
    alike = alike.agg(F.slice(F.collect_set(prefix), 1, MOST_KNOWN + 1).alias("known"))
    none = F.array().cast("array<long>")
    rows = wanted.withColumn("crop", crop()).join(alike, ["size_bytes", "crop"], "left").drop("crop")
    few = F.col("known").isNotNull() & (F.size("known") <= MOST_KNOWN)
    return rows.withColumn("known", F.when(few, F.col("known")).otherwise(none))


def with_bundles(wanted: DataFrame) -> DataFrame:
    """The rows with `bundle` long: equal for about BUNDLE files of one size at most, and for the boxes of one file."""
    sizes = wanted.groupBy("size_bytes").agg(F.ceil(F.count("*") / BUNDLE).alias("bundles"))
    rows = wanted.join(sizes, "size_bytes", "left")
    part = F.when(F.col("bundles") > 1, F.pmod(F.xxhash64("uri"), "bundles")).otherwise(0)
    bundle = F.when(F.col("size_bytes").isNull(), F.xxhash64("uri")).otherwise(F.xxhash64("size_bytes", part))
    return rows.withColumn("bundle", bundle).drop("bundles")


def outcomes(files: DataFrame, unchanged: DataFrame, read: DataFrame, stored: DataFrame) -> DataFrame:
    """image_id and its content, or the stage, reason and detail of a refusal; neither where the content it has is
    stored nowhere.

    files, unchanged: see above. read: uri, box, turn, content, stage, reason, detail of the files this run has read; a
    copy has a content and no reason; of two readings that of the later turn counts. stored: content of every embedding
    that may be used. This run's reading of a file counts first, then what was known of it, then what became of a copy.
    """
    names = ("stage", "reason", "detail")
    facts = F.struct(F.col("content").alias("own_content"), *[F.col(n).alias(f"own_{n}") for n in names])
    own = read.groupBy("uri", crop()).agg(F.max_by(facts, "turn").alias("own")).select("uri", "crop", "own.*")
    good = stored.select("content").distinct().withColumn("good", F.lit(True))
    bad = read.where("reason IS NOT NULL AND content IS NOT NULL").dropDuplicates(["content"]).select("content", *names)
    refused = F.col("own_reason").isNotNull()
    rows = (
        files.select("image_id", "uri", crop())
        .join(own, ["uri", "crop"], "left")
        .join(unchanged.withColumnRenamed("content", "last_content"), "image_id", "left")
        .withColumn("content", F.coalesce("own_content", "last_content"))
        .join(good, "content", "left")
        .join(bad, "content", "left")
    )
    usable = ~refused & F.col("good").isNotNull()
    return rows.select(
        "image_id",
        F.when(usable, F.col("content")).alias("content"),
        *[F.when(refused, F.col(f"own_{n}")).when(~usable, F.col(n)).alias(n) for n in names],
    )
