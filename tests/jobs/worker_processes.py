"""Spark's Python workers among a machine's processes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil


def is_python_worker(process: psutil.Process) -> bool:
    """Whether it is one that a daemon has forked, not the daemon. Raises psutil.Error when it is gone."""
    line = process.cmdline()
    return "pyspark.daemon" in line and process.parent() is not None and process.parent().cmdline() == line


def busy(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that are computing now: the others wait for a task, and nobody misses them."""
    begun = {}
    for process in processes:
        with suppress(psutil.Error):
            begun[process] = sum(process.cpu_times()[:2])
    time.sleep(0.2)
    found = []
    for process, seconds in begun.items():
        with suppress(psutil.Error):
            if sum(process.cpu_times()[:2]) > seconds:
                found.append(process)
    return found
