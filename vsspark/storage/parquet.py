"""Tables as plain Parquet folders, for readers without Delta.

A table is written beside the old one and swapped in by renames; the swap is two renames, not one atomic step (a swap
that died half-way is completed by the next run; that of a partition leaves the old rows in `_swap`, and the next run
makes them anew). Published runs are kept below `_history/` so that `rollback` works here too; which of them is current
stands in the table's own folder and comes and goes with it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from vsspark.errors import StorageError
from vsspark.schemas import TABLES
from vsspark.spark import jvm
from vsspark.storage.files import Files
from vsspark.storage.filesystems import PLAIN_PATHS

if TYPE_CHECKING:
    from vsspark.storage.lock import OutputLock

_CHANGED_LATELY = ("images", "embeddings")  # whose columns an earlier release has written otherwise
_MARKER = "_published.json"  # readers of Parquet folders skip names with an underscore


class ParquetTables:
    """The tables below a root; none of them has versions. lock: of the run that writes, looked at before every swap."""

    def __init__(self, spark: SparkSession, files: Files, root: str, lock: OutputLock | None):
        self._spark, self._files, self._root, self._lock = spark, files, root, lock
        # Of its own: a run that has lost its lease may still be writing the same table.
        self._next = f"{root}/_swap/{lock.token if lock else uuid.uuid4().hex}"

    def path(self, table: str) -> str:
        return f"{self._root}/{table}"

    def exists(self, table: str) -> bool:
        return self._files.exists(self.path(table))

    def version(self, table: str) -> None:
        return None

    def read(self, table: str, version: int | None = None) -> DataFrame:
        if table not in TABLES:
            return self._spark.read.options(**PLAIN_PATHS).parquet(self.path(table))
        return self._spark.read.options(**PLAIN_PATHS).schema(self._schema(table)).parquet(self.path(table))

    def overwrite(
        self, table: str, df: DataFrame, run_id: str, marker: dict | None = None, by: str | None = None
    ) -> None:
        following, leaving = self._following(table), self._leaving(table)
        if self._files.exists(f"{self.path(table)}/_delta_log"):
            what = "is a Delta table and output.format=parquet would replace it: name another output.path"
            raise StorageError(f"{self.path(table)} {what}")
        writer = df.write.mode("overwrite")
        (writer.partitionBy(by) if by else writer).parquet(following)
        if marker is not None:
            self._files.write_text(f"{following}/{_MARKER}", json.dumps(marker))
        self._check_lock()
        if self._files.exists(self.path(table)):
            self._files.delete(leaving)  # left behind by a swap that died after it had moved the next one in
            self._files.move(self.path(table), leaving)
        self._files.move(following, self.path(table))
        self._files.delete(leaving)

    def replace(self, table: str, df: DataFrame, by: str, value: str, run_id: str) -> None:
        # Overwriting partitions dynamically would keep the old one where no row replaces it. And the rows may come from
        # those they replace.
        partition = jvm.partition_folder(self._spark, by, value)
        following, leaving = self._following(table), self._leaving(table)
        df.write.mode("overwrite").partitionBy(by).parquet(following)
        self._check_lock()
        if not self._files.exists(self.path(table)):
            self._files.move(following, self.path(table))
            return
        self._files.delete(leaving)
        if self._files.exists(f"{self.path(table)}/{partition}"):
            self._files.move(f"{self.path(table)}/{partition}", leaving)
        if self._files.exists(f"{following}/{partition}"):
            self._files.move(f"{following}/{partition}", f"{self.path(table)}/{partition}")
        self._files.delete(following)
        self._files.delete(leaving)

    def append(self, table: str, df: DataFrame, by: str | None, run_id: str) -> None:
        """Adds files to the folder. A job that dies while they are moved in leaves some of them: whole files, each."""
        self._check_lock()
        writer = df.write.mode("append")
        (writer.partitionBy(by) if by else writer).parquet(self.path(table))

    # -- published runs ----------------------------------------------------------------------------------------------

    def publish(self, table: str, df: DataFrame, run_id: str, versions: Mapping[str, int]) -> dict[str, int]:
        self._check_lock()
        df.write.mode("overwrite").parquet(self._history(table, run_id))
        marker = {"run_id": run_id} | ({"token": self._lock.token} if self._lock else {})
        self.overwrite(
            table, self._spark.read.options(**PLAIN_PATHS).parquet(self._history(table, run_id)), run_id, marker
        )
        self._write_ledger(table, [run for run in self._ledger(table)["published"] if run != run_id] + [run_id], run_id)
        return {}

    def own_publish(self, table: str) -> dict[str, int] | None:
        """An empty dict where this run's own `publish` is what readers see, else None."""
        return {} if self._marker(table).get("token") == self._lock.token else None

    def last_publish(self, table: str) -> None:
        return None

    def published_runs(self, table: str) -> list[str]:
        runs = self._ledger(table)["published"][::-1]
        current = self.current_run(table)  # a run that was killed between its swap and its place in the ledger
        return runs if current is None or current in runs else [current, *runs]

    def current_run(self, table: str) -> str | None:
        return self._marker(table).get("run_id") or self._ledger(table)["current"]

    def restore(self, targets: Mapping[str, int | None], run_id: str) -> dict[str, int]:
        """Swaps in the rows that a run has published, of the tables that are kept below `_history`; no versions."""
        for table in targets:
            if self._files.exists(self._history(table, run_id)):
                rows = self._spark.read.options(**PLAIN_PATHS).parquet(self._history(table, run_id))
                self.overwrite(table, rows, run_id, {"run_id": run_id})
                self._write_ledger(table, self._ledger(table)["published"], run_id)
            elif run_id in self.published_runs(table):
                raise StorageError(f"{table} cannot go back to run {run_id}: {self._history(table, run_id)} is gone")
        return {}

    # -- one writer --------------------------------------------------------------------------------------------------

    def abandon(self, tables: Sequence[str], interrupted: bool) -> None:
        """Nothing: a table is swapped in or it is not."""

    def revoke(self, tokens: Sequence[str]) -> None:
        """Nothing: renames cannot be taken back, see `vsspark.storage.lock`."""

    def vacuum(self, tables: Sequence[str]) -> None:
        """Nothing: a Parquet folder holds no file that the table does not need."""

    def complete_swaps(self, tables: Sequence[str]) -> None:
        """Brings back the tables that a killed run had moved away and not yet replaced; removes the rest of `_swap`."""
        for table in tables:
            if self._files.exists(self._leaving(table)) and not self.exists(table):
                self._files.move(self._leaving(table), self.path(table))
        self._files.delete(f"{self._root}/_swap")

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _schema(self, table: str) -> StructType:
        """The columns that the files have, of the types of `vsspark.schemas`: a folder's names would make numbers of
        run ids. A partitioned table without rows has no file to look into, and then all its columns."""
        if table not in _CHANGED_LATELY:
            return TABLES[table]
        try:
            there = self._spark.read.options(**PLAIN_PATHS).parquet(self.path(table)).schema
        except AnalysisException:
            return TABLES[table]
        known = [field for field in TABLES[table] if field.name in there.names]
        return StructType([*known, *[field for field in there if field.name not in TABLES[table].names]])

    def _following(self, table: str) -> str:
        return f"{self._next}/{table}"

    def _leaving(self, table: str) -> str:
        return f"{self._root}/_swap/{table}.old"

    def _history(self, table: str, run_id: str) -> str:
        return f"{self._root}/_history/{table}/{run_id}"

    def _marker(self, table: str) -> dict:
        """Of the publish that put the table there; empty where an earlier release did, or there is no table."""
        path = f"{self.path(table)}/{_MARKER}"
        return json.loads(self._files.read_text(path)) if self._files.exists(path) else {}

    def _ledger(self, table: str) -> dict:
        """Which runs were published, oldest first, and which is current."""
        path = self._history(table, "ledger.json")
        if not self._files.exists(path):
            return {"published": [], "current": None}
        return json.loads(self._files.read_text(path))

    def _write_ledger(self, table: str, runs: list[str], current: str) -> None:
        ledger = json.dumps({"published": runs, "current": current})
        self._files.write_text(self._history(table, "ledger.json"), ledger)
