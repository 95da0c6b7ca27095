"""`vsspark doctor`: what is fit, and what to do about what is not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from shops import REPO, arguments, draw_shop

from jobs import doctor

CHECKS = ["java", "spark", "catalogue", "output", "encoder", "memory", "gpus", "report"]


def _lines(capsys, code, *own):
    capsys.readouterr()
    assert doctor.main(list(own)) == code
    caught = capsys.readouterr()
    lines = {line.split()[1]: line for line in caught.out.splitlines()}
    assert list(lines) == CHECKS
    assert {line[:6] for line in lines.values()} <= {"ok    ", "FAIL  "}
    return {name: (line.startswith("ok"), line[17:]) for name, line in lines.items()}, caught.err


def test_a_shop_that_is_fit(spark, tmp_path, capsys):
    draw_shop(tmp_path, products=2, images=1)
    lines, _ = _lines(capsys, 0, *arguments(tmp_path, f"{tmp_path}/out"))
    assert all(fit for fit, _ in lines.values())
    assert "local[2], 2 tasks at a time" in lines["spark"][1]
    assert lines["output"][1].endswith("can be written, nothing is published")
    assert lines["encoder"][1].startswith("default-")
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("check", "change", "todo"),
    [
        ("catalogue", "catalogue.columns.image=picture", "catalogue.columns.image=picture"),
        ("catalogue", "catalogue.table=nowhere.csv", "nowhere.csv"),
        ("output", "output.path=/dev/null/out", "output.path=/dev/null/out cannot be written"),
        ("encoder", "encoder.weights=nowhere.h5", "encoder.weights: nowhere.h5: found no such file"),
        ("report", "report.path=/dev/null/report.html", "report.path=/dev/null/report.html cannot be written"),
        ("report", "mlflow.tracking_uri=sqlite:////dev/null/mlflow.db", "mlflow.tracking_uri"),
    ],
)
def test_what_is_not_fit_is_named_and_the_rest_is_looked_at(spark, tmp_path, capsys, check, change, todo):
    draw_shop(tmp_path, products=2, images=1)
    lines, err = _lines(capsys, 2, *arguments(tmp_path, f"{tmp_path}/out", change))
    unfit = [name for name, (fit, _) in lines.items() if not fit]
    assert unfit == [check] if check != "encoder" else ["encoder", "memory"]
    assert todo in lines[check][1]
    assert f"doctor: not fit for a run: {', '.join(unfit)}" in err


def test_without_java(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "vsspark", "doctor", "--set", f"output.path={tmp_path}/out"],
        cwd=REPO, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 2
    first, second, *_ = process.stdout.splitlines()
    assert second == "FAIL  spark      not looked at: it needs java"
    assert first.startswith("FAIL  java       java does not run")
    assert first.endswith("install a Java 17 or 21 runtime, or set JAVA_HOME to one")
    assert "Traceback" not in process.stdout + process.stderr
