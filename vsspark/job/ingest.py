"""The catalogue table, checked -> `images`."""

from __future__ import annotations

import logging

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from vsspark.catalogue.checks import check_images
from vsspark.catalogue.spark import images_from, named_images, read_catalogue, unreadable
from vsspark.demo.spark import demo_catalogue
from vsspark.job.run import Run
from vsspark.schemas import IMAGES
from vsspark.spark import session
from vsspark.spark.digest import rows_digest

log = logging.getLogger("vsspark")


def ingest_stage(run: Run) -> None:
    """The catalogue table, checked -> `images`."""
    catalogue = run.config.catalogue
    if catalogue.table is None:
        with run.progress.stage(
            "demo", f"drawing the demo catalogue of {run.config.demo.products:,} products below {run.config.demo.path}"
        ):
            catalogue = demo_catalogue(run.spark, run.config.demo, session.storage_options(run.spark))
    with run.progress.stage("ingest", f"reading {catalogue.table}") as stage:
        rows = images_from(read_catalogue(run.spark, catalogue), catalogue)
        try:
            rows = run.store.stage(run.run_id, "catalogue", rows)
        except (PySparkException, Py4JJavaError) as error:
            raise unreadable(catalogue, error) from None
        counts = check_images(rows, catalogue)
        named = named_images(rows)
        if not run.store.exists("images") or rows_digest(named) != rows_digest(run.store.read("images")):
            run.store.overwrite("images", named, IMAGES, run.run_id)
        stage.count(
            images=counts["images"],
            products=counts["products"],
            products_without_image=counts["products_without_image"],
        )
