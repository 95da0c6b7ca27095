"""`outcome.json`: what a scheduler reads where it cannot trust exit codes."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from vsspark.errors import ConfigError, GateRefused
from vsspark.job.cli import Stopped
from vsspark.job.outcome import exit_code, outcome

_NOW = dt.datetime(2026, 3, 1, 2, 3, tzinfo=dt.UTC)
_ROW = {
    "run_id": "night-1", "run_date": dt.date(2026, 3, 1), "started_at": _NOW, "finished_at": _NOW, "message": None,
    "model_version": "m", "counts": {"images": 3}, "versions": {"images": 1}, "metrics": {}, "config": "{}",
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error", "code", "published"),
    [
        ("published", None, 0, True),
        ("unchanged", None, 0, False),
        ("staged", None, 0, False),
        ("rolled_back", None, 0, True),
        ("refused", GateRefused("no"), 3, False),
        ("failed", ConfigError("no"), 2, False),
        ("failed", ValueError("no"), 1, False),
        ("failed", Stopped(15), 143, False),
        ("published", ConfigError("the report cannot be written"), 1, True),
    ],
)
def test_the_exit_code_and_whether_something_is_new(status, error, code, published):
    assert exit_code(status, error) == code
    facts = json.loads(json.dumps(outcome(_ROW | {"status": status}, error, "night-0")))
    assert facts["current"] == "night-0"
    assert facts["exit_code"] == code
    assert facts["published"] is published
    assert facts["run_date"] == "2026-03-01"


def test_a_published_run_leaves_its_outcome_beside_the_tables(published):
    _, output, rows = published
    facts = json.loads(Path(output, "outcome.json").read_text(encoding="utf-8"))
    assert (facts["run_id"], facts["status"], facts["exit_code"], facts["published"]) == (
        "night-1",
        "published",
        0,
        True,
    )
    assert facts["current"] == "night-1"
    assert facts["counts"]["images"] == len(rows)
    assert facts["versions"]["similar_products"] >= 0
