"""Files -> `embeddings` and `quarantine`: the network sees only contents that no run before has embedded.

Cost of a night: the ids, names and hashes of all images are joined a few times, about 200 bytes each; files are read,
and vectors written, only for what is new. New vectors are written twice, as finished work when their task ends and in
one commit to `embeddings`; none that is there is read or written again.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.blocks.spark import predict_categories
from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.placeholders import most_shared, placeholder_contents, shared_contents, without_placeholders
from vsspark.embed.reuse import known_contents, outcomes, to_read, unchanged, with_bundles, with_content
from vsspark.embed.spark import EMBEDDED, embed_images, spread
from vsspark.errors import DataQualityError, GateRefused, Reason, StorageError
from vsspark.job.check import CheckResult
from vsspark.job.model import Model
from vsspark.job.result import StageResult
from vsspark.schemas import EMBEDDINGS
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")

_SMALL = 200_000  # rows of names and hashes, about 50 MB: fit to be sent to every task


@dataclass(frozen=True)
class EmbedResult(StageResult):
    """contents: image_id, content, content_hash, fingerprint of the images that have an embedding; embedded: how many.
    placeholders: image_id, fingerprint of the images that are set aside as placeholders.

    content: content_hash and box as one text, see `embed.reuse.with_content`.
    """

    contents: DataFrame
    embedded: int
    placeholders: DataFrame


@dataclass(frozen=True)
class _Session:
    """What stays the same while a run embeds."""

    tables: RunTables
    model: Model
    images: ImagesConfig
    encoder: EncoderConfig

    @property
    def work_name(self) -> str:
        return f"embedded/{self.model.version}"

    def work(self) -> DataFrame:
        """Rows of `EMBEDDED` with attempt and content, of this run and of killed ones."""
        return with_content(self.tables.read_work(self.work_name, f"{EMBEDDED}, attempt string"))

    def embedded(self) -> DataFrame:
        """The rows of `work` with an embedding. They are told by their width: no vector is read to find them."""
        return self.work().where("reason IS NULL AND width IS NOT NULL")

    def stored(self) -> DataFrame:
        """content, content_hash, box, size_bytes of every embedding of this model version within the limits."""
        names = ["content", "content_hash", "box", "size_bytes"]
        table = with_content(vectors_of(self.tables, self.model.version)).where(_within_limits(self.images))
        work = self.embedded().where(_within_limits(self.images))
        return table.select(names).unionByName(work.select(names))


def embed_stage(
    tables: RunTables, images: DataFrame, check: CheckResult, model: Model, config: tuple[ImagesConfig, EncoderConfig]
) -> EmbedResult:
    """Reads and embeds what is new; every image ends with a content or in `quarantine`.

    images: CATALOGUE_COLUMNS. What the network has finished is kept below `_work` as each task ends, so that a killed
    run goes on from there. Raises GateRefused where no image can be used, StorageError where finished work is lost.
    """
    now = _Session(tables, model, *config)
    last = _last_seen(now)
    same = tables.stage("unchanged", unchanged(check.files, last))
    wanted = to_read(check.files, same, now.stored())
    attempts, inferred = [], 0
    while True:
        attempt, count = _read_files(now, f"wanted-{len(attempts)}", wanted)
        attempts.append(attempt)
        inferred += count
        rows, good, unsettled = _outcomes(now, check.files, same, attempts)
        if not unsettled:
            break
        if len(attempts) == 2:
            raise StorageError(f"{unsettled} images have neither embedding nor reason: was _work cleared?")
        # A content shares 60 bits with another: its files are read once more, none of them taken for a known one.
        left = check.files.join(rows.where("content IS NULL AND reason IS NULL"), "image_id", "left_semi")
        wanted = left.withColumn("size_bytes", F.lit(None).cast("long"))
    total = check.counts["images"]
    rows, placeholders = _set_aside_placeholders(now, images, rows)
    good -= placeholders
    tables.replace("quarantine", _quarantine(tables.run_id, images, rows, check.outside), tables.run_id)
    refused = tables.read("quarantine").where(F.col("run_id") == tables.run_id)
    if good == 0:
        raise GateRefused(f"no image could be used, nothing was published; {_commonest_reason(refused)}")
    lost = refused.count()
    if good + lost != total:
        where = f"below {tables.store.root}"
        raise DataQualityError(f"images are lost: {total} in, {good} embedded + {lost} quarantined {where}")
    _append(now)
    fingerprints = check.files.select("image_id", "fingerprint")
    contents = rows.where("content IS NOT NULL").select("image_id", "content").join(fingerprints, "image_id")
    contents = tables.stage("contents", contents.withColumn("content_hash", F.substring("content", 1, 64)))
    counts = {"images": total, "inferred": inferred, "embedded": good, "quarantined": total - good}
    counts |= {"placeholders": placeholders} if placeholders else {}
    aside = rows.where(F.col("reason") == Reason.PLACEHOLDER.value).select("image_id").join(fingerprints, "image_id")
    return EmbedResult(contents, good, aside, counts=counts)


def vectors_of(tables: RunTables, model_version: str) -> DataFrame:
    """The rows of `embeddings` of a model version."""
    return tables.read_or_empty("embeddings").where(F.col("model_version") == model_version)


def with_vectors(rows: DataFrame, embeddings: DataFrame, count: int) -> DataFrame:
    """The rows, which have a content, with `embedding`.

    embeddings: rows of one model version. count: rows. In a small catalogue the rows travel and the vectors stay where
    they are; in a larger one both go through a shuffle, n * d * 4 bytes.
    """
    vectors = with_content(embeddings).select("content", "embedding")
    return vectors.join(F.broadcast(rows) if count <= _SMALL else rows, "content")


def _set_aside_placeholders(now: _Session, images: DataFrame, rows: DataFrame) -> tuple[DataFrame, int]:
    """(the outcomes without placeholders, how many images these are)."""
    contents = rows.where("content IS NOT NULL").select("image_id", "content")
    shared = now.tables.stage("shared", shared_contents(contents, images))
    most = most_shared(shared, now.images.shared_by_at_most)
    found = shared.where(F.col("products") > most).agg(F.count("*"), F.max("products")).first()
    if not found[0]:
        return rows, 0
    rows = now.tables.stage("without-placeholders", without_placeholders(rows, shared, most))
    count = rows.where(F.col("reason") == Reason.PLACEHOLDER.value).count()
    about = "embed      placeholders: %d pictures stand for %s images, the commonest for %s products (more than %d)"
    log.warning(about, found[0], f"{count:,}", f"{found[1]:,}", most)
    return rows, count


def _last_seen(now: _Session) -> DataFrame:
    """uri, box, fingerprint, content of the files that the run before, or a killed one, has read."""
    names = ["uri", "box", "fingerprint", "content"]
    images = now.tables.read_or_empty("images")
    table = with_content(images).where(F.col("content").isNotNull()).select(names)
    refused = now.tables.read_or_empty("quarantine").where(F.col("run_id") == now.tables.store.embedding_run())
    table = table.unionByName(placeholder_contents(images, refused))
    return table.select(names).unionByName(now.work().where("reason IS NULL").select(names))


def _read_files(now: _Session, name: str, wanted: DataFrame) -> tuple[str, int]:
    """Reads the files into `_work`: the attempt that marks their rows there, and how many went through the network."""
    attempt = uuid.uuid4().hex
    wanted = now.tables.stage(name, with_bundles(known_contents(wanted, now.stored())))
    count, size = wanted.agg(F.count("*"), F.coalesce(F.sum("size_bytes"), F.lit(0))).first()
    if not count:
        return attempt, 0
    dealt = spread(wanted, count, now.tables.slots, size)
    rows = embed_images(dealt, now.model.shipped, now.images, now.encoder, now.tables.storage_options)
    now.tables.add_work(now.work_name, rows.withColumn("attempt", F.lit(attempt)))
    done = now.work().where(F.col("attempt") == attempt)
    return attempt, done.where("width IS NOT NULL OR reason IS NOT NULL").count()


def _outcomes(now: _Session, files: DataFrame, same: DataFrame, attempts: list[str]) -> tuple[DataFrame, int, int]:
    """Rows of `reuse.outcomes`, how many have a content, and how many have neither content nor refusal."""
    work = now.work().where(F.col("attempt").isin(attempts))
    read = work.withColumn("turn", F.when(F.col("attempt") == attempts[-1], 1).otherwise(0))
    rows = now.tables.stage(f"outcomes-{len(attempts)}", outcomes(files, same, read, now.stored()))
    unsettled = F.count_if(F.col("content").isNull() & F.col("reason").isNull())
    good, left = rows.agg(F.count("content"), unsettled).first()
    return rows, good, left


def _append(now: _Session) -> None:
    """Adds every finished content that `embeddings` lacks, once."""
    done = now.embedded()
    there = with_content(vectors_of(now.tables, now.model.version)).select("content")
    keys = done.groupBy("content").agg(F.min(F.struct("attempt", "image_id")).alias("one"))
    keys = now.tables.stage("new-contents", keys.join(there, "content", "left_anti").select("one.*"))
    count = keys.count()
    if not count:
        return
    rows = done.join(F.broadcast(keys) if count <= _SMALL else keys, ["attempt", "image_id"], "left_semi")
    if now.model.encoder.categories is None:
        none = {"predicted_category": F.lit(None), "category_probabilities": F.lit(None)}
        types = {field.name: field.dataType for field in EMBEDDINGS}
        rows = rows.withColumns({name: value.cast(types[name]) for name, value in none.items()})
    else:
        rows = predict_categories(rows, None, now.model.encoder.categories)
    named = {"model_version": F.lit(now.model.version), "run_id": F.lit(now.tables.run_id)}
    now.tables.append("embeddings", rows.withColumns(named))


def _within_limits(images: ImagesConfig) -> Column:
    """Whether what was embedded under other limits would be embedded under these."""
    fits = (F.col("size_bytes") <= images.max_bytes) & (F.least("width", "height") >= images.min_side)
    fits &= F.col("width").cast("long") * F.col("height") <= images.max_pixels
    return F.coalesce(fits, F.lit(True))  # an earlier release's rows do not say


def _quarantine(run_id: str, images: DataFrame, rows: DataFrame, outside: DataFrame) -> DataFrame:
    bad = rows.where("content IS NULL").select("image_id", "stage", "reason", "detail")
    refused = outside.select(
        "image_id",
        F.lit("fetch").alias("stage"),
        F.lit(Reason.OUTSIDE_ROOT.value).alias("reason"),
        F.lit("the name leads outside the roots the catalogue may read from").alias("detail"),
    )
    named = images.select("image_id", "product_id", "uri")
    return bad.unionByName(refused).join(named, "image_id").withColumn("run_id", F.lit(run_id))


def _commonest_reason(lost: DataFrame) -> str:
    facts = (F.count("*").alias("n"), F.first("uri").alias("uri"), F.first("detail").alias("detail"))
    most = lost.groupBy("reason").agg(*facts).orderBy(F.col("n").desc()).first()
    return (
        f"most often {most.reason} ({most.n:,} images), for example {most.uri}: {most.detail}; "
        "is catalogue.images_root right?"
    )
