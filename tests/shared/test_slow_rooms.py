"""The nightly tests are complete: every slow test is in a room that conf/ci/nightly.yml names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]


def test_every_room_with_slow_tests_runs_at_night():
    nightly = yaml.safe_load((REPO / "conf/ci/nightly.yml").read_text())
    rooms = nightly["jobs"]["slow"]["strategy"]["matrix"]["room"]
    marked = re.compile(r"mark\.slow\b")
    files = [path for path in (REPO / "tests").rglob("test_*.py") if marked.search(path.read_text())]
    assert sorted(rooms) == sorted({path.parent.name for path in files if path.name != Path(__file__).name})


def test_make_slow_runs_the_slow_tests_of_one_room():
    done = subprocess.run(["make", "-n", "slow", "NAME=query"], cwd=REPO, capture_output=True, text=True, check=True)
    command = next(line for line in done.stdout.splitlines() if "pytest" in line)
    assert command.split() == [".venv/bin/python", "-m", "pytest", "-m", "slow", "tests/query"]
