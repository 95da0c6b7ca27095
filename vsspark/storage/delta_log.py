"""The log of a Delta table: its newest version, and the run behind each commit."""

from __future__ import annotations

import json
from typing import NamedTuple

from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from vsspark.storage.files import Files


class Commit(NamedTuple):
    """A commit that a run has made. note: run_id; of a publish also versions and, since there is one, token."""

    version: int
    restored: bool
    note: dict


def written_at(files: Files, path: str) -> dict[int, float]:
    """Version -> when it was committed, by listing the log: Delta's history takes a Spark job per table."""
    files_and_times = [(*name.rsplit(".", 1), at) for name, at in files.listing(f"{path}/_delta_log") if "." in name]
    return {int(version): at for version, kind, at in files_and_times if kind == "json" and version.isdecimal()}


def newest_version(files: Files, path: str) -> int:
    return max(written_at(files, path))


def commits(spark: SparkSession, path: str) -> list[Commit]:
    """Newest first, as far as the log reaches back; those of other writers (OPTIMIZE, VACUUM, a hand) are left out."""
    history = DeltaTable.forPath(spark, path).history().select("version", "operation", "userMetadata")
    rows = history.orderBy("version", ascending=False).collect()
    notes = [row for row in rows if (row.userMetadata or "").startswith('{"run_id"')]
    return [Commit(row.version, row.operation == "RESTORE", json.loads(row.userMetadata)) for row in notes]
