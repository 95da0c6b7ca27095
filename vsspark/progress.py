"""What a person sees while a run works: one line when a stage starts, one with counts and rate when it ends."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vsspark.masking import mask_text

log = logging.getLogger("vsspark")


def configure_logging() -> None:
    """Our own lines to stderr with a time; the libraries' chatter below warnings stays out, and so do credentials."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class _MaskingFormatter(logging.Formatter):
    """Lines without credentials: a path or a URI that was configured may carry one."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_text(super().format(record))


@dataclass
class Progress:
    """Counts and wall seconds of the stages of one run, announced as they happen.

    describe: is told the stage's name as it starts and None as it ends; SparkContext.setJobDescription, so that
    Spark's own pages name it.
    """

    describe: Callable[[str | None], None]
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[StageCounts]:
        """Announces the stage, then its counts, seconds and the rate of its first count."""
        log.info("%-10s %s ...", name, what)
        begin = time.perf_counter()
        stage = StageCounts()
        self.describe(mask_text(f"{name}: {what}"))
        try:
            yield stage
        finally:
            self.describe(None)
        took = time.perf_counter() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.counts |= stage.values
        parts = [f"{value:,} {label.replace('_', ' ')}" for label, value in stage.values.items()]
        rate = f", {next(iter(stage.values.values())) / took:,.0f}/s" if stage.values and took > 0.5 else ""
        log.info("%-10s %s in %.1f s%s", name, ", ".join(parts) or "done", took, rate)


@dataclass
class StageCounts:
    values: dict[str, int] = field(default_factory=dict)

    def count(self, **values: int) -> None:
        self.values |= values
