"""The tables as one run works on them: what a stage is given, and all that it knows of the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from vsspark.schemas import PARTITIONED_BY, TABLES, complete
from vsspark.spark import session
from vsspark.storage.store import Store


@dataclass(frozen=True)
class RunTables:
    """Reads and writes tables in the name of a run, in the columns that `vsspark.schemas` gives them."""

    store: Store
    run_id: str

    @property
    def spark(self) -> SparkSession:
        return self.store.spark

    @cached_property
    def storage_options(self) -> dict[str, str]:
        """How tasks reach object storage: Spark's fs.s3a properties."""
        return session.storage_options(self.spark)

    @cached_property
    def slots(self) -> int:
        """Tasks that run at a time."""
        return session.task_slots(self.spark)

    def exists(self, table: str) -> bool:
        return self.store.exists(table)

    def read(self, table: str) -> DataFrame:
        """The table's rows with all its columns. Raises StorageError where no run has written it."""
        return complete(self.store.read(table), TABLES[table])

    def read_or_empty(self, table: str) -> DataFrame:
        """The table's rows; none where no run has written it."""
        return self.read(table) if self.exists(table) else self._no_rows(TABLES[table])

    def overwrite(self, table: str, rows: DataFrame) -> None:
        """Replaces the whole table."""
        self.store.overwrite(table, rows, TABLES[table], self.run_id, PARTITIONED_BY.get(table))

    def replace(self, table: str, rows: DataFrame, value: str) -> None:
        """Replaces the rows of one partition, by PARTITIONED_BY."""
        self.store.replace(table, rows, TABLES[table], PARTITIONED_BY[table], value, self.run_id)

    def append(self, table: str, rows: DataFrame) -> None:
        """Adds rows."""
        self.store.append(table, rows, TABLES[table], PARTITIONED_BY.get(table), self.run_id)

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Intermediate rows, written once and read back; they go when the run is over."""
        return self.store.stage(self.run_id, name, rows)

    def staging(self, name: str) -> str:
        """A folder that goes when the run is over."""
        return self.store.staging(self.run_id, name)

    def index(self, name: str) -> str:
        """A folder that is kept from night to night and made anew where it is lost: no table, not for readers."""
        return f"{self.store.root}/_index/{name}"

    def work(self, name: str) -> str:
        """A folder of finished work that survives a kill."""
        return self.store.work(name)

    def add_work(self, name: str, rows: DataFrame) -> None:
        """Appends finished work, every task's as soon as the task is done."""
        self.store.add_work(name, rows)

    def read_work(self, name: str, schema: str) -> DataFrame:
        """The finished work of that name; none where there is none."""
        rows = self.store.read_work(name, schema)
        return self._no_rows(schema) if rows is None else rows

    def _no_rows(self, schema: StructType | str) -> DataFrame:
        # With the limit Spark knows that there are none, and leaves out the joins with them.
        return self.spark.createDataFrame([], schema).limit(0)
