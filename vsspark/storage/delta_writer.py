"""Delta tables that one run at a time commits to: reads, writes, and commits that are refused when its turn is over."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import delta.exceptions as conflicts
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from vsspark.errors import StorageError
from vsspark.schemas import PARTITIONED_BY, TABLES
from vsspark.storage.delta_log import newest_version
from vsspark.storage.files import Files, first_line
from vsspark.storage.filesystems import PLAIN_PATHS

if TYPE_CHECKING:
    from vsspark.storage.lock import OutputLock

_LAST_COMMIT = "spark.databricks.delta.lastCommitVersionInSession"
_GROWING = ("runs", "quarantine", "_heads")  # by a file a run: listing them costs more than it saves
_READ_FIRST = tuple(sorted(TABLES, key=lambda table: table != "similar_products"))  # what readers see, before all else
_USED_UP = 2**63 - 1  # no transaction has a higher version: one that carries the same id comes too late
_CONFLICTS = (
    conflicts.DeltaConcurrentModificationException,
    conflicts.ConcurrentWriteException,
    conflicts.MetadataChangedException,
    conflicts.ProtocolChangedException,
    conflicts.ConcurrentAppendException,
    conflicts.ConcurrentDeleteReadException,
    conflicts.ConcurrentDeleteDeleteException,
    conflicts.ConcurrentTransactionException,
)


class DeltaWriter:
    """The tables below a root.

    keep_days: how long files stay readable after a later version has replaced them. lock: of the run that writes; it
    reads each table at the version it met first or wrote last, whatever others commit meanwhile. Without a lock the
    newest version is read.
    """

    def __init__(self, spark: SparkSession, files: Files, root: str, keep_days: int, lock: OutputLock | None):
        self._spark, self._files, self._root, self._keep_days, self._lock = spark, files, root, keep_days, lock
        self._versions: dict[str, int] = {}  # that the run works on
        self._frames: dict[tuple[str, int], DataFrame] = {}
        self._transaction = itertools.count(1)

    def path(self, table: str) -> str:
        return f"{self._root}/{table}"

    def exists(self, table: str) -> bool:
        return DeltaTable.isDeltaTable(self._spark, self.path(table))

    def version(self, table: str) -> int:
        """The version that `read` reads."""
        if self._lock is None:
            return self._newest(table)
        if table not in self._versions:
            self._versions[table] = self._newest(table)
        return self._versions[table]

    def read(self, table: str, version: int | None = None) -> DataFrame:
        version = self.version(table) if version is None else version
        if (table, version) not in self._frames:  # Delta rebuilds an earlier version's state for each DataFrame of it
            df = self._spark.read.format("delta").option("versionAsOf", version).load(self.path(table))
            self._frames[table, version] = df if table in _GROWING else self._as_parquet(table, df)
        return self._frames[table, version]

    def overwrite(self, table: str, df: DataFrame, run_id: str, by: str | None = None) -> None:
        # A table an earlier release wrote has other columns.
        self._commit(table, df, {"run_id": run_id}, by, overwriteSchema=True)

    def replace(self, table: str, df: DataFrame, by: str, value: str, run_id: str) -> None:
        options = {"mergeSchema": True}
        if self.exists(table):  # replaceWhere on a table that is not there yet would be a second code path in Delta
            literal = value.replace("'", "\\'")
            options["replaceWhere"] = f"{by} = '{literal}'"
        self._commit(table, df, {"run_id": run_id}, by, **options)

    def append(self, table: str, df: DataFrame, by: str | None, run_id: str) -> None:
        self._commit(table, df, {"run_id": run_id}, by, "append", mergeSchema=True)

    def abandon(self, tables: Sequence[str], interrupted: bool) -> None:
        """Ends this run's writes to tables: reads are of the newest versions again, and no commit is on its way.

        interrupted: a write may not have returned, and its commit may still come.
        """
        if interrupted:
            self.revoke([self._lock.token], [table for table in tables if self.exists(table)])
        self._versions.clear()

    def revoke(self, tokens: Sequence[str], tables: Sequence[str] = _READ_FIRST) -> None:
        """Makes sure that no commit of these holders of the lock comes through any more.

        A table that is not there yet is created without rows: a commit that would create it fails then.
        """
        for table, token in itertools.product(tables, tokens):
            schema = self.read(table, self._newest(table)).schema if self.exists(table) else TABLES[table]
            writer = self._writer(self._spark.createDataFrame([], schema), None).mode("append")
            if table in PARTITIONED_BY:
                writer = writer.partitionBy(PARTITIONED_BY[table])
            writer = writer.option("txnAppId", token).option("txnVersion", _USED_UP)
            for attempts_left in range(4, -1, -1):
                try:
                    writer.save(self.path(table))
                    break
                except _CONFLICTS:  # the other commit was first; its run looks at the lease before the next
                    if not attempts_left:
                        raise

    # -- inside ------------------------------------------------------------------------------------------------------

    def _as_parquet(self, table: str, df: DataFrame) -> DataFrame:
        """The same rows from the version's files, where the table is one that any reader of Parquet reads right.

        Delta's own source looks its files up in every action: half the time of a query on a small table. A table of
        reader version 1 is its Parquet files and nothing else; deletion vectors, column mapping, type widening and
        every other feature that changes what files mean need a higher one (Delta's protocol), and are read by Delta.
        """
        detail = DeltaTable.forPath(self._spark, self.path(table)).detail().first()
        files = df.inputFiles()
        partition = PARTITIONED_BY.get(table)
        is_partitioned = partition is None or all(f"/{partition}=" in file for file in files)
        if detail["minReaderVersion"] > 1 or not files or not is_partitioned:
            return df
        return (
            self._spark.read.options(**PLAIN_PATHS)
            .schema(df.schema)
            .option("basePath", self.path(table))
            .parquet(*files)
        )

    def _commit(
        self,
        table: str,
        df: DataFrame,
        note: dict,
        partition: str | None = None,
        mode: str = "overwrite",
        **options,
    ) -> None:
        """Raises StorageError where another writer has committed meanwhile, or the run has lost its lease."""
        writer = self._writer(df, note).mode(mode).options(**options)
        if partition is not None:
            writer = writer.partitionBy(partition)
        if self._lock is not None:
            self._lock.check()
            writer = writer.option("txnAppId", self._lock.token).option("txnVersion", next(self._transaction))
        self._spark.conf.unset(_LAST_COMMIT)
        try:
            writer.save(self.path(table))
        except _CONFLICTS as error:
            self._refuse(table, first_line(error))
        version = self._spark.conf.get(_LAST_COMMIT, None)
        if self._lock is not None:
            if version is None:  # Delta skips a transaction whose id is used up
                self._refuse(table, "this run's turn was over")
            self._versions[table] = int(version)

    def _refuse(self, table: str, why: str) -> None:
        if self._lock is not None:
            self._lock.check()  # knows who has taken over
        raise StorageError(f"{self.path(table)}: another writer has committed to it while this run wrote it: {why}")

    def _writer(self, df: DataFrame, note: dict | None):
        writer = df.write.format("delta")
        for name, value in self._properties().items():
            writer = writer.option(name, value)  # counts where the table is created
        return writer if note is None else writer.option("userMetadata", json.dumps(note))

    def _properties(self) -> dict[str, str]:
        """Table properties: how long Delta keeps old files (VACUUM uses the property, not its own argument), and no
        deletion vectors, which not every reader outside Spark supports.
        """
        return {
            "delta.enableDeletionVectors": "false",
            "delta.deletedFileRetentionDuration": f"interval {self._keep_days} days",
            "delta.logRetentionDuration": f"interval {max(30, self._keep_days)} days",
            "delta.setTransactionRetentionDuration": "interval 30 days",
        }

    def _newest(self, table: str) -> int:
        return newest_version(self._files, self.path(table))

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
