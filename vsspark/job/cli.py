"""How every job starts and ends: arguments, configuration, session, exit code.

A job file calls `run_job(NAME, argv)`; `jobs.JOBS` says what NAME does.
Exit codes: 0 done; 2 wrong usage, config or input; 3 the gate refused; 1 anything unexpected, and a run that is
published but could not draw its report or log to MLflow (one message; the same command again does it).
130 and 143: ended by SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from vsspark import __version__, progress
from vsspark.config import Config, load_config
from vsspark.errors import ConfigError, VssparkError, raised_in_task
from vsspark.job.jobs import JOBS
from vsspark.masking import mask_text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# It names folders: nothing that climbs, nests or matches others.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=@-]*")


def run_job(name: str, argv: Sequence[str] | None = None) -> int:
    """The job's exit code; every failure a user can mend is one message on stderr, without a stack trace."""
    job = JOBS[name]
    parser = argparse.ArgumentParser(prog=name, description=job.about)
    parser.add_argument("--config", metavar="FILE", help="YAML file, see conf/")
    override = "override one dotted key, for example knn.k=10"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=override)
    parser.add_argument(
        "--run-date",
        metavar="YYYY-MM-DD",
        type=dt.date.fromisoformat,
        default=None,
        help="the date the run is for (default: today, UTC)",
    )
    parser.add_argument("--run-id", default=None, help="name of the run (default: made from the date and the time)")
    if job.add_arguments:
        job.add_arguments(parser)
    try:
        args = parser.parse_args(argv)
        if args.run_id is not None and not _RUN_ID.fullmatch(args.run_id):
            allowed = "letters, digits and ._:+=@- after a letter or digit"
            parser.error(f"argument --run-id: got {args.run_id!r}, allowed are {allowed}")
    except SystemExit as leaving:
        return int(leaving.code or 0)
    progress.configure_logging()
    now = dt.datetime.now(dt.UTC)
    args.run_date = args.run_date or now.date()
    args.run_id = args.run_id or f"{args.run_date:%Y%m%d}-{now:%H%M%S%f}"[:-3]
    try:
        config = load_config(args.config, args.set)
        given = (_session(name, config), config, args) if job.starts_spark else (config, args)
        with _signals():
            job.work(*given)
    except Exception as error:
        known = error if isinstance(error, VssparkError) else raised_in_task(error)
        if known is not None:
            _complain(f"{name}: {mask_text(str(known))}")
            return known.exit_code
        trace = mask_text(traceback.format_exc())
        _complain(f"{trace}\n{name}: failed unexpectedly; the table `runs` says what had been done")
        return 1
    except Stopped as stopped:
        _complain(f"{name}: ended by {signal.Signals(stopped.number).name}")
        return 128 + stopped.number
    return 0


def _session(name: str, config: Config) -> SparkSession:
    try:
        from vsspark.spark import session  # a job without Spark does not wait for its packages
    except ModuleNotFoundError as error:
        if error.name not in ("pyspark", "py4j"):
            raise
        raise ConfigError(
            f"this Python has no {error.name}: pip install 'vsspark[spark]', or start the job with spark-submit"
        ) from None

    return session.create(f"vsspark-{name}", config.spark)


class Stopped(BaseException):
    """SIGINT or SIGTERM: the run restores its tables and releases its lease before the process ends."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def _signals() -> Iterator[None]:
    """Makes signals exceptions. Spark's own handler calls the JVM, which fails where the main thread waits for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)  # a second one ends the process at once
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(message: str) -> None:
    """One message on stderr. spark-submit pipes Python's stderr into its own stdout; the JVM still has the real one."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        from vsspark.spark import jvm

        jvm.print_error(message)
    else:
        print(message, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The console script: `vsspark JOB [arguments]` is the same as `jobs/JOB.py [arguments]`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in JOBS:
        return run_job(argv[0], argv[1:])
    if argv and argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv and argv[0] in ("-V", "--version", "version"):
        print(f"vsspark {__version__}")
        return 0
    found = f"got {argv[0]!r}, " if argv else ""
    print(f"vsspark: {found}expected a job, one of {', '.join(JOBS)}, then its arguments", file=sys.stderr)
    print("vsspark --help says what each does", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, JOBS))
    jobs = [f"  {name:<{width}}  {job.about}" for name, job in JOBS.items()]
    return "\n".join(
        [
            "usage: vsspark JOB [--config FILE] [--set KEY=VALUE ...] [arguments of the job]",
            "",
            "Product -> similar products, from a shop's pictures.",
            "",
            "jobs:",
            *jobs,
            "",
            "vsspark JOB --help has a job's arguments. exit codes: 0 done; 2 wrong usage, config or input;",
            "3 the gate refused, nothing was published; 1 anything unexpected.",
        ]
    )
