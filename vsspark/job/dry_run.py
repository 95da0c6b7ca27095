"""What the written rules would do tonight: the lists of the last search with them and without, nothing published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from pyspark.sql import SparkSession

from vsspark.config import Config
from vsspark.errors import ConfigError
from vsspark.job.eligible import rules_of
from vsspark.job.products import product_lists
from vsspark.job.written import written_rules
from vsspark.recommend.effects import Effect, rule_effects
from vsspark.storage.run_tables import RunTables
from vsspark.storage.store import Store


class _Preview(Store):
    """A store that keeps intermediate rows in a folder of its own: it has no lock, and a run that begins meanwhile
    removes the staging of others."""

    def staging(self, run_id: str, name: str = "") -> str:
        return f"{self.root}/_preview/{run_id}/{name}".rstrip("/")

    def drop(self) -> None:
        """Removes what previews have left."""
        self._files.delete(f"{self.root}/_preview")


def dry_run(spark: SparkSession, config: Config, run_id: str, day: dt.date, say: Callable[[str], None]) -> list[Effect]:
    """Prints a line for each written rule that is in force on a day: the lists it touches, products that no list shows
    any more, lists gone short; see `recommend.effects`.

    The lists are made from the tables as the last run has left them, twice: they are what `recommend` publishes where
    the catalogue is the same. Raises ConfigError where there is no file of rules.
    """
    if config.recommend.rules is None:
        raise ConfigError("--dry-run: expected recommend.rules or --rules FILE")
    store = _Preview(spark, config.output)
    tables, recommend = RunTables(store, run_id), config.recommend
    try:
        images = tables.read("images")
        written = written_rules(tables, images, recommend, day)
        made = []
        for name, held in (("without", ()), ("with", written)):
            rules = rules_of(tables, recommend, config.catalogue, held)
            knn = config.knn.model_copy(update={"k": max(config.knn.k, recommend.k if rules is None else rules.depth)})
            lists = product_lists(RunTables(store, f"{run_id}/{name}"), recommend, rules, knn)
            made.append(lists.select("product_id", "surface", "similar_product_id", "reason"))
        effects = rule_effects(*made, images, rules) if written else []
    finally:
        store.drop()
    _print(effects, say)
    return effects


def _print(effects: list[Effect], say: Callable[[str], None]) -> None:
    width = max([4, *(len(effect.rule.id) for effect in effects)])
    say(f"{'rule':{width}}  {'action':14}  {'lists':>9}  {'lost':>7}  {'short':>7}")
    for rule, lists, lost, short in effects:
        about = "" if lists else "  touches nothing"
        say(f"{rule.id:{width}}  {rule.said:14}  {lists:>9,}  {lost:>7,}  {short:>7,}{about}")
    if not effects:
        say("no rule is in force")
