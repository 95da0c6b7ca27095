"""Tables in Delta: every write is one commit that carries the run id, so a reader sees the table before it or after it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from vsspark import session
from vsspark.errors import StorageError
from vsspark.store.files import Files, first_line

_GROWING = ("runs", "quarantine", "_heads")  # by a file a run


class DeltaTables:
    """The tables below a root. keep_days: how long their files stay readable after a later version has replaced them."""

    def __init__(self, spark: SparkSession, files: Files, root: str, keep_days: int):
        self._spark, self._files, self._root, self._keep_days = spark, files, root, keep_days
        self._snapshots: dict[tuple[str, int], DataFrame] = {}  # the versions read so far
        self._histories: dict[tuple[str, int], list[tuple[int, str, str]]] = {}  # of tables at a version

    def path(self, table: str) -> str:
        return f"{self._root}/{table}"

    def exists(self, table: str) -> bool:
        return DeltaTable.isDeltaTable(self._spark, self.path(table))

    def version(self, table: str) -> int:
        return max(version for version, _ in self._log(table))

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """The files of a version, by default the newest, as Parquet: Delta's own source asks its log for them in every action, a third of a small run's time.

        So the log is asked once, and the files are listed once. Tables that grow by a file a run are left to Delta: they are read seldom.
        """
        version = self.version(table) if version is None else version
        if (table, version) not in self._snapshots:
            df = self._spark.read.format("delta").option("versionAsOf", version).load(self.path(table))
            if table in _GROWING:
                return df
            files = df.inputFiles()
            reader = self._spark.read.schema(df.schema).option("basePath", self.path(table))
            self._snapshots[table, version] = reader.parquet(*files) if files else self._spark.createDataFrame([], df.schema)
        return self._snapshots[table, version]

    def overwrite(self, table: str, df: DataFrame, run_id: str) -> None:
        # A table an earlier release wrote has fewer columns.
        self._writer(df, run_id).mode("overwrite").option("overwriteSchema", True).save(self.path(table))

    def replace(self, table: str, df: DataFrame, by: str, value: str, run_id: str) -> None:
        writer = self._writer(df, run_id).mode("overwrite").option("mergeSchema", True).partitionBy(by)
        if self.exists(table):  # replaceWhere on a table that is not there yet would be a second code path in Delta
            literal = value.replace("'", "\\'")
            writer = writer.option("replaceWhere", f"{by} = '{literal}'")
        writer.save(self.path(table))

    def publish(self, table: str, df: DataFrame, run_id: str) -> None:
        self.overwrite(table, df, run_id)

    def published_runs(self, table: str) -> list[str]:
        return list(dict.fromkeys(run_id for _, operation, run_id in self._commits(table) if operation != "RESTORE"))

    def current_run(self, table: str) -> str | None:
        return next((run_id for _, _, run_id in self._commits(table)), None)

    def restore(self, table: str, run_id: str) -> None:
        version = next(version for version, operation, run in self._commits(table) if run == run_id and operation != "RESTORE")
        self.restore_version(table, version, run_id)

    def restore_version(self, table: str, version: int, run_id: str) -> None:
        try:
            with self._set({"spark.databricks.delta.commitInfo.userMetadata": json.dumps({"run_id": run_id})}):
                DeltaTable.forPath(self._spark, self.path(table)).restoreToVersion(version)
        except (Py4JJavaError, PySparkException) as error:
            raise StorageError(f"{table} cannot go back to run {run_id}, version {version}: {first_line(error)}; has VACUUM removed its files?") from None

    def vacuum(self, tables: tuple[str, ...]) -> None:
        """Removes the files that no version of the last keep_days days needs; going back reaches as far."""
        settings = {
            # Delta refuses less than its own 7 days; nobody else writes here while the lock is held.
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            # By default 10,000 tasks list the folders of each table: minutes on one machine.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(4 * session.task_slots(self._spark)),
        }
        with self._set(settings):
            for table in tables:
                # Listing a table's files takes seconds even where there is nothing to remove.
                if self.exists(table) and min(written for _, written in self._log(table)) < time.time() - 86_400 * self._keep_days:
                    delta = DeltaTable.forPath(self._spark, self.path(table))
                    if not self._kept().items() <= delta.detail().first()["properties"].items():  # keep_days was another when the table was created
                        assignments = ", ".join(f"'{name}' = '{value}'" for name, value in self._kept().items())
                        self._spark.sql(f"ALTER TABLE delta.`{self.path(table)}` SET TBLPROPERTIES ({assignments})")
                    delta.vacuum()

    def complete_swaps(self, tables: tuple[str, ...]) -> None:
        """Nothing: a commit is there or it is not."""

    def _writer(self, df: DataFrame, run_id: str):
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
            "delta.deletedFileRetentionDuration": f"interval {self._keep_days} days",
            "delta.logRetentionDuration": f"interval {max(30, self._keep_days)} days",
        }

    def _log(self, table: str) -> list[tuple[int, float]]:
        """(version, when it was written) of the commits, by listing the log: Delta's history takes a Spark job per table."""
        files = self._files.listing(f"{self.path(table)}/_delta_log")
        return [(int(name.removesuffix(".json")), written) for name, written in files if name.endswith(".json") and name.removesuffix(".json").isdecimal()]

    def _commits(self, table: str) -> list[tuple[int, str, str]]:
        """(version, operation, run id) of the commits that carry one, newest first."""
        if not self.exists(table):
            return []
        newest = self.version(table)
        if (table, newest) not in self._histories:
            history = DeltaTable.forPath(self._spark, self.path(table)).history().select("version", "operation", "userMetadata")
            rows = history.orderBy("version", ascending=False).collect()
            own = [(row.version, row.operation, row.userMetadata) for row in rows if (row.userMetadata or "").startswith('{"run_id"')]
            self._histories[table, newest] = [(version, operation, json.loads(text)["run_id"]) for version, operation, text in own]
        return self._histories[table, newest]

    @contextmanager
    def _set(self, settings: dict[str, str]) -> Iterator[None]:
        before = {name: self._spark.conf.get(name, None) for name in settings}
        for name, value in settings.items():
            self._spark.conf.set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    self._spark.conf.unset(name)
                else:
                    self._spark.conf.set(name, value)
