"""Where the tables are and how they are written: the only module that knows paths, formats and write modes.

Delta: every write is one commit that carries the run id, so a reader sees the table before it or after it, and `rollback` is a RESTORE.
Parquet: a table is written beside the old one and swapped in by renames; the swap is two renames, not one atomic step,
and published runs are kept below `_history/` so that `rollback` works there too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from vsspark.config import OutputConfig
from vsspark.errors import StorageError
from vsspark.schemas import TABLES, conform


class Store:
    """The tables below `output.path`."""

    def __init__(self, spark: SparkSession, output: OutputConfig):
        self.spark = spark
        self.format = output.format
        self.root = output.path.rstrip("/")

    def path(self, table: str) -> str:
        return f"{self.root}/{table}"

    def staging(self, run_id: str, name: str = "") -> str:
        """A folder a run owns; nothing in it is visible to readers, and it goes when the run has published."""
        return f"{self.root}/_staging/{run_id}/{name}".rstrip("/")

    def exists(self, table: str) -> bool:
        if self.format == "delta":
            return DeltaTable.isDeltaTable(self.spark, self.path(table))
        return self._fs(self.path(table)).exists(self._hadoop_path(self.path(table)))

    def read(self, table: str) -> DataFrame:
        """The table as it is now. Raises StorageError when no run has written it."""
        if not self.exists(table):
            raise StorageError(f"table {table} does not exist below output.path={self.root}: run the stage that writes it first")
        reader = self.spark.read.format(self.format)
        if self.format == "parquet" and table in TABLES:  # a partitioned table without rows has no file to infer columns from
            reader = reader.schema(TABLES[table])
        return reader.load(self.path(table))

    def overwrite(self, table: str, df: DataFrame, schema: StructType, run_id: str) -> None:
        """Replaces the whole table."""
        df = conform(df, schema, table)
        with self._writable():
            if self.format == "delta":
                self._delta_writer(df, run_id).mode("overwrite").save(self.path(table))
            else:
                self._swap_in(table, df)

    def replace(self, table: str, df: DataFrame, schema: StructType, by: str, value: str, run_id: str) -> None:
        """Replaces the rows whose `by` is `value`; the others stay. The table is partitioned by that column."""
        df = conform(df, schema, table)
        with self._writable():
            if self.format == "delta":
                writer = self._delta_writer(df, run_id).mode("overwrite").partitionBy(by)
                if self.exists(table):  # replaceWhere on a table that is not there yet would be a second code path in Delta
                    literal = value.replace("'", "\\'")
                    writer = writer.option("replaceWhere", f"{by} = '{literal}'")
                writer.save(self.path(table))
            else:
                df.write.mode("overwrite").partitionBy(by).option("partitionOverwriteMode", "dynamic").parquet(self.path(table))

    def stage(self, run_id: str, name: str, df: DataFrame) -> DataFrame:
        """Writes a run's intermediate rows once and returns them as read back, so that no UDF behind them runs twice."""
        with self._writable():
            df.write.mode("overwrite").parquet(self.staging(run_id, name))
        return self.spark.read.parquet(self.staging(run_id, name))

    def drop_staging(self, run_id: str) -> None:
        path = self._hadoop_path(self.staging(run_id))
        self._fs(self.staging(run_id)).delete(path, True)

    # -- published runs of one table ---------------------------------------------------------------------------------

    def publish(self, table: str, df: DataFrame, schema: StructType, run_id: str) -> None:
        """Makes these rows current, in one commit, and keeps the runs before it for `restore`."""
        if self.format == "parquet":
            with self._writable():
                conform(df, schema, table).write.mode("overwrite").parquet(self._history(table, run_id))
        self.overwrite(table, df, schema, run_id)

    def published_runs(self, table: str) -> list[str]:
        """Run ids that can be made current, newest first; the first one is current."""
        if not self.exists(table):
            return []
        if self.format == "delta":
            history = DeltaTable.forPath(self.spark, self.path(table)).history().select("version", "userMetadata").orderBy("version", ascending=False)
            runs = [json.loads(row.userMetadata)["run_id"] for row in history.collect() if row.userMetadata]
        else:
            statuses = self._fs(self.root).listStatus(self._hadoop_path(self._history(table)))
            runs = [s.getPath().getName() for s in sorted(statuses, key=lambda s: -s.getModificationTime()) if not s.getPath().getName().startswith("_")]
        return list(dict.fromkeys(runs))

    def restore(self, table: str, run_id: str) -> None:
        """Makes an earlier published run current again, as a new commit."""
        if run_id not in self.published_runs(table):
            raise StorageError(f"{table} has no published run {run_id}; it has {', '.join(self.published_runs(table)) or 'none'}")
        if self.format == "parquet":
            history = self._hadoop_path(self._history(table, run_id))
            self._swap_in(table, self.spark.read.parquet(self._history(table, run_id)))
            self._fs(self.root).setTimes(history, self.spark._jvm.System.currentTimeMillis(), -1)
            return
        delta = DeltaTable.forPath(self.spark, self.path(table))
        rows = delta.history().select("version", "userMetadata").orderBy("version", ascending=False).collect()
        version = next(row.version for row in rows if row.userMetadata and json.loads(row.userMetadata)["run_id"] == run_id)
        conf = "spark.databricks.delta.commitInfo.userMetadata"
        self.spark.conf.set(conf, json.dumps({"run_id": run_id}))
        try:
            delta.restoreToVersion(version)
        finally:
            self.spark.conf.unset(conf)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _delta_writer(self, df: DataFrame, run_id: str):
        return df.write.format("delta").option("userMetadata", json.dumps({"run_id": run_id}))

    def _swap_in(self, table: str, df: DataFrame) -> None:
        following, leaving = f"{self.root}/_staging/{table}.next", f"{self.root}/_staging/{table}.old"
        df.write.mode("overwrite").parquet(following)
        fs, live = self._fs(self.root), self._hadoop_path(self.path(table))
        fs.delete(self._hadoop_path(leaving), True)
        if fs.exists(live):
            fs.rename(live, self._hadoop_path(leaving))
        if not fs.rename(self._hadoop_path(following), live):
            raise StorageError(f"could not move {following} to {self.path(table)}")
        fs.delete(self._hadoop_path(leaving), True)

    def _history(self, table: str, run_id: str = "") -> str:
        return f"{self.root}/_history/{table}/{run_id}".rstrip("/")

    def _hadoop_path(self, path: str):
        return self.spark._jvm.org.apache.hadoop.fs.Path(path)

    def _fs(self, path: str):
        return self._hadoop_path(path).getFileSystem(self.spark.sparkContext._jsc.hadoopConfiguration())

    def check_writable(self) -> None:
        """Raises StorageError naming output.path when nothing can be written there: asked before hours of work, not after."""
        probe = f"{self.root}/_staging/_probe"
        with self._writable():
            fs = self._fs(probe)
            fs.create(self._hadoop_path(probe), True).close()
            fs.delete(self._hadoop_path(probe), False)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (Py4JJavaError, AnalysisException) as error:
            text = str(getattr(error, "java_exception", None) or error)
            if any(
                sign in text
                for sign in ("Permission denied", "Mkdirs failed", "Not a directory", "ParentNotDirectory", "AccessDenied", "NoSuchBucket", "Read-only")
            ):
                raise StorageError(f"output.path={self.root} cannot be written: {text.splitlines()[0]}") from None
            raise
