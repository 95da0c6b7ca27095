"""Before any picture is read: the model, every file's fingerprint, and whether anything is new at all."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark import __version__, encoders
from vsspark.catalogue.uris import leads_outside
from vsspark.embed.spark import ShippedModel, prepare, spread, stat_images, stored_version
from vsspark.encoders import Encoder
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.errors import Reason
from vsspark.job.run import Run
from vsspark.schemas import IMAGES, complete
from vsspark.spark import session
from vsspark.spark.digest import rows_digest, settings_digest
from vsspark.tracking import use_tracking_store

log = logging.getLogger("vsspark")

# Sections that decide what the published table holds, beside the ones named in `check_stage`.
_SETTINGS = ("blocking", "knn", "recommend")


@dataclass(frozen=True)
class Checked:
    """What is known before any picture is read: the model, and every file's size and fingerprint."""

    encoder: Encoder
    model: ShippedModel
    model_version: str
    files: DataFrame  # image_id, uri, box, size_bytes, fingerprint of the images that may be read
    images: int  # all that the catalogue names


def check_stage(run: Run) -> Checked:
    """Loads the encoder and asks for every file's fingerprint; afterwards `run.inputs` says what the run is made
    from.
    """
    config, store = run.config, run.store
    with run.progress.stage("encoder", f"loading {config.encoder.name}"):
        if config.encoder.name.startswith(MLFLOW_SCHEMES):
            use_tracking_store(config.mlflow)
        encoder = encoders.load(config.encoder.name, config.encoder.weights, config.encoder.layer)
        model = prepare(run.spark, encoder, config.encoder)
        version = stored_version(encoder, config.encoder, config.images)
    images = complete(store.read("images"), IMAGES)
    total = images.count()
    with run.progress.stage("check", f"{total:,} files") as stage:
        wanted = spread(
            images.where(~leads_outside(F.col("uri"), config.catalogue)), total, session.task_slots(run.spark)
        )
        files = store.stage(run.run_id, "files", stat_images(wanted, config.images, session.storage_options(run.spark)))
        stage.count(images=total)
    settings = {name: getattr(config, name).model_dump(mode="json") for name in _SETTINGS}
    settings |= {"roots": config.catalogue.allowed_roots, "format": config.output.format, "vsspark": __version__}
    settings |= {name: getattr(config.images, name) for name in ("max_bytes", "max_pixels", "min_side", "link_roots")}
    run.inputs = settings_digest([rows_digest(images), rows_digest(files), version, settings])
    return Checked(encoder, model, version, files, total)


def nothing_changed(run: Run, published: str) -> bool:
    """Whether the published run was made from the same catalogue, files, model and settings; the run's status then
    says so.

    Images that a store failed to deliver are worth another try, so a run that had such is never the same.
    """
    store = run.store
    if (store.run_row(published) or {}).get("inputs") != run.inputs:
        return False
    missed = store.read("quarantine").where(
        (F.col("run_id") == published) & (F.col("reason") == Reason.UNREADABLE.value)
    )
    if not missed.isEmpty():
        return False
    run.status, run.message = "unchanged", f"nothing has changed since run {published}, which stays published"
    log.info("unchanged  %s; --force WHY publishes all the same", run.message)
    return True
