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
from pyspark.errors import AnalysisException, PySparkException
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
                # Overwriting partitions dynamically would keep the old one where no row replaces it.
                self._delete(f"{self.path(table)}/{by}={self._escaped(value)}")
                df.write.mode("append").partitionBy(by).parquet(self.path(table))

    def stage(self, run_id: str, name: str, df: DataFrame) -> DataFrame:
        """Writes a run's intermediate rows once and returns them as read back, so that no UDF behind them runs twice."""
        with self._writable():
            df.write.mode("overwrite").parquet(self.staging(run_id, name))
        return self.spark.read.parquet(self.staging(run_id, name))

    def drop_staging(self, run_id: str) -> None:
        self._delete(self.staging(run_id))

    # -- published runs of one table ---------------------------------------------------------------------------------

    def publish(self, table: str, df: DataFrame, schema: StructType, run_id: str) -> None:
        """Makes these rows current, in one commit, and keeps the runs before it for `restore`."""
        if self.format == "parquet":
            with self._writable():
                conform(df, schema, table).write.mode("overwrite").parquet(self._history(table, run_id))
        self.overwrite(table, df, schema, run_id)
        if self.format == "parquet":
            self._write_ledger(table, [run for run in self._read_ledger(table)["published"] if run != run_id] + [run_id], run_id)

    def published_runs(self, table: str) -> list[str]:
        """Run ids in the order they were published, newest first; rolling back changes which one is current, not this order."""
        if self.format == "parquet":
            return self._read_ledger(table)["published"][::-1]
        return list(dict.fromkeys(run_id for _, operation, run_id in self._commits(table) if operation != "RESTORE"))

    def current_run(self, table: str) -> str | None:
        """The run that readers see; None where nothing is published."""
        if self.format == "parquet":
            return self._read_ledger(table)["current"]
        return next((run_id for _, _, run_id in self._commits(table)), None)

    def restore(self, table: str, run_id: str) -> None:
        """Makes an earlier published run current again, as a new commit."""
        published = self.published_runs(table)
        if run_id not in published:
            raise StorageError(f"{table} has no published run {run_id}; it has {', '.join(published) or 'none'}")
        if self.format == "parquet":
            self._swap_in(table, self.spark.read.parquet(self._history(table, run_id)))
            self._write_ledger(table, published[::-1], run_id)
            return
        version = next(version for version, operation, run in self._commits(table) if run == run_id and operation != "RESTORE")
        conf = "spark.databricks.delta.commitInfo.userMetadata"
        self.spark.conf.set(conf, json.dumps({"run_id": run_id}))
        try:
            DeltaTable.forPath(self.spark, self.path(table)).restoreToVersion(version)
        except (Py4JJavaError, PySparkException) as error:
            raise StorageError(f"{table} cannot go back to run {run_id}, version {version}: {_first_line(error)}; has VACUUM removed its files?") from None
        finally:
            self.spark.conf.unset(conf)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _delta_writer(self, df: DataFrame, run_id: str):
        return df.write.format("delta").option("userMetadata", json.dumps({"run_id": run_id}))

    def _commits(self, table: str) -> list[tuple[int, str, str]]:
        """(version, operation, run id) of a Delta table's commits that carry one, newest first."""
        if not self.exists(table):
            return []
        history = DeltaTable.forPath(self.spark, self.path(table)).history().select("version", "operation", "userMetadata").orderBy("version", ascending=False)
        own = [(row.version, row.operation, row.userMetadata) for row in history.collect() if (row.userMetadata or "").startswith('{"run_id"')]
        return [(version, operation, json.loads(text)["run_id"]) for version, operation, text in own]

    def _read_ledger(self, table: str) -> dict:
        """Which runs of a Parquet table were published, oldest first, and which is current."""
        path = self._history(table, "ledger.json")
        if not self._fs(path).exists(self._hadoop_path(path)):
            return {"published": [], "current": None}
        return json.loads("".join(row.value for row in self.spark.read.text(path).collect()))

    def _write_ledger(self, table: str, published: list[str], current: str) -> None:
        path = self._history(table, "ledger.json")
        out = self._fs(path).create(self._hadoop_path(path), True)
        out.writeBytes(json.dumps({"published": published, "current": current}))
        out.close()

    def _swap_in(self, table: str, df: DataFrame) -> None:
        following, leaving = f"{self.root}/_staging/{table}.next", f"{self.root}/_staging/{table}.old"
        fs, live = self._fs(self.root), self._hadoop_path(self.path(table))
        if fs.exists(self._hadoop_path(f"{self.path(table)}/_delta_log")):
            raise StorageError(f"{self.path(table)} is a Delta table and output.format=parquet would replace it and its history: name another output.path")
        df.write.mode("overwrite").parquet(following)
        if fs.exists(live):
            self._delete(leaving)  # left behind by a swap that died after it had moved the next one in
            self._move(self.path(table), leaving)
        self._move(following, self.path(table))
        self._delete(leaving)

    def _move(self, source: str, target: str) -> None:
        if not self._fs(source).rename(self._hadoop_path(source), self._hadoop_path(target)):
            raise StorageError(f"could not move {source} to {target}")

    def _delete(self, path: str) -> None:
        self._fs(path).delete(self._hadoop_path(path), True)

    def _escaped(self, value: str) -> str:
        return self.spark._jvm.org.apache.spark.sql.catalyst.catalog.ExternalCatalogUtils.escapePathName(value)

    def _history(self, table: str, run_id: str = "") -> str:
        return f"{self.root}/_history/{table}/{run_id}".rstrip("/")

    def _hadoop_path(self, path: str):
        return self.spark._jvm.org.apache.hadoop.fs.Path(path)

    def _fs(self, path: str):
        return self._hadoop_path(path).getFileSystem(self.spark.sparkContext._jsc.hadoopConfiguration())

    def check_writable(self) -> None:
        """Raises StorageError naming output.path when nothing can be written there: asked before hours of work, not after."""
        probe = f"{self.root}/_staging/_probe"
        try:
            self._fs(probe).create(self._hadoop_path(probe), True).close()
            self._delete(probe)
        except Py4JJavaError as error:
            raise StorageError(f"output.path={self.root} cannot be written: {_first_line(error)}") from None

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (Py4JJavaError, AnalysisException) as error:
            text = _first_line(error)
            if any(
                sign in text
                for sign in ("Permission denied", "Mkdirs failed", "Not a directory", "ParentNotDirectory", "AccessDenied", "Read-only", "No space")
            ):
                raise StorageError(f"output.path={self.root} cannot be written: {text}") from None
            raise


def _first_line(error: Exception) -> str:
    return str(getattr(error, "java_exception", None) or error).splitlines()[0]
