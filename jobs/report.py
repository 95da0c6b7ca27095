"""The visual report of the run that is published now, drawn again from its tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyspark.sql import SparkSession

from vsspark import cli, session
from vsspark.config import Config
from vsspark.errors import StorageError
from vsspark.report.build import write_report
from vsspark.store import Store


def report(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    store = Store(spark, config.output)
    published = store.published_runs("similar_products")
    if not published:
        raise StorageError(f"nothing is published below output.path={store.root} yet: run jobs/recommend.py first")
    runs = store.read("runs")
    row = runs.where(runs.run_id == published[0]).first()
    if row is None:
        raise StorageError(f"run {published[0]} is published below output.path={store.root}, but the table runs does not know it")
    print(write_report(spark, store, row.asDict(), config, session.storage_options(spark)))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run_job("report", report, argv)


if __name__ == "__main__":
    raise SystemExit(main())
