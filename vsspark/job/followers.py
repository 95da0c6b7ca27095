"""What follows a publish: the report, the tracking and names for BI. A published run owes them until they are done."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from pyspark.sql import SparkSession

from vsspark.config import Config, recorded_settings
from vsspark.job.register import check_metastore, register_tables
from vsspark.progress import Progress
from vsspark.report.build import report_path, write_report
from vsspark.storage.run_tables import RunTables
from vsspark.tracking import check_store, log_run

log = logging.getLogger("vsspark")


def followers(config: Config) -> list[str]:
    """What a run owes from its publish on."""
    return ["report", "tracking"] if config.output.register_as is None else ["report", "tracking", "names"]


def check_followers(spark: SparkSession, config: Config, run_id: str) -> None:
    """Raises when one of them could not be written: checked before the work, not when the table is out."""
    check_metastore(spark, config.output.register_as)
    report_path(config, run_id)
    check_store(config.mlflow)


def follow(tables: RunTables, row: Mapping[str, Any], config: Config, progress: Progress) -> Iterator[str]:
    """Does what the published run of `row` owes; the name of each when it is done."""
    if "report" in row["owed"]:
        with progress.stage("report", f"drawing the report of {row['run_id']}"):
            write_report(tables.spark, tables.store, dict(row), config, tables.storage_options)
        yield "report"
    if "tracking" in row["owed"]:
        with progress.stage("tracking", f"logging to {config.mlflow.experiment}"):
            log_run(config, row, str(report_path(config, row["run_id"])))
        yield "tracking"
    if "names" in row["owed"]:
        if config.output.register_as is not None:
            with progress.stage("names", f"naming the tables in {config.output.register_as}"):
                register_tables(tables.store, config.output.register_as)
        yield "names"


def config_of(config: Config, row: Mapping[str, Any]) -> Config:
    """The configuration with the sections that explain a report as they were in the run of `row`."""
    recorded = json.loads(row["config"])
    sections = ("encoder", "blocking", "knn", "recommend")
    earlier = {name: recorded_settings(type(getattr(config, name)), recorded.get(name, {})) for name in sections}
    return config.model_copy(update=earlier)
