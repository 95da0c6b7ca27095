"""The tables below `output.path`: this package alone knows where they are.

Delta: `rollback` is a RESTORE, and which version of every table belongs to a published run stands in `runs.versions`: a reader who joins
tables reads those (`read_published`) and never sees two runs at once, whatever is being written. Parquet: no versions, see `parquet.py`.

Below the root, names that start with an underscore are not for readers: `_staging` belongs to the run that is writing and goes with it;
`_work` holds finished pieces of work and survives a kill, until a run has published; `_searched` is what `neighbours` was made from; `_heads` holds
the heads that runs have fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from vsspark import session
from vsspark.config import OutputConfig
from vsspark.errors import StorageError
from vsspark.images.fetch import open_filesystem
from vsspark.schemas import conform
from vsspark.store.delta import DeltaTables
from vsspark.store.files import Files, first_line
from vsspark.store.parquet import ParquetTables

_PUBLISHED_TOGETHER = ("images", "embeddings", "quarantine", "neighbours", "_searched", "similar_products")
_STATE = ("images", "embeddings", "neighbours", "_searched")  # what a run that is not published has changed before its end


class Store:
    """Reads, writes and publishes tables in the format of `output.format`."""

    def __init__(self, spark: SparkSession, output: OutputConfig):
        self.spark = spark
        self.format = output.format
        self.root = output.path.rstrip("/")
        self._files = Files(spark)
        self._tables: DeltaTables | ParquetTables
        if output.format == "delta":
            self._tables = DeltaTables(spark, self._files, self.root, output.keep_days)
        else:
            self._tables = ParquetTables(spark, self._files, self.root)

    def path(self, table: str) -> str:
        return self._tables.path(table)

    def exists(self, table: str) -> bool:
        return self._tables.exists(table)

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """The table as it is now, or, in Delta, as it was at a version. Raises StorageError when no run has written it."""
        if not self.exists(table):
            raise StorageError(f"table {table} does not exist below output.path={self.root}: run the stage that writes it first")
        return self._tables.read(table, version)

    def published_run(self) -> dict:
        """The row of `runs` of the run that readers see. Raises StorageError when nothing is published."""
        current = self.current_run("similar_products")
        if current is None:
            raise StorageError(f"nothing is published below output.path={self.root} yet: run jobs/recommend.py first")
        row = self.run_row(current)
        if row is None:
            raise StorageError(f"run {current} is published below output.path={self.root}, but the table runs does not know it")
        return row

    def read_published(self, table: str, run: Mapping[str, Any] | None = None) -> DataFrame:
        """The table as the published run left it: joins of tables read so never mix two runs. In Parquet, the table as it is now.

        run: what `published_run` said. Whoever reads several tables asks it once: between two calls without it another run may be published.
        Raises StorageError when nothing is published.
        """
        run = self.published_run() if run is None else run
        versions = dict(run.get("versions") or {})  # an earlier release's rows have none
        if run["status"] != "published":
            versions.pop("similar_products", None)  # may have been noted before the commit, and be that of the run before
        return self.read(table, versions.get(table))

    def versions(self) -> dict[str, int]:
        """The Delta version that every table is at; empty in Parquet."""
        found = {table: self._tables.version(table) for table in _PUBLISHED_TOGETHER if self.exists(table)}
        return {table: version for table, version in found.items() if version is not None}

    def run_row(self, run_id: str) -> dict | None:
        """The row of `runs`; None where there is none."""
        if not self.exists("runs"):
            return None
        row = self.read("runs").where(F.col("run_id") == run_id).first()
        return row and row.asDict()

    def embedding_run(self, run_id: str | None = None) -> str | None:
        """The run whose embeddings and quarantine a run left in the tables, by default the last one; None where nothing had been embedded."""
        if not self.exists("runs"):
            return None
        runs = self.read("runs")
        own = F.when(F.col("counts")["inferred"].isNotNull(), F.col("run_id"))
        # An earlier release's rows do not say.
        known = runs.withColumn("by", F.coalesce("embedded_by", own) if "embedded_by" in runs.columns else own).where("by IS NOT NULL")
        if run_id is not None:
            known = known.where(F.col("run_id") == run_id)
        row = known.orderBy("finished_at", ascending=False).select("by").first()
        return row and row.by

    def versions_of(self, run_id: str) -> dict[str, int]:
        """The Delta versions that belong to a published run, from `runs`; empty where it has none on record."""
        return dict((self.run_row(run_id) or {}).get("versions") or {})

    def overwrite(self, table: str, df: DataFrame, schema: StructType, run_id: str) -> None:
        """Replaces the whole table."""
        with self._writable():
            self._tables.overwrite(table, conform(df, schema, table), run_id)

    def replace(self, table: str, df: DataFrame, schema: StructType, by: str, value: str, run_id: str) -> None:
        """Replaces the rows whose `by` is `value`; the others stay. The table is partitioned by that column."""
        with self._writable():
            self._tables.replace(table, conform(df, schema, table), by, value, run_id)

    def check_writable(self) -> None:
        """Raises StorageError naming output.path when nothing can be written there, and ConfigError when it is on a kind of store that tasks cannot
        write to: asked before hours of work, not after."""
        open_filesystem(self.root, session.storage_options(self.spark))
        probe = f"{self.root}/_staging/_probe"
        try:
            self._files.write_text(probe, "")
            self._files.delete(probe)
        except Py4JJavaError as error:
            raise StorageError(f"output.path={self.root} cannot be written: {first_line(error)}") from None

    # -- what a run keeps for itself ---------------------------------------------------------------------------------

    def staging(self, run_id: str, name: str = "") -> str:
        """A folder a run owns; nothing in it is visible to readers, and it goes when the run has published."""
        return f"{self.root}/_staging/{run_id}/{name}".rstrip("/")

    def stage(self, run_id: str, name: str, df: DataFrame) -> DataFrame:
        """Writes a run's intermediate rows once and returns them as read back, so that no UDF behind them runs twice."""
        with self._writable():
            df.write.mode("overwrite").parquet(self.staging(run_id, name))
        return self.spark.read.schema(df.schema).parquet(self.staging(run_id, name))

    def drop_staging(self) -> None:
        """Removes every run's staging folder: what a killed run left behind, too. Only for the holder of the output's lock."""
        self._files.delete(f"{self.root}/_staging")

    def work(self, name: str) -> str:
        """A folder of finished work that the next run may go on from."""
        return f"{self.root}/_work/{name}"

    def add_work(self, name: str, df: DataFrame) -> None:
        """Appends rows to a folder of finished work, every task's file as soon as the task is done: a killed job leaves what it had finished."""
        with self._writable():
            df.write.mode("append").option("mapreduce.fileoutputcommitter.algorithm.version", "2").option("compression", "lz4").parquet(self.work(name))

    def read_work(self, name: str, schema: str) -> DataFrame | None:
        """The rows of a folder of finished work; None where there is none."""
        return self.spark.read.schema(schema).parquet(self.work(name)) if self._files.exists(self.work(name)) else None

    def drop_work(self) -> None:
        self._files.delete(f"{self.root}/_work")

    def drop_root(self) -> None:
        """Removes everything below the root: for one that nobody else knows."""
        self._files.delete(self.root)

    # -- published runs of one table ---------------------------------------------------------------------------------

    def publish(self, table: str, df: DataFrame, schema: StructType, run_id: str) -> None:
        """Makes these rows current, in one commit, and keeps the runs before it for `restore`."""
        with self._writable():
            self._tables.publish(table, conform(df, schema, table), run_id)

    def published_runs(self, table: str) -> list[str]:
        """Run ids in the order they were published, newest first; rolling back changes which one is current, not this order."""
        return self._tables.published_runs(table)

    def current_run(self, table: str) -> str | None:
        """The run that readers see; None where nothing is published."""
        return self._tables.current_run(table)

    def restore(self, table: str, run_id: str) -> None:
        """Makes an earlier published run current again, as a new commit."""
        published = self.published_runs(table)
        if run_id not in published:
            raise StorageError(f"{table} has no published run {run_id}; it has {', '.join(published) or 'none'}")
        if table == "similar_products":
            for beside, version in self._state_of(run_id).items():
                self._tables.restore_version(beside, version, run_id)
        self._tables.restore(table, run_id)

    def restore_state(self, run_id: str, versions: dict[str, int]) -> None:
        """Puts the tables beside `similar_products` back to the versions a published run left, where a later run that was not published changed them."""
        now = self.versions()
        for table, version in versions.items():
            if table in _STATE and now.get(table) != version:
                self._tables.restore_version(table, version, run_id)

    def vacuum(self) -> None:
        """Removes the files that no version of the last `output.keep_days` days needs; rolling back reaches as far."""
        self._tables.vacuum((*_PUBLISHED_TOGETHER, "runs"))

    def complete_swaps(self) -> None:
        """Brings back the Parquet tables that a killed run had moved away and not yet replaced."""
        self._tables.complete_swaps(_PUBLISHED_TOGETHER)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _state_of(self, run_id: str) -> dict[str, int]:
        versions = self.versions_of(run_id)
        return {table: versions[table] for table in _STATE if table in versions}

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (Py4JJavaError, AnalysisException) as error:
            text = first_line(error)
            if any(
                sign in text
                for sign in ("Permission denied", "Mkdirs failed", "Not a directory", "ParentNotDirectory", "AccessDenied", "Read-only", "No space")
            ):
                raise StorageError(f"output.path={self.root} cannot be written: {text}") from None
            raise
