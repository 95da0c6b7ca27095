"""Tables as plain Parquet folders, for readers without Delta.

A table is written beside the old one and swapped in by renames; the swap is two renames, not one atomic step (a swap that died half-way is
completed by the next run; that of a partition leaves the old rows in `_swap`, and the next run makes them anew). Published runs are kept below
`_history/` so that `rollback` works here too.
"""

from __future__ import annotations

import json

from pyspark.sql import DataFrame, SparkSession

from vsspark.errors import StorageError
from vsspark.schemas import TABLES
from vsspark.store.files import Files


class ParquetTables:
    """The tables below a root; none of them has versions."""

    def __init__(self, spark: SparkSession, files: Files, root: str):
        self._spark, self._files, self._root = spark, files, root

    def path(self, table: str) -> str:
        return f"{self._root}/{table}"

    def exists(self, table: str) -> bool:
        return self._files.exists(self.path(table))

    def version(self, table: str) -> None:
        return None

    def read(self, table: str, version: int | None = None) -> DataFrame:
        reader = self._spark.read
        if table in TABLES:  # a partitioned table without rows has no file to infer columns from
            reader = reader.schema(TABLES[table])
        return reader.parquet(self.path(table))

    def overwrite(self, table: str, df: DataFrame, run_id: str) -> None:
        following, leaving = self._swap(table)
        if self._files.exists(f"{self.path(table)}/_delta_log"):
            raise StorageError(f"{self.path(table)} is a Delta table and output.format=parquet would replace it and its history: name another output.path")
        df.write.mode("overwrite").parquet(following)
        if self._files.exists(self.path(table)):
            self._files.delete(leaving)  # left behind by a swap that died after it had moved the next one in
            self._files.move(self.path(table), leaving)
        self._files.move(following, self.path(table))
        self._files.delete(leaving)

    def replace(self, table: str, df: DataFrame, by: str, value: str, run_id: str) -> None:
        # Overwriting partitions dynamically would keep the old one where no row replaces it. And the rows may come from those they replace.
        escaped = self._spark._jvm.org.apache.spark.sql.catalyst.catalog.ExternalCatalogUtils.escapePathName(value)
        partition, (following, leaving) = f"{by}={escaped}", self._swap(table)
        df.write.mode("overwrite").partitionBy(by).parquet(following)
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

    def publish(self, table: str, df: DataFrame, run_id: str) -> None:
        df.write.mode("overwrite").parquet(self._history(table, run_id))
        self.overwrite(table, self._spark.read.parquet(self._history(table, run_id)), run_id)
        self._write_ledger(table, [run for run in self._ledger(table)["published"] if run != run_id] + [run_id], run_id)

    def published_runs(self, table: str) -> list[str]:
        return self._ledger(table)["published"][::-1]

    def current_run(self, table: str) -> str | None:
        return self._ledger(table)["current"]

    def restore(self, table: str, run_id: str) -> None:
        self.overwrite(table, self._spark.read.parquet(self._history(table, run_id)), run_id)
        self._write_ledger(table, self._ledger(table)["published"], run_id)

    def restore_version(self, table: str, version: int, run_id: str) -> None:
        raise StorageError(f"{table} has no versions: output.format is parquet")

    def vacuum(self, tables: tuple[str, ...]) -> None:
        """Nothing: a Parquet folder holds no file that the table does not need."""

    def complete_swaps(self, tables: tuple[str, ...]) -> None:
        """Brings back the tables that a killed run had moved away and not yet replaced."""
        for table in tables:
            _, leaving = self._swap(table)
            if self._files.exists(leaving) and not self.exists(table):
                self._files.move(leaving, self.path(table))

    def _swap(self, table: str) -> tuple[str, str]:
        return f"{self._root}/_swap/{table}.next", f"{self._root}/_swap/{table}.old"

    def _history(self, table: str, run_id: str) -> str:
        return f"{self._root}/_history/{table}/{run_id}"

    def _ledger(self, table: str) -> dict:
        """Which runs were published, oldest first, and which is current."""
        path = self._history(table, "ledger.json")
        return json.loads(self._files.read_text(path)) if self._files.exists(path) else {"published": [], "current": None}

    def _write_ledger(self, table: str, published: list[str], current: str) -> None:
        self._files.write_text(self._history(table, "ledger.json"), json.dumps({"published": published, "current": current}))
