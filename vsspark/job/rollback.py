"""Going back to a run that was published earlier."""

from __future__ import annotations

import argparse

from pyspark.sql import SparkSession

from vsspark.config import Config
from vsspark.errors import StorageError
from vsspark.job.run import Run


def rollback(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Makes an earlier published run current again: `--to RUN_ID`, or the one before the current."""
    with Run(spark, config, args.run_id, args.run_date) as run:
        published, current = run.store.published_runs("similar_products"), run.store.current_run("similar_products")
        earlier = published[published.index(current) + 1 :] if current in published else published
        target = args.to or next(iter(earlier), None)
        if target is None:
            raise StorageError(
                f"there is no run published before {current} below output.path={run.store.root}; "
                f"it has {', '.join(published) or 'none'}"
            )
        with run.progress.stage("rollback", f"from {current} to {target}"):
            versions = run.store.restore("similar_products", target)
        row = run.store.run_row(target)
        if row is not None and versions:
            run.store.write_run_row(row | {"versions": {**(row["versions"] or {}), **versions}})
        run.put_back(target)
        run.status, run.message = "rolled_back", f"{target} is current again"
