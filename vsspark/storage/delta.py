"""Tables in Delta: every write is one commit that carries the run, so a reader sees the table before it or after it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from vsspark.errors import StorageError
from vsspark.spark import session
from vsspark.storage.delta_log import Commit, commits, written_at
from vsspark.storage.delta_writer import DeltaWriter
from vsspark.storage.files import first_line


class DeltaTables(DeltaWriter):
    """What has been published, going back to it, and the space that it takes."""

    def publish(self, table: str, df: DataFrame, run_id: str, versions: Mapping[str, int]) -> dict[str, int]:
        """Commits the rows together with the versions of the tables that belong to them; returns all the versions."""
        note = {"run_id": run_id, "versions": dict(versions)} | ({"token": self._lock.token} if self._lock else {})
        self._commit(table, df, note, overwriteSchema=True)
        return {**versions, table: self.version(table)}

    def own_publish(self, table: str) -> dict[str, int] | None:
        """The versions that this run's own `publish` has committed; None: it has not, and will not any more.

        An interrupted call may leave its commit on its way. A commit that uses up its transaction id settles it: Delta
        lets only the first of the two through.
        """
        if not self.exists(table):
            return None
        self.revoke([self._lock.token], [table])
        publishes = (commit for commit in self._commits(table) if commit.note.get("token") == self._lock.token)
        commit = next(publishes, None)
        return commit and {**commit.note["versions"], table: commit.version}

    def last_publish(self, table: str) -> tuple[str, dict[str, int]] | None:
        """(run id, versions) of the published run, by its commit; None when the log has lost it, or after a restore."""
        commit = next(iter(self._commits(table)), None)
        if commit is None or commit.restored or "versions" not in commit.note:
            return None
        return commit.note["run_id"], {**commit.note["versions"], table: commit.version}

    def published_runs(self, table: str) -> list[str]:
        """Newest first, as far as the log reaches back; the current one always."""
        if not self.exists(table):
            return []
        runs = [commit.note["run_id"] for commit in self._commits(table) if not commit.restored]
        return list(dict.fromkeys(run for run in [*runs, self.current_run(table)] if run is not None))

    def current_run(self, table: str) -> str | None:
        """From the rows: the log forgets after `delta.logRetentionDuration`. From the log where there are no rows."""
        if not self.exists(table):
            return None
        row = self.read(table, self._newest(table)).select("run_id").first()
        return row.run_id if row else next((commit.note["run_id"] for commit in self._commits(table)), None)

    def restore(self, targets: Mapping[str, int | None], run_id: str) -> dict[str, int]:
        """Puts tables back to a run's versions, all of them or none, in this order; returns their new versions.

        A version that is None is looked up in the log. Raises StorageError, before anything is touched, where a file
        that one of the versions needs is gone.
        """
        versions = {table: self._version_of(table, run_id) if at is None else at for table, at in targets.items()}
        for table, version in versions.items():
            self._check_files(table, version, run_id)
        before = {table: self._newest(table) for table in versions}
        begun = []
        try:
            for table, version in versions.items():
                begun.append(table)
                self._restore(table, version, run_id)
        except BaseException:
            for table in begun:  # the last one, too: an interrupted call may have left its commit on its way
                self._restore(table, before[table], run_id)
            raise
        return {table: self.version(table) for table in versions}

    def vacuum(self, tables: Sequence[str]) -> None:
        """Removes the files that no version of the last keep_days days needs; going back reaches as far."""
        settings = {
            # Delta refuses less than its own 7 days; nobody else writes here while the lock is held.
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            # By default 10,000 tasks list the folders of each table: minutes on one machine.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": str(4 * session.task_slots(self._spark)),
        }
        long_ago = time.time() - 86_400 * self._keep_days
        with self._set(settings):
            for table in tables:
                # Listing a table's files takes seconds even where there is nothing to remove.
                if self.exists(table) and min(written_at(self._files, self.path(table)).values()) < long_ago:
                    self._vacuum(table)

    def complete_swaps(self, tables: Sequence[str]) -> None:
        """Nothing: a commit is there or it is not."""

    # -- inside ------------------------------------------------------------------------------------------------------

    def _commits(self, table: str) -> list[Commit]:
        return commits(self._spark, self.path(table)) if self.exists(table) else []

    def _version_of(self, table: str, run_id: str) -> int:
        versions = (c.version for c in self._commits(table) if c.note["run_id"] == run_id and not c.restored)
        version = next(versions, None)
        if version is None:
            raise StorageError(f"{table} cannot go back to run {run_id}: its log does not reach back so far")
        return version

    def _check_files(self, table: str, version: int, run_id: str) -> None:
        what = f"{table} cannot go back to run {run_id}, version {version}"
        try:
            names = {name.rsplit("/", 1)[-1] for name in self.read(table, version).inputFiles()}
        except (Py4JJavaError, PySparkException) as error:
            raise StorageError(f"{what}: {first_line(error)}") from None
        missing = names - self._files.names_below(self.path(table))
        if missing:
            count = f"{len(missing)} of its {len(names)} files are gone"
            why = f"{count}, for example {min(missing)}; has VACUUM removed them?"
            raise StorageError(f"{what}: {why} No table was changed")

    def _restore(self, table: str, version: int, run_id: str) -> None:
        if self._lock is not None:
            self._lock.check()
        with self._set({"spark.databricks.delta.commitInfo.userMetadata": json.dumps({"run_id": run_id})}):
            try:
                DeltaTable.forPath(self._spark, self.path(table)).restoreToVersion(version)
            except (Py4JJavaError, PySparkException) as error:
                text = f"{table} cannot go back to run {run_id}, version {version}: {first_line(error)}"
                raise StorageError(text) from None
        if self._lock is not None:
            self._versions[table] = self._newest(table)

    def _vacuum(self, table: str) -> None:
        delta = DeltaTable.forPath(self._spark, self.path(table))
        if not self._properties().items() <= delta.detail().first()["properties"].items():
            # keep_days was another when the table was created.
            assignments = ", ".join(f"'{name}' = '{value}'" for name, value in self._properties().items())
            self._spark.sql(f"ALTER TABLE delta.`{self.path(table)}` SET TBLPROPERTIES ({assignments})")
        delta.vacuum()
