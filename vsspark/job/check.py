"""Before any picture is read: every file's fingerprint, and a digest of all that a run is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark import __version__
from vsspark.catalogue.uris import leads_outside
from vsspark.config import CatalogueConfig, Config, ImagesConfig
from vsspark.embed.spark import spread, stat_images
from vsspark.errors import Reason
from vsspark.job.result import StageResult
from vsspark.knn import values
from vsspark.recommend.written import WrittenRule
from vsspark.spark.digest import rows_digest, settings_digest
from vsspark.storage.run_tables import RunTables

# Sections that decide what the published table holds, beside the keys named in `inputs_digest`.
_SETTINGS = ("blocking", "knn", "recommend")


@dataclass(frozen=True)
class CheckResult(StageResult):
    """files: image_id, uri, box, size_bytes, fingerprint of the images that may be read; outside: image_id of the
    others, whose names lead out of the roots."""

    files: DataFrame
    outside: DataFrame


def check_stage(tables: RunTables, images: DataFrame, catalogue: CatalogueConfig, config: ImagesConfig) -> CheckResult:
    """Size and fingerprint of every file that the images name. images: CATALOGUE_COLUMNS."""
    total = images.count()
    outside = leads_outside(F.col("uri"), catalogue)
    named = images.where(~outside).select("image_id", "uri", "box")
    if (catalogue.images_root or catalogue.table or "").startswith(
        "s3"
    ):  # ranges of names: a task lists a stretch of the bucket
        wanted = named.repartitionByRange(4 * tables.slots, "uri").sortWithinPartitions("uri")
    else:
        wanted = spread(named, total, tables.slots)
    files = tables.stage("files", stat_images(wanted, config, tables.storage_options))
    return CheckResult(files, images.where(outside).select("image_id"), counts={"images": total})


def inputs_digest(
    images: DataFrame, files: DataFrame, model_version: str, config: Config, written: Sequence[WrittenRule] = ()
) -> str:
    """`runs.inputs`: equal for two runs that would publish the same table, but for a head that was kept. written: the rules of
    `recommend.rules` that are in force."""
    settings = {name: getattr(config, name).model_dump(mode="json") for name in _SETTINGS}
    settings |= {"roots": config.catalogue.allowed_roots, "format": config.output.format, "vsspark": __version__}
    limits = (
        "max_bytes",
        "max_pixels",
        "min_side",
        "shared_by_at_most",
        "link_roots",
        "redirect_hosts",
        "private_hosts",
    )
    settings |= {name: getattr(config.images, name) for name in limits}
    settings |= {"values": values.VERSION, "written": [repr(replace(rule, line=0, note="")) for rule in written]}
    return settings_digest([rows_digest(images), rows_digest(files), model_version, settings])


def undelivered(tables: RunTables, run_id: str) -> bool:
    """Whether a run met images that a store failed to deliver: they are worth another try."""
    met = tables.read("quarantine").where((F.col("run_id") == run_id) & (F.col("reason") == Reason.UNREADABLE.value))
    return not met.isEmpty()
