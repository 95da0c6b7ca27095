"""`vsspark` without a job, and `python -m vsspark`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vsspark
from vsspark.job.cli import main
from vsspark.job.jobs import JOBS

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_job_and_what_it_does(flag, capsys):
    assert main([flag]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed and job.about in printed for name, job in JOBS.items())


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag, capsys):
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"vsspark {vsspark.__version__}\n"


@pytest.mark.parametrize(("argv", "said"), [([], "expected a job"), (["recomend"], "got 'recomend'")])
def test_no_such_job(argv, said, capsys):
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_a_job_s_help_says_what_it_does(capsys):
    assert main(["query", "--help"]) == 0
    assert JOBS["query"].about in capsys.readouterr().out


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "vsspark", "--version"]
    process = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120, check=True)
    assert process.stdout == f"vsspark {vsspark.__version__}\n"
