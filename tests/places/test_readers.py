"""One question about a published table, asked with everything that people read it with: one answer.

JDBC by Spark's Thrift server, which finds the table by the name that `output.register_as` gave it.
"""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from quick_spark import JVM_OPTIONS

REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# DuckDB's extension for Delta lies in the package index for some releases of DuckDB alone.
PACKAGES = ("duckdb==1.4.4", "duckdb-ext-delta==1.4.4.20260205", "deltalake==1.6.6", "polars==2.1.0")
JDBC = ("PyHive==0.7.0", "thrift==0.25.0", "pyarrow==26.0.1")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# The products that stand most often at the first three places, and how near they are at best.
QUESTION = """SELECT similar_product_id, count(*) AS shown, min(rank) AS best, round(max(similarity), 3) AS nearest
FROM {table} WHERE rank <= 3 GROUP BY similar_product_id ORDER BY shown DESC, similar_product_id LIMIT 8"""


@pytest.fixture(scope="module")
def readers() -> Path:
    """The interpreter of the readers' own environment, made once."""
    folder = REPO / "build/readers"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *PACKAGES, *JDBC], check=True)
        (folder / "ready").touch()
    return folder / "bin/python"


@pytest.fixture(scope="module")
def metastore(tmp_path_factory) -> dict[str, str]:
    """Spark's settings of a metastore in Derby, which one process opens at a time."""
    folder = tmp_path_factory.mktemp("metastore")
    return {
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/db;create=true",
        "spark.hadoop.datanucleus.schema.autoCreateAll": "true",
        "spark.hadoop.hive.metastore.schema.verification": "false",
        "spark.driver.extraJavaOptions": f"{JVM_OPTIONS} -Dderby.system.home={folder}",
    }


@pytest.fixture(scope="module")
def table(metastore, tmp_path_factory) -> Path:
    """`similar_products` of a demo run that has named its tables."""
    folder = tmp_path_factory.mktemp("shop")
    values = {"demo.products": 8, "demo.path": f"{folder}/demo", "output.path": f"{folder}/out"}
    values |= {"mlflow.tracking_uri": f"sqlite:///{folder}/mlflow.db", "report.path": f"{folder}/report.html"}
    values |= {"output.register_as": "spark_catalog.default", **metastore}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    _run([sys.executable, "-m", "vsspark", "recommend", *sets])
    return folder / "out/similar_products"


@pytest.fixture(scope="module")
def server(metastore, table, tmp_path_factory) -> Iterator[int]:
    """The port of Spark's Thrift server over that metastore."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Delta on the class path: jars of spark.jars are not seen by the server's sessions.
    command = [BIN / "spark-submit", "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"]
    command += ["--master", "local[1]", "--driver-class-path", f"{REPO}/build/jars/*"]
    command += [part for key, value in {**metastore, "spark.jars": ""}.items() for part in ("--conf", f"{key}={value}")]
    hive = {"thrift.port": port, "thrift.bind.host": "127.0.0.1", "authentication": "NOSASL"}
    command += ["spark-internal"] + [p for k, v in hive.items() for p in ("--hiveconf", f"hive.server2.{k}={v}")]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as lines:
        process = subprocess.Popen(command, cwd=log.parent, env=_environment(), stdout=lines, stderr=lines)
    try:
        while process.poll() is None and not _listens(port):
            time.sleep(0.5)
        assert process.poll() is None, log.read_text()[-3000:]
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}


def _run(command: list) -> str:
    done = subprocess.run(command, cwd=REPO, env=_environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _ask(python: Path, reader: str, place: object) -> list[list]:
    rows = json.loads(_run([python, REPO / "tests/places/ask_published_table.py", reader, str(place), QUESTION]))
    return [[*row[:3], round(row[3], 3)] for row in rows]  # a float comes with more digits than it was rounded to


@pytest.fixture(scope="module")
def answer(readers, table) -> list[list]:
    rows = _ask(readers, "deltalake", table)
    assert len(rows) == 8
    return rows


@pytest.mark.parametrize("reader", ["duckdb", "polars"])
def test_files_are_read_without_spark(readers, table, answer, reader):
    assert _ask(readers, reader, table) == answer


def test_pyhive_asks_by_name(readers, server, answer):
    assert _ask(readers, "pyhive", server) == answer


def test_beeline_asks_by_name_and_sees_what_columns_mean(server, answer):
    home = Path(_run([sys.executable, "-c", "import pyspark; print(pyspark.__path__[0])"]).strip())

    def beeline(sql: str) -> list[list[str]]:
        address = f"jdbc:hive2://127.0.0.1:{server}/default;auth=noSasl"
        options = ["-n", "reader", "--silent=true", "--outputformat=csv2", "--showHeader=false"]
        # pip's own bin/beeline looks for Spark through the PATH's python3.
        lines = _run([home / "bin/beeline", "-u", address, *options, "-e", sql]).splitlines()
        # Its prompt stands before the first row, also where nobody types.
        return [row for row in csv.reader(line.rpartition("/default> ")[2] for line in lines) if row]

    rows = [row for row in beeline(QUESTION.format(table="similar_products").replace("\n", " ")) if len(row) == 4]
    assert [[row[0], int(row[1]), int(row[2]), round(float(row[3]), 3)] for row in rows] == answer
    rows = beeline("DESCRIBE similar_products")  # beeline's quotes, where a cell has a comma, are null bytes
    described = {row[0]: ",".join(row[2:]).strip("\0") for row in rows}
    assert described["rank"] == "1 = best, no gaps"
    assert ["5"] in beeline("SELECT max(rank) FROM top_similar_products")
