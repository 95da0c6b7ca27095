"""Where the tables are and how they are written: the only module that knows paths, formats and write modes.

Delta: every write is one commit that carries the run id, so a reader sees the table before it or after it, and `rollback` is a RESTORE.
Which version of every table belongs to a published run stands in `runs.versions`: a reader who joins tables reads those (`read_published`)
and never sees two runs at once, whatever is being written.
Parquet: a table is written beside the old one and swapped in by renames; the swap is two renames, not one atomic step (a swap that died
half-way is completed by the next run), and published runs are kept below `_history/` so that `rollback` works there too.

Below the root, names that start with an underscore are not for readers: `_staging` belongs to the run that is writing and goes with it;
`_work` holds finished pieces of work and survives a kill, until a run has published; `_searched` is what `neighbours` was made from; `_heads` holds
the heads that runs have fitted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from vsspark import session
from vsspark.config import OutputConfig
from vsspark.errors import StorageError
from vsspark.schemas import TABLES, conform

PUBLISHED_TOGETHER = ("images", "embeddings", "quarantine", "neighbours", "_searched", "similar_products")
_GROWING = ("runs", "quarantine", "_heads")
_STATE = ("images", "embeddings", "neighbours", "_searched")  # what a run that is not published has changed before its end


class Store:
    """The tables below `output.path`."""

    def __init__(self, spark: SparkSession, output: OutputConfig):
        self.spark = spark
        self.format = output.format
        self.root = output.path.rstrip("/")
        self.keep_days = output.keep_days
        self._snapshots: dict[tuple[str, int], DataFrame] = {}  # the versions read so far
        self._histories: dict[tuple[str, int], list[tuple[int, str, str]]] = {}  # of tables at a version

    def path(self, table: str) -> str:
        return f"{self.root}/{table}"

    def staging(self, run_id: str, name: str = "") -> str:
        """A folder a run owns; nothing in it is visible to readers, and it goes when the run has published."""
        return f"{self.root}/_staging/{run_id}/{name}".rstrip("/")

    def work(self, name: str) -> str:
        """A folder of finished work that the next run may go on from."""
        return f"{self.root}/_work/{name}"

    def exists(self, table: str) -> bool:
        if self.format == "delta":
            return DeltaTable.isDeltaTable(self.spark, self.path(table))
        return self._fs(self.path(table)).exists(self._hadoop_path(self.path(table)))

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """The table as it is now, or, in Delta, as it was at a version. Raises StorageError when no run has written it."""
        if not self.exists(table):
            raise StorageError(f"table {table} does not exist below output.path={self.root}: run the stage that writes it first")
        if self.format == "delta":
            return self._read_version(table, self._version(table) if version is None else version)
        reader = self.spark.read
        if table in TABLES:  # a partitioned table without rows has no file to infer columns from
            reader = reader.schema(TABLES[table])
        return reader.parquet(self.path(table))

    def read_published(self, table: str) -> DataFrame:
        """The table as the published run left it: joins of tables read so never mix two runs. In Parquet, the table as it is now.

        Raises StorageError when nothing is published.
        """
        current = self.current_run("similar_products")
        if current is None:
            raise StorageError(f"nothing is published below output.path={self.root} yet: run jobs/recommend.py first")
        return self.read(table, self.versions_of(current).get(table))

    def versions(self) -> dict[str, int]:
        """The Delta version that every table is at; empty in Parquet."""
        if self.format == "parquet":
            return {}
        return {table: self._version(table) for table in PUBLISHED_TOGETHER if self.exists(table)}

    def run_row(self, run_id: str) -> dict | None:
        """The row of `runs`; None where there is none."""
        if not self.exists("runs"):
            return None
        row = self.read("runs").where(F.col("run_id") == run_id).first()
        return row and row.asDict()

    def versions_of(self, run_id: str) -> dict[str, int]:
        """The Delta versions that belong to a published run, from `runs`; empty where it has none on record."""
        return dict((self.run_row(run_id) or {}).get("versions") or {})

    def overwrite(self, table: str, df: DataFrame, schema: StructType, run_id: str) -> None:
        """Replaces the whole table."""
        df = conform(df, schema, table)
        with self._writable():
            if self.format == "delta":
                # A table an earlier release wrote has fewer columns.
                self._delta_writer(df, run_id).mode("overwrite").option("overwriteSchema", True).save(self.path(table))
            else:
                self._swap_in(table, df)

    def replace(self, table: str, df: DataFrame, schema: StructType, by: str, value: str, run_id: str) -> None:
        """Replaces the rows whose `by` is `value`; the others stay. The table is partitioned by that column."""
        df = conform(df, schema, table)
        with self._writable():
            if self.format == "delta":
                writer = self._delta_writer(df, run_id).mode("overwrite").option("mergeSchema", True).partitionBy(by)
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
        return self.spark.read.schema(df.schema).parquet(self.staging(run_id, name))

    def drop_staging(self) -> None:
        """Removes every run's staging folder: what a killed run left behind, too. Only for the holder of the output's lock."""
        self._delete(f"{self.root}/_staging")

    def drop_root(self) -> None:
        """Removes everything below the root: for one that nobody else knows."""
        self._delete(self.root)

    def add_work(self, name: str, df: DataFrame) -> None:
        """Appends rows to a folder of finished work, every task's file as soon as the task is done: a killed job leaves what it had finished."""
        with self._writable():
            df.write.mode("append").option("mapreduce.fileoutputcommitter.algorithm.version", "2").option("compression", "lz4").parquet(self.work(name))

    def read_work(self, name: str, schema: str) -> DataFrame | None:
        """The rows of a folder of finished work; None where there is none."""
        if not self._fs(self.root).exists(self._hadoop_path(self.work(name))):
            return None
        return self.spark.read.schema(schema).parquet(self.work(name))

    def drop_work(self) -> None:
        self._delete(f"{self.root}/_work")

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
        versions = self.versions_of(run_id)
        for beside in _STATE if table == "similar_products" else ():
            if beside in versions:
                self._restore_version(beside, versions[beside], run_id)
        self._restore_version(table, version, run_id)

    def restore_state(self, run_id: str) -> None:
        """Puts the tables beside `similar_products` back to what a published run left, where a later run that was not published changed them."""
        now = self.versions()
        for table, version in self.versions_of(run_id).items():
            if table in _STATE and now.get(table) != version:
                self._restore_version(table, version, run_id)

    def vacuum(self) -> None:
        """Removes the files that no version of the last `output.keep_days` days needs; rolling back reaches as far."""
        if self.format == "parquet":
            return
        settings = {
            # Delta refuses less than its own 7 days; nobody else writes here while the lock is held.
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            # By default 10,000 tasks list the folders of each table: minutes on one machine.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(4 * session.task_slots(self.spark)),
        }
        with self._set(settings):
            for table in (*PUBLISHED_TOGETHER, "runs"):
                # Listing a table's files takes seconds even where there is nothing to remove.
                if self.exists(table) and min(written for _, written in self._log(table)) < time.time() - 86_400 * self.keep_days:
                    delta = DeltaTable.forPath(self.spark, self.path(table))
                    if not self._kept().items() <= delta.detail().first()["properties"].items():  # keep_days was another when the table was created
                        assignments = ", ".join(f"'{name}' = '{value}'" for name, value in self._kept().items())
                        self.spark.sql(f"ALTER TABLE delta.`{self.path(table)}` SET TBLPROPERTIES ({assignments})")
                    delta.vacuum()

    @contextmanager
    def _set(self, settings: dict[str, str]) -> Iterator[None]:
        before = {name: self.spark.conf.get(name, None) for name in settings}
        for name, value in settings.items():
            self.spark.conf.set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    self.spark.conf.unset(name)
                else:
                    self.spark.conf.set(name, value)

    def _version(self, table: str) -> int:
        return max(version for version, _ in self._log(table))

    def _log(self, table: str) -> list[tuple[int, float]]:
        """(version, its file's modification time in seconds since 1970) of the commits, by listing the log: Delta's history takes a Spark job per table."""
        folder = self._hadoop_path(f"{self.path(table)}/_delta_log")
        files = [(status.getPath().getName(), status.getModificationTime() / 1000) for status in self._fs(self.root).listStatus(folder)]
        return [(int(name.removesuffix(".json")), written) for name, written in files if name.endswith(".json") and name.removesuffix(".json").isdecimal()]

    def _read_version(self, table: str, version: int) -> DataFrame:
        """The files of a Delta version, as Parquet: Delta's own source asks its log for them in every action, a third of a small run's time.

        So the log is asked once, and the files are listed once. Tables that grow by a file a run are left to Delta: they are read seldom.
        """
        if (table, version) not in self._snapshots:
            df = self.spark.read.format("delta").option("versionAsOf", version).load(self.path(table))
            if table in _GROWING:
                return df
            files = df.inputFiles()
            reader = self.spark.read.schema(df.schema).option("basePath", self.path(table))
            self._snapshots[table, version] = reader.parquet(*files) if files else self.spark.createDataFrame([], df.schema)
        return self._snapshots[table, version]

    def _restore_version(self, table: str, version: int, run_id: str) -> None:
        try:
            with self._set({"spark.databricks.delta.commitInfo.userMetadata": json.dumps({"run_id": run_id})}):
                DeltaTable.forPath(self.spark, self.path(table)).restoreToVersion(version)
        except (Py4JJavaError, PySparkException) as error:
            raise StorageError(f"{table} cannot go back to run {run_id}, version {version}: {_first_line(error)}; has VACUUM removed its files?") from None

    # -- inside ------------------------------------------------------------------------------------------------------

    def _delta_writer(self, df: DataFrame, run_id: str):
        writer = df.write.format("delta").option("userMetadata", json.dumps({"run_id": run_id}))
        for name, value in self._kept().items():
            writer = writer.option(name, value)  # counts where the table is created
        return writer

    def _kept(self) -> dict[str, str]:
        """How long Delta keeps what a table no longer needs: its VACUUM goes by the table's own property, whatever hours it is called with.

        No deletion vectors: with them a version's files would hold rows that the version does not.
        """
        return {
            "delta.enableDeletionVectors": "false",
            "delta.deletedFileRetentionDuration": f"interval {self.keep_days} days",
            "delta.logRetentionDuration": f"interval {max(30, self.keep_days)} days",
        }

    def _commits(self, table: str) -> list[tuple[int, str, str]]:
        """(version, operation, run id) of a Delta table's commits that carry one, newest first."""
        if not self.exists(table):
            return []
        newest = self._version(table)
        if (table, newest) in self._histories:
            return self._histories[table, newest]
        history = DeltaTable.forPath(self.spark, self.path(table)).history().select("version", "operation", "userMetadata").orderBy("version", ascending=False)
        own = [(row.version, row.operation, row.userMetadata) for row in history.collect() if (row.userMetadata or "").startswith('{"run_id"')]
        self._histories[table, newest] = [(version, operation, json.loads(text)["run_id"]) for version, operation, text in own]
        return self._histories[table, newest]

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
        following, leaving = self._swap(table)
        fs, live = self._fs(self.root), self._hadoop_path(self.path(table))
        if fs.exists(self._hadoop_path(f"{self.path(table)}/_delta_log")):
            raise StorageError(f"{self.path(table)} is a Delta table and output.format=parquet would replace it and its history: name another output.path")
        df.write.mode("overwrite").parquet(following)
        if fs.exists(live):
            self._delete(leaving)  # left behind by a swap that died after it had moved the next one in
            self._move(self.path(table), leaving)
        self._move(following, self.path(table))
        self._delete(leaving)

    def _swap(self, table: str) -> tuple[str, str]:
        return f"{self.root}/_swap/{table}.next", f"{self.root}/_swap/{table}.old"

    def complete_swaps(self) -> None:
        """Brings back the Parquet tables that a killed run had moved away and not yet replaced."""
        for table in PUBLISHED_TOGETHER if self.format == "parquet" else ():
            _, leaving = self._swap(table)
            fs = self._fs(self.root)
            if fs.exists(self._hadoop_path(leaving)) and not fs.exists(self._hadoop_path(self.path(table))):
                self._move(leaving, self.path(table))

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
