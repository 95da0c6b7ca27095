"""One run: its name and date, what it counted and timed, and the row it leaves in `runs`, whatever becomes of it."""

from __future__ import annotations

import datetime as dt
import json
import logging
from types import TracebackType

from pyspark.sql import SparkSession

from vsspark.config import Config
from vsspark.errors import GateRefused, StorageError, VssparkError
from vsspark.lock import OutputLock
from vsspark.masking import mask_text
from vsspark.progress import Progress
from vsspark.schemas import RUNS
from vsspark.store import Store

log = logging.getLogger("vsspark")


class Run:
    """Context of one job: `with Run(...) as run:`; entering it takes the output's lock, leaving it writes the row of `runs`, clears staging and lets go.

    status: published, unchanged, staged (a single stage ran), refused, failed or rolled_back.
    force: why the run is to be published whatever the gate says, and even if nothing has changed; None = it is not.
    """

    def __init__(self, spark: SparkSession, config: Config, run_id: str, run_date: dt.date, force: str | None = None):
        self.spark, self.config, self.run_id, self.run_date, self.force = spark, config, run_id, run_date, force
        self.store = Store(spark, config.output)
        self.lock = OutputLock(spark, self.store.root, run_id)
        self.progress = Progress(spark.sparkContext.setJobDescription)
        self.started_at = dt.datetime.now(dt.UTC)
        self.status, self.message = "staged", None
        self.model_version: str | None = None
        self.inputs: str | None = None
        self.versions: dict[str, int] = {}
        self._before: dict = {}  # what `runs` says of an earlier run of this name
        self.embedded_by: str | None = None  # the run whose embeddings and quarantine the tables hold; None: nobody has asked yet
        self.forced_by: str | None = None
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> Run:
        self.lock.acquire()
        try:
            self.store.check_writable()  # not before: whoever holds the lock may be clearing the folder of the probe
            self.store.complete_swaps()
            self.store.drop_staging()
            self._before = self.store.run_row(self.run_id) or {}
        except BaseException:
            self.lock.release()
            raise
        log.info("run        %s for %s, tables below %s", self.run_id, self.run_date, self.store.root)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self.status != "published":
            self.versions = {}  # of tables that are put back: a published run of this name keeps those it has on record
        if error is not None and self.status == "published":
            self.message = f"published; then {type(error).__name__}: {error}".splitlines()[0]  # the table is out: only what follows it failed
        elif error is not None:
            self.status = "refused" if isinstance(error, GateRefused) else "failed"
            self.message = str(error) if isinstance(error, VssparkError) else f"{kind.__name__}: {error}".splitlines()[0]
        try:
            if self.status != "unchanged" or not self._before:
                self.embedding_run()
                self.record()
        except Exception:
            if error is None:
                raise
            log.exception("the failed run could not be recorded in `runs`")
        finally:
            self._leave()

    def _leave(self) -> None:
        """Clears what the run has kept for itself and lets go of the output; what fails here changes nothing about how the run has ended."""
        try:
            if not self.lock.lost():  # else the run that has taken over keeps its own things there
                self.store.drop_staging()
                if self.status in ("published", "unchanged"):
                    self.store.drop_work()
        except Exception as error:
            log.warning("run        %s could not be cleared away: %s; the next run does it", self.store.staging(self.run_id), error)
        finally:
            self.lock.release()

    def row(self) -> dict:
        """The run as a row of `runs`."""
        # A published run that is called again and then not published is still the one that readers have.
        kept = {} if self.status in ("publishing", "published") or not self._before.get("inputs") else self._before
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
            "inputs": self.inputs if self.status == "published" else self._before.get("inputs"),
            "versions": dict(self.versions or self._before.get("versions") or {}),
            "forced_by": self.forced_by and mask_text(self.forced_by),
            "embedded_by": self.embedded_by,
        }

    def record(self) -> None:
        """Writes the row; writing it again replaces it."""
        row = self.row()
        df = self.spark.createDataFrame([tuple(row[name] for name in RUNS.names)], RUNS).coalesce(1)
        self.store.replace("runs", df, RUNS, by="run_id", value=self.run_id, run_id=self.run_id)

    def current_model_version(self) -> str:
        """The model version of the embeddings that the tables hold: what a stage works on when it runs alone."""
        if self.model_version is None:
            row = self.store.run_row(self.embedding_run() or "")
            if row is None:
                raise StorageError(f"no run below output.path={self.store.root} has embedded anything yet: run jobs/embed.py first")
            self.model_version = row["model_version"]
        return self.model_version

    def embedding_run(self) -> str | None:
        """The run whose embeddings and quarantine the tables hold: this one, the last that embedded, or the one they were put back to; None where there is none."""
        if self.embedded_by is None:
            self.embedded_by = self.store.embedding_run()
        return self.embedded_by

    def put_back(self, run_id: str) -> None:
        """Notes that the tables beside `similar_products` are those of an earlier run again; in Parquet they stay as they are."""
        if self.store.versions_of(run_id):
            self.embedded_by = self.store.embedding_run(run_id)
