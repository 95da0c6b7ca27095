"""What an export's files hold: one function for lines, one for the script beside them, of each format.

| format | `changed/part-*` | script |
|---|---|---|
| jsonl | an object a product: product_id, similar (its list, empty: the product has none any more), lists (the further ones, by `surface`, where there are any) | |
| elasticsearch | bulk lines, an action and a document a product, or a delete | alias.json: POST it to /_aliases after the bulk |
| postgres | rows of similar_products as COPY reads text | load.sql, for psql in the export's folder: one transaction |
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vsspark.config.recommend import SIMILAR
from vsspark.errors import ConfigError

FORMATS = ("jsonl", "elasticsearch", "postgres")
COLUMNS = {  # of similar_products, and their types in PostgreSQL
    "product_id": "text", "surface": "text", "rank": "integer", "similar_product_id": "text", "similarity": "real", "image_uri": "text",
    "similar_image_uri": "text", "category": "text", "similar_category": "text", "price": "double precision",
    "similar_price": "double precision", "source": "text", "reason": "text",
}  # fmt: skip
_OF_THE_PRODUCT = ("product_id", "surface", "image_uri", "category", "price")
_NAME = {"elasticsearch": r"[a-z0-9][a-z0-9_.\-]*", "postgres": r"[A-Za-z_][A-Za-z0-9_]*", "jsonl": ".*"}


def check_name(kind: str, name: str) -> str:
    """The name of an index or table. Raises ConfigError for one that the system would not take."""
    if not re.fullmatch(_NAME[kind], name):
        raise ConfigError(f"--name {name}: expected letters, digits and _ (elasticsearch: small letters, also - and .)")
    return name


def lines(changed: DataFrame, gone: DataFrame | None, kind: str, index: str) -> DataFrame:
    """value string, a row per line or, for a bulk file, per action. changed: rows of similar_products. gone: product_id of
    products that have no list any more.
    """
    if kind == "postgres":
        cells = [copy_text(name) for name in COLUMNS]
        return changed.sortWithinPartitions("product_id", "surface", "rank").select(
            F.concat_ws("\t", *cells).alias("value")
        )
    entries = [name for name in COLUMNS if name not in _OF_THE_PRODUCT]
    listed = F.array_sort(F.collect_list(F.struct(*entries))).alias("list")
    of_one = changed.groupBy("product_id", "surface").agg(listed)
    further = F.collect_list(F.when(F.col("surface") != SIMILAR, F.struct("surface", "list")))
    lists = of_one.groupBy("product_id").agg(
        F.max(F.when(F.col("surface") == SIMILAR, F.col("list"))).alias("similar"),
        F.map_from_entries(F.array_sort(further)).alias("lists"),
    )
    none = F.array().cast(lists.schema["similar"].dataType)
    lists = lists.withColumn("similar", F.coalesce("similar", none))
    lists = lists.withColumn("lists", F.when(F.cardinality("lists") > 0, F.col("lists")))  # null is left out
    document = F.struct("product_id", "similar", "lists")
    if kind == "jsonl":
        if gone is not None:
            emptied = {"similar": none, "lists": F.lit(None).cast(lists.schema["lists"].dataType)}
            lists = lists.unionByName(gone.withColumns(emptied))
        return lists.select(F.to_json(document).alias("value"))
    about = F.struct(F.lit(index).alias("_index"), F.col("product_id").alias("_id"))
    put = F.to_json(F.struct(about.alias("index")))
    rows = lists.select(F.concat_ws("\n", put, F.to_json(document)).alias("value"))
    if gone is None:
        return rows
    return rows.unionByName(gone.select(F.to_json(F.struct(about.alias("delete"))).alias("value")))


def copy_text(name: str) -> Column:
    """A column as PostgreSQL's COPY reads text: escapes for backslash, tab and line ends, \\N for null."""
    text = F.col(name).cast("string")
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = F.replace(text, F.lit(plain), F.lit(escaped))
    return F.coalesce(text, F.lit("\\N"))


def script(
    kind: str, name: str, index: str, files: Sequence[str], runs: tuple[str, str | None]
) -> tuple[str, str] | None:
    """(file name, text) of what takes an export over; None where files are all there is to it. runs: the one exported,
    and the one that a delta is from.
    """
    if kind == "elasticsearch":
        if index == name:
            return None  # a delta goes to the alias as it is
        actions = [{"remove": {"index": f"{name}-*", "alias": name, "must_exist": False}}]
        actions.append({"add": {"index": index, "alias": name}})
        return "alias.json", json.dumps({"actions": actions}, indent=1)
    return ("load.sql", _load(name, files, *runs)) if kind == "postgres" else None


def _load(table: str, files: Sequence[str], run: str, base: str | None) -> str:
    """One transaction: readers see the lists of one run or of the next. A delta is refused on any table but its base."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    key = "PRIMARY KEY (product_id, surface, rank)"
    copy = [file for file in files if file.startswith("changed/")]
    begin = ["\\set ON_ERROR_STOP on", "BEGIN;", f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {key});"]
    begin.append(f"CREATE TABLE IF NOT EXISTS {table}_export (run_id text);")
    end = [f"DELETE FROM {table}_export;", f"INSERT INTO {table}_export VALUES ({_quoted(run)});", "COMMIT;"]
    if base is None:
        fill = [f"CREATE TABLE {table}_next (LIKE {table} INCLUDING ALL);"]
        fill += [f"\\copy {table}_next FROM {_quoted(file)}" for file in copy]
        fill += [f"DROP TABLE {table};", f"ALTER TABLE {table}_next RENAME TO {table};"]
        return "\n".join([*begin, *fill, *end, ""])
    held = f"SELECT count(*) FROM {table}_export WHERE run_id = {_quoted(base)}"
    message = f"{table} does not hold run {base}, which this delta is from: load a whole export"
    check = f"DO $$ BEGIN IF ({held}) <> 1 THEN RAISE EXCEPTION {_quoted(message)}; END IF; END $$;"
    replaced = [file for file in files if file.startswith("replaced/")]
    fill = [check, "CREATE TEMPORARY TABLE replaced (product_id text) ON COMMIT DROP;"]
    fill += [f"\\copy replaced FROM {_quoted(file)}" for file in replaced]
    fill.append(f"DELETE FROM {table} USING replaced WHERE {table}.product_id = replaced.product_id;")
    fill += [f"\\copy {table} FROM {_quoted(file)}" for file in copy]
    return "\n".join([*begin, *fill, *end, ""])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
