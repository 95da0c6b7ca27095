"""The tables below `output.path`: this package alone knows where they are.

What is published is what the newest commit to `similar_products` says, and nothing else. That commit carries the run
and the versions of the tables that belong to it; `runs.versions` has them for readers. A reader who joins tables reads
those (`read_published`) and never sees two runs at once, whatever is being written. Parquet: see `parquet.py`.

Below the root, names that start with an underscore are not for readers: `_staging` and `_work` are described in
`scratch.py`; `_searched` is what `neighbours` was made from; `_heads` holds the heads that runs have fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from vsspark.config import OutputConfig
from vsspark.errors import StorageError
from vsspark.schemas import RUNS, complete, conform
from vsspark.storage.delta import DeltaTables
from vsspark.storage.parquet import ParquetTables
from vsspark.storage.scratch import Scratch

if TYPE_CHECKING:
    from vsspark.storage.lock import OutputLock

_PUBLISHED_TOGETHER = (
    "images", "embeddings", "quarantine", "neighbours", "_searched", "short_lists", "duplicate_groups", "applied_rules",
    "similar_products",
)  # fmt: skip
# What a run that is not published has changed before its end. `embeddings` only grows: what a run has added stays good.
_STATE = ("images", "neighbours", "_searched", "short_lists", "duplicate_groups", "applied_rules")


class Store(Scratch):
    """Reads, writes and publishes tables in the format of `output.format`.

    lock: of the run that writes. Every write then looks at it first and raises StorageError when another run has taken
    it over. Readers have none.
    """

    def __init__(self, spark: SparkSession, output: OutputConfig, lock: OutputLock | None = None):
        root = output.path.rstrip("/")
        super().__init__(spark, root, lock)
        self.format = output.format
        self._tables: DeltaTables | ParquetTables
        if output.format == "delta":
            self._tables = DeltaTables(spark, self._files, root, output.keep_days, lock)
        else:
            self._tables = ParquetTables(spark, self._files, root, lock)

    def path(self, table: str) -> str:
        return self._tables.path(table)

    def exists(self, table: str) -> bool:
        return self._tables.exists(table)

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """The table as it is now, or, in Delta, at a version. Raises StorageError when no run has written it."""
        if not self.exists(table):
            where = f"does not exist below output.path={self.root}"
            raise StorageError(f"table {table} {where}: run the stage that writes it first")
        return self._tables.read(table, version)

    def published_run(self) -> dict:
        """The row of `runs` of the run that readers see. Raises StorageError when nothing is published."""
        current = self.current_run("similar_products")
        if current is None:
            raise StorageError(f"nothing is published below output.path={self.root} yet: run jobs/recommend.py first")
        row = self.run_row(current)
        if row is None:
            where = f"is published below output.path={self.root}"
            raise StorageError(f"run {current} {where}, but the table runs does not know it")
        return row

    def read_published(self, table: str, run: Mapping[str, Any] | None = None) -> DataFrame:
        """The table as the published run left it. In Parquet, the table as it is now.

        run: what `published_run` said. Whoever reads several tables asks it once: between two calls without it another
        run may be published. Raises StorageError when nothing is published.
        """
        run = self.published_run() if run is None else run
        versions = dict(run.get("versions") or {})  # an earlier release's rows have none
        if run["status"] != "published":
            versions.pop("similar_products", None)  # of the run before, where its own commit has none on record yet
        return self.read(table, versions.get(table))

    def versions(self) -> dict[str, int]:
        """The Delta version that every table is read at; empty in Parquet."""
        known = {table: self._tables.version(table) for table in _PUBLISHED_TOGETHER if self.exists(table)}
        return {table: version for table, version in known.items() if version is not None}

    def run_row(self, run_id: str) -> dict | None:
        """The row of `runs`; None where there is none."""
        if not self.exists("runs"):
            return None
        row = complete(self.read("runs"), RUNS).where(F.col("run_id") == run_id).first()
        return row and row.asDict()

    def write_run_row(self, row: Mapping[str, Any]) -> None:
        """Writes a row of `runs`, in place of the one of this run_id."""
        df = self.spark.createDataFrame([tuple(row[name] for name in RUNS.names)], RUNS).coalesce(1)
        self.replace("runs", df, RUNS, by="run_id", value=row["run_id"], run_id=row["run_id"])

    def runs_that_owe(self) -> list[dict]:
        """The rows of `runs` of published runs that still lack a report or tracking, oldest first."""
        if not self.exists("runs"):
            return []
        rows = complete(self.read("runs"), RUNS).where((F.col("status") != "publishing") & (F.size("owed") > 0))
        return [row.asDict() for row in rows.orderBy("started_at").collect()]

    def embedding_run(self, run_id: str | None = None) -> str | None:
        """The run whose embeddings and quarantine a run left in the tables, by default the last one; None where nothing
        had been embedded."""
        if not self.exists("runs"):
            return None
        runs = complete(self.read("runs"), RUNS)
        own = F.when(F.col("counts")["inferred"].isNotNull(), F.col("run_id"))  # an earlier release's rows do not say
        known = runs.withColumn("by", F.coalesce("embedded_by", own)).where("by IS NOT NULL")
        if run_id is not None:
            known = known.where(F.col("run_id") == run_id)
        row = known.orderBy("finished_at", ascending=False).select("by").first()
        return row and row.by

    def overwrite(self, table: str, df: DataFrame, schema: StructType, run_id: str, by: str | None = None) -> None:
        """Replaces the whole table. by: the column it is partitioned by."""
        with self._writable():
            self._tables.overwrite(table, conform(df, schema, table), run_id, by=by)

    def replace(self, table: str, df: DataFrame, schema: StructType, by: str, value: str, run_id: str) -> None:
        """Replaces the rows whose `by` is `value`; the others stay. The table is partitioned by that column."""
        with self._writable():
            self._tables.replace(table, conform(df, schema, table), by, value, run_id)

    def append(self, table: str, df: DataFrame, schema: StructType, by: str | None, run_id: str) -> None:
        """Adds rows; none that is there is written again. by: the column the table is partitioned by."""
        with self._writable():
            self._tables.append(table, conform(df, schema, table), by, run_id)

    # -- published runs of one table ---------------------------------------------------------------------------------

    def publish(
        self,
        table: str,
        df: DataFrame,
        schema: StructType,
        run_id: str,
        versions: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Makes these rows current, in one commit, and keeps the runs before it for `restore`.

        versions: of the tables that belong to them; returned with the table's own. Empty in Parquet.
        """
        with self._writable():
            return self._tables.publish(table, conform(df, schema, table), run_id, versions or {})

    def own_publish(self, table: str) -> dict[str, int] | None:
        """What `publish` would have returned, asked of the table, for a call that did not return. None: no commit."""
        return self._tables.own_publish(table)

    def last_publish(self, table: str) -> tuple[str, dict[str, int]] | None:
        """(run id, versions) as the newest commit has them; None where it does not say."""
        return self._tables.last_publish(table)

    def published_runs(self, table: str) -> list[str]:
        """Run ids in the order they were published, newest first; rolling back changes which one is current, not this
        order."""
        return self._tables.published_runs(table)

    def current_run(self, table: str) -> str | None:
        """The run that readers see; None where nothing is published."""
        return self._tables.current_run(table)

    def restore(self, table: str, run_id: str) -> dict[str, int]:
        """Makes an earlier published run current again, and the tables beside `similar_products` with it: all or none.

        Returns the versions that the tables have now. Raises StorageError where a file of that run is gone.
        """
        published = self.published_runs(table)
        if run_id not in published:
            raise StorageError(f"{table} has no published run {run_id}; it has {', '.join(published) or 'none'}")
        versions: dict[str, int] = {}
        if table == "similar_products":
            versions = (self.run_row(run_id) or {}).get("versions") or {}
        targets = {beside: versions[beside] for beside in _STATE if beside in versions}
        return self._tables.restore({**targets, table: versions.get(table)}, run_id)

    def restore_state(self, run_id: str, versions: Mapping[str, int]) -> dict[str, int]:
        """Puts the tables beside `similar_products` back to a published run's versions where they are not at them.

        Returns the new versions of those that were. Raises StorageError, and changes none, where a file is gone.
        """
        now = self.versions()
        known = [table for table in _STATE if table in versions]
        targets = {table: versions[table] for table in known if now.get(table) != versions[table]}
        return self._tables.restore(targets, run_id) if targets else {}

    # -- one writer --------------------------------------------------------------------------------------------------

    def revoke(self, tokens: Sequence[str]) -> None:
        """Makes sure that nothing more comes of the commits of runs whose lease was taken over."""
        if tokens:
            self._tables.revoke(tokens)

    def abandon(self, interrupted: bool) -> None:
        """Ends the writes of a run that has failed to the tables beside `similar_products`, before they are restored.

        interrupted: the commit of a call that did not return may still be on its way.
        """
        self._tables.abandon(_STATE, interrupted)

    def vacuum(self) -> None:
        """Removes the files that no version of the last `output.keep_days` days needs; rolling back reaches as far."""
        self._tables.vacuum((*_PUBLISHED_TOGETHER, "rejected_rows", "runs"))

    def complete_swaps(self) -> None:
        """Brings back the Parquet tables that a killed run had moved away and not yet replaced."""
        self._tables.complete_swaps(_PUBLISHED_TOGETHER)
