"""The written rules of a run: read, checked against the catalogue, and recorded in `applied_rules`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.config import Config, RecommendConfig
from vsspark.errors import ConfigError
from vsspark.recommend.marks import unknown_names
from vsspark.recommend.rules import field_names
from vsspark.recommend.written import WrittenRule, contradictions, parse_rules
from vsspark.storage.files import Files, first_line
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")


def written_rules(
    tables: RunTables, rows: DataFrame, recommend: RecommendConfig, day: dt.date
) -> tuple[WrittenRule, ...]:
    """The rules of `recommend.rules` that are in force on a day; none where there is no file. rows: of `images`, or of
    the catalogue, with product_id and attributes.

    Raises ConfigError with the line of every rule that cannot be read or cannot hold; with `recommend.lenient` they are
    warnings, and those rules are left out.
    """
    if recommend.rules is None:
        return ()
    rules, mistakes = parse_rules(_read(tables, recommend.rules), recommend.rules)
    wrong = contradictions(rules, {name: keys.k for name, keys in recommend.lists().items()})
    rules = [rule for rule in rules if rule.id not in wrong and rule.holds_on(day)]
    unknown = unknown_names(rows, rules, field_names(rows))
    mistakes += [*wrong.values(), *unknown.values()]
    if mistakes and not recommend.lenient:
        said = "; ".join(sorted(mistakes, key=lambda text: int(text.split(":")[0].split()[1])))
        raise ConfigError(f"recommend.rules: {recommend.rules}: {said}")
    for mistake in mistakes:
        log.warning("rules      %s: %s; left out", recommend.rules, mistake)
    held = tuple(rule for rule in rules if rule.id not in unknown)
    log.info("rules      %d of %s are in force on %s", len(held), recommend.rules, day)
    return held


def with_rules(config: Config, args: argparse.Namespace) -> Config:
    """The configuration with the file of rules that the command line names."""
    given = {"rules": os.path.abspath(args.rules) if args.rules and "://" not in args.rules else args.rules}
    given |= {"lenient": args.lenient or None}
    given = {name: value for name, value in given.items() if value is not None}
    return config.model_copy(update={"recommend": config.recommend.model_copy(update=given)})


def record_rules(tables: RunTables, rules: tuple[WrittenRule, ...]) -> None:
    """Writes `applied_rules`."""
    if not rules and not tables.exists("applied_rules"):
        return
    columns = {
        "id": pa.array([rule.id for rule in rules], pa.string()),
        "line": pa.array([rule.line for rule in rules], pa.int32()),
        "action": pa.array([rule.action for rule in rules], pa.string()),
        "place": pa.array([rule.place for rule in rules], pa.int32()),
        "when": pa.array([json.dumps(rule.when) for rule in rules], pa.string()),
        "target": pa.array([json.dumps(rule.target) for rule in rules], pa.string()),
        "begins": pa.array([rule.begins for rule in rules], pa.date32()),
        "ends": pa.array([rule.ends for rule in rules], pa.date32()),
        "surface": pa.array([rule.surface for rule in rules], pa.string()),
        "note": pa.array([rule.note for rule in rules], pa.string()),
    }
    rows = tables.spark.createDataFrame(pa.table(columns)).withColumn("run_id", F.lit(tables.run_id))
    tables.overwrite("applied_rules", rows)


def _read(tables: RunTables, path: str) -> str:
    """The file's text, of any file system that Spark reads."""
    try:
        return Files(tables.spark).read_text(path)
    except (Py4JJavaError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recommend.rules: {path} cannot be read: {first_line(error)}") from None
