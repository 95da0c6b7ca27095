"""Asks one question of a published table with the reader that is named; prints the rows as JSON.

python ask_published_table.py READER PLACE QUESTION: PLACE is the table's folder, for pyhive the server's port. In
QUESTION, {table} stands for the table.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path


def duckdb(folder: str, question: str) -> list[tuple]:
    import duckdb

    package = importlib.util.find_spec("duckdb_ext").submodule_search_locations[0]
    (extension,) = Path(package).rglob("delta.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    return connection.execute(question.format(table=f"delta_scan('{folder}')")).fetchall()


def deltalake(folder: str, question: str) -> list[tuple]:
    from deltalake import DeltaTable, QueryBuilder

    table = QueryBuilder().register("similar_products", DeltaTable(folder))
    answer = table.execute(question.format(table="similar_products")).read_all()
    return list(zip(*(answer.column(i).to_pylist() for i in range(answer.num_columns)), strict=True))


def polars(folder: str, question: str) -> list[tuple]:
    import polars

    context = polars.SQLContext(similar_products=polars.scan_delta(folder))
    return context.execute(question.format(table="similar_products")).collect().rows()


def pyhive(port: str, question: str) -> list[tuple]:
    from pyhive import hive

    with hive.connect("127.0.0.1", int(port), auth="NOSASL") as connection, connection.cursor() as cursor:
        cursor.execute(question.format(table="similar_products"))
        return cursor.fetchall()


if __name__ == "__main__":
    reader, place, question = sys.argv[1:]
    print(json.dumps([list(row) for row in globals()[reader](place, question)]))
