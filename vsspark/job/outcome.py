"""How a run has ended, as a file for schedulers: cluster managers turn exit codes into others, or lose them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsspark.errors import VssparkError, raised_in_task

_NEW = ("published", "rolled_back")
FILE = "outcome.json"  # below output.path; of the run that ended last
_COLUMNS = (
    "run_id",
    "run_date",
    "started_at",
    "finished_at",
    "status",
    "message",
    "model_version",
    "counts",
    "versions",
)


def outcome(row: Mapping[str, Any], error: BaseException | None, current: str | None) -> dict[str, Any]:
    """What `outcome.json` holds: _COLUMNS of the run's row of `runs`, exit_code, published and current.

    error: what has ended the run; None: it came to its end. published: readers have another table than before.
    current: the run that readers see; None: none, or nobody knows.
    """
    facts = {name: row[name] for name in _COLUMNS}
    facts |= {name: facts[name].isoformat() for name in ("run_date", "started_at", "finished_at")}
    new = row["status"] in _NEW
    return facts | {"exit_code": exit_code(row["status"], error), "published": new, "current": current}


def exit_code(status: str, error: BaseException | None) -> int:
    """The exit code of the job's process."""
    if error is None:
        return 0
    signal = getattr(error, "number", None)
    if isinstance(signal, int) and not isinstance(error, Exception):
        return 128 + signal
    if status == "published":
        return 1  # what follows the publish is not done
    known = error if isinstance(error, VssparkError) else raised_in_task(error)
    return known.exit_code if known is not None else 1
