"""One run: its name and date, what it counted and timed, and the row it leaves in `runs`, whatever becomes of it."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from pyspark.sql import SparkSession

from vsspark.config import Config
from vsspark.errors import GateRefused, PublishedIncomplete, VssparkError, raised_in_task
from vsspark.job.followers import config_of, follow
from vsspark.job.migrate import migrate
from vsspark.job.outcome import FILE, outcome
from vsspark.job.result import StageResult
from vsspark.masking import mask_text
from vsspark.progress import Progress
from vsspark.recommend.written import WrittenRule
from vsspark.report.build import report_path
from vsspark.spark import session
from vsspark.storage.files import first_line
from vsspark.storage.lock import OutputLock
from vsspark.storage.run_tables import RunTables
from vsspark.storage.store import Store

log = logging.getLogger("vsspark")

_Result = TypeVar("_Result", bound=StageResult)


class Run:
    """Context of one job, `with Run(...) as run:`. Entering takes the output's lock; leaving writes the row of `runs`,
    removes staging and releases the lock.

    status: published, unchanged, staged (a single stage ran), refused, failed or rolled_back; publishing: on its way.
    force: why the run is to be published whatever the gate says, and even if nothing has changed; None = it is not.
    published: the row of the run that readers saw when this one began; None: nothing was published.
    """

    def __init__(self, spark: SparkSession, config: Config, run_id: str, run_date: dt.date, force: str | None = None):
        self.spark, self.config, self.run_id, self.run_date, self.force = spark, config, run_id, run_date, force
        self.lock = OutputLock(spark, config.output.path.rstrip("/"), run_id)
        self.store = Store(spark, config.output, self.lock)
        self.tables = RunTables(self.store, run_id)
        self.progress = Progress(spark.sparkContext.setJobDescription)
        self.started_at = dt.datetime.now(dt.UTC)
        self.status, self.message = "staged", None
        self.model_version: str | None = None
        self.inputs: str | None = None
        self.written: tuple[WrittenRule, ...] | None = None  # the written rules in force; None: not read yet
        self.versions: dict[str, int] = {}
        self.owed: list[str] = []
        self.published: dict | None = None
        self._before: dict = {}  # what `runs` says of an earlier run of this name
        self.embedded_by: str | None = None  # the run whose contents `images` holds; None: not looked up yet
        self.forced_by: str | None = None
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> Run:
        shop = self.config.catalogue
        self.store.check_reachable([] if shop is None else [shop.images_root or "", *(shop.allowed_roots or ())])
        dead = self.lock.acquire()
        try:
            self.store.revoke(dead)
            self.store.check_writable()  # not before: whoever holds the lock may be clearing the folder of the probe
            self.store.complete_swaps()
            self.store.drop_staging()
            migrate(self.tables)
            self.reload()
        except BaseException:
            self.lock.release()
            raise
        log.info("run        %s for %s, tables below %s", self.run_id, self.run_date, self.store.root)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is not None:
                if not isinstance(error, Exception):
                    session.reconnect(self.spark)
                self._note(error)
            if self.status == "publishing":
                log.error("run        %s: nobody can say whether it is published; the next call finds out", self.run_id)
            elif self.status != "unchanged" or not self._before:
                self.embedding_run()
                self.record()
        except Exception as failure:
            log.error("run        %s could not be recorded in `runs`: %s", self.run_id, first_line(failure))
            if error is None:
                error = failure
                if self.status != "published":
                    raise
        finally:
            self._leave(error)
        if self.status == "published" and isinstance(error, Exception):
            if not isinstance(error, VssparkError):
                log.error("run        %s: what follows the publish failed", self.run_id, exc_info=error)
            todo = f"still to do: {', '.join(self.owed)}, by the next call" if self.owed else "nothing is left to do"
            raise PublishedIncomplete(f"run {self.run_id} is published; then {_said(error)}; {todo}") from None

    def do(self, name: str, what: str, stage: Callable[..., _Result], *values: object) -> _Result:
        """The stage's result; its counts, metrics and seconds go into the run's row."""
        with self.progress.stage(name, what) as counts:
            result = stage(*values)
            counts.count(**result.counts)
        self.metrics |= result.metrics
        return result

    def finish(self) -> None:
        """Draws the report and logs to MLflow; `owed` keeps what is not done."""
        for name in follow(self.tables, self.row(), self.config, self.progress):
            self.owed.remove(name)
        log.info("table      %s", self.store.path("similar_products"))
        log.info("report     %s", report_path(self.config, self.run_id))

    def finish_owed(self) -> PublishedIncomplete | None:
        """Does what earlier published runs still owe; returns what failed again for the one that is current."""
        failed = None
        for row in self.store.runs_that_owe():
            owed, run_id = list(row["owed"]), row["run_id"]
            log.info("owed       %s of run %s, which was published without", " and ".join(owed), run_id)
            try:
                for name in follow(self.tables, row, config_of(self.config, row), self.progress):
                    owed.remove(name)
            except Exception as error:
                log.exception("owed       %s of run %s failed again", " and ".join(owed), run_id)
                if self.published is not None and self.published["run_id"] == run_id:
                    todo = f"still to do: {', '.join(owed)}, by the next call"
                    failed = PublishedIncomplete(f"run {run_id} is published; then {first_line(error)}; {todo}")
                else:
                    log.warning("owed       given up: run %s is not the published one any more", run_id)
                    owed = []
            if owed != row["owed"]:
                self.store.write_run_row(row | {"owed": owed})
                self.reload()
        return failed

    def reload(self) -> None:
        """Reads again what `runs` says of the published run and of an earlier run of this name."""
        self.published = self._published_row()
        self._before = self.store.run_row(self.run_id) or {}

    def settle(self) -> None:
        """Asks the table whether this run is out, where its commit began and the call that made it did not return.

        Sets status to published or failed; it stays at publishing where the table cannot be read.
        """
        if self.status != "publishing":
            return
        try:
            versions = self.store.own_publish("similar_products")
        except Exception:
            log.exception("run        %s may be published or not: similar_products cannot be read", self.run_id)
            return
        self.status = "failed" if versions is None else "published"
        self.versions = versions or {}

    def restore_published(self) -> None:
        """Restores the tables beside `similar_products` to the published run's versions, where they are not at them.

        The run's row gets the versions of the restored tables: the log does not keep the older ones for ever.
        """
        if self.published is None:
            return
        run_id, versions = self.published["run_id"], dict(self.published["versions"] or {})
        restored = self.store.restore_state(run_id, versions)
        if restored:
            self.published |= {"versions": {**versions, **restored}}
            self.store.write_run_row(self.published)
            if run_id == self.run_id:
                self._before = self.published
        self.put_back(run_id)

    def row(self) -> dict:
        """The run as a row of `runs`."""
        # A published run that is called again and then not published is still the one that readers have.
        own = self.status in ("publishing", "published")
        kept = {} if own or not self._before.get("inputs") else self._before
        return {
            "run_id": self.run_id,
            "run_date": self.run_date,
            "started_at": self.started_at,
            "finished_at": dt.datetime.now(dt.UTC),
            "status": self.status,
            "message": self.message and mask_text(self.message),
            "model_version": kept.get("model_version") or self.model_version,
            "config": json.dumps(self.config.public(), sort_keys=True),
            "counts": dict(self.progress.counts),
            "metrics": dict(self.metrics),
            "seconds": dict(self.progress.seconds),
            "inputs": self.inputs if own else self._before.get("inputs"),
            "versions": dict(self.versions or self._before.get("versions") or {}),
            "forced_by": self.forced_by and mask_text(self.forced_by),
            "embedded_by": self.embedded_by,
            "owed": list(self.owed if own else self._before.get("owed") or []),
        }

    def record(self) -> None:
        """Writes the row; writing it again replaces it."""
        self.store.write_run_row(self.row())

    def embedding_run(self) -> str | None:
        """The run whose contents and quarantine the tables hold: this one, the last that embedded, or the one they
        were restored to; None where there is none."""
        if self.embedded_by is None:
            self.embedded_by = self.store.embedding_run()
        return self.embedded_by

    def put_back(self, run_id: str) -> None:
        """Notes that the tables beside `similar_products` are those of an earlier run again; in Parquet they stay."""
        if (self.store.run_row(run_id) or {}).get("versions"):
            self.embedded_by = self.store.embedding_run(run_id)

    def _published_row(self) -> dict | None:
        """The row of the published run. One that was killed between its commit and its last row gets it now."""
        current = self.store.current_run("similar_products")
        row = None if current is None else self.store.run_row(current)
        if row is None:
            return None
        versions = row["versions"] or {}
        run_id, committed = self.store.last_publish("similar_products") or (None, {})
        newer = run_id == current and committed["similar_products"] > versions.get("similar_products", -1)
        if newer or row["status"] == "publishing":
            log.warning("run        %s was published and ended before it could say so: now on record", current)
            row |= {"status": "published", "versions": committed if newer else versions}
            self.store.write_run_row(row)
        return row

    def _current(self) -> str | None:
        """The run that readers see; None: none, or nobody knows."""
        if self.status == "published":
            return self.run_id
        if self.status == "publishing":
            return None
        if self.status == "rolled_back":
            return self.store.current_run("similar_products")
        return self.published and self.published["run_id"]

    def _note(self, error: BaseException) -> None:
        """Sets status and message of a run that an error has ended."""
        self.settle()
        if self.status == "published":
            self.message = f"published; then {_said(error)}"  # the table is out: only what follows it failed
        elif self.status != "publishing":
            self.versions = {}  # of tables that are restored: a published run of this name keeps those it has on record
            self.status = "refused" if isinstance(error, GateRefused) else "failed"
            self.message = _said(error)

    def _leave(self, error: BaseException | None) -> None:
        """Writes `outcome.json`, removes what the run has kept for itself and releases the lock; what fails here changes
        nothing about how the run has ended."""
        try:
            if not self.lock.lost():
                self.store.write_json(FILE, outcome(self.row(), error, self._current()))
        except Exception as failure:
            log.warning("run        %s could not be written: %s", self.store.path(FILE), first_line(failure))
        try:
            self.store.drop_staging(self.run_id)
            if self.status in ("published", "unchanged") and not self.lock.lost():
                self.store.drop_work()
        except Exception as error:
            folder = self.store.staging(self.run_id)
            log.warning("run        %s could not be removed: %s; the next run does it", folder, error)
        finally:
            self.lock.release()


def _said(error: BaseException) -> str:
    """What an error says, in one line where it was not made for a person to read."""
    error = raised_in_task(error) or error
    return str(error) if isinstance(error, VssparkError) else f"{type(error).__name__}: {first_line(error)}"
