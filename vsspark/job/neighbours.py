"""`images` and `embeddings` -> `neighbours`: in full, or only what has changed since the last search."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark import __version__
from vsspark.blocks.spark import number_blocks, with_blocks
from vsspark.catalogue.spark import hash_id
from vsspark.config import BlockingConfig, KnnConfig, ListConfig, RecommendConfig
from vsspark.embed.reuse import with_content
from vsspark.errors import StorageError
from vsspark.job.embed import vectors_of, with_vectors
from vsspark.job.result import StageResult
from vsspark.knn import values
from vsspark.knn.incremental import SPARE_PLACES, changes, gone_items, kept_lists, merged_lists, state_of
from vsspark.knn.index import METRICS, Index, Settings, new_index, open_index
from vsspark.knn.index_search import search_all, search_changed
from vsspark.knn.index_update import update_index
from vsspark.knn.spark import audited_recall, search_neighbours
from vsspark.recommend.codes import may_be_shown
from vsspark.recommend.lists import product_facts
from vsspark.schemas import SEARCHED
from vsspark.spark.digest import rows_digest, settings_digest
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")

# Share of the queries; a full search computes each pair once for both sides, so beyond about a half it is the cheaper
# one.
_MOST_CHANGED = 0.25


@dataclass(frozen=True)
class NeighboursResult(StageResult):
    """model_version: of the embeddings that were searched."""

    model_version: str


def neighbours_stage(
    tables: RunTables, knn: KnnConfig, blocking: BlockingConfig, recommend: RecommendConfig
) -> NeighboursResult:
    """Writes `neighbours`, block by block, and `_searched`; unchanged queries meet only what is new."""
    rows = searchable(tables, list(recommend.lists().values()))
    blocked = with_blocks(rows, blocking).withColumn("block", F.when(F.col("recommendable"), F.col("block")))
    blocked = tables.stage("blocked", blocked.select("image_id", "group_id", "content", "block", "probes"))
    search = _Search(tables, current_model_version(tables), knn, blocked.count())
    before = search.state_before()
    if before is None:
        log.info("neighbours no search with these settings to go on from: all of them")
        queries = search.in_full(blocked)
    else:
        queries = search.update(blocked, before)
    counts = {"neighbours": tables.read("neighbours").count(), "searched": queries}
    return NeighboursResult(search.model_version, counts=counts, metrics=search.metrics)


def current_model_version(tables: RunTables) -> str:
    """The model version of the images that have an embedding. Raises StorageError where none has."""
    row = tables.read_or_empty("images").where("model_version IS NOT NULL").select("model_version").first()
    if row is None:
        where = f"output.path={tables.store.root}"
        raise StorageError(f"no run below {where} has embedded anything yet: run jobs/embed.py first")
    return row.model_version


def searchable(tables: RunTables, lists: Sequence[ListConfig]) -> DataFrame:
    """Every embedded image, without its vector: image_id, product_id, category, content, predicted_category,
    category_probabilities, group_id (a hash of its product), recommendable (whether it may be an item of any of
    the lists, by the rules that look at nothing but the item).
    """
    images = with_content(tables.read("images"))
    names = ["image_id", "product_id", "category", "content", "predicted_category", "category_probabilities"]
    embedded = images.where(F.col("content").isNotNull())
    rows = embedded.select(*names, hash_id("product_id").alias("group_id"))
    tests = {keys.item_limits for keys in lists}
    if (False, None, None) in tests:
        return rows.withColumn("recommendable", F.lit(True))
    recommendable = reduce(or_, [may_be_shown(test) for test in sorted(tests, key=str)]).alias("recommendable")
    return rows.join(product_facts(images).select("product_id", recommendable), "product_id")


class _Search:
    """The search of one night: what it is made from, and what it measured."""

    def __init__(self, tables: RunTables, model_version: str, knn: KnnConfig, images: int):
        self._tables, self.model_version, self._images = tables, model_version, images
        self._k = knn.k
        # A few places more than readers get: they make up for items lost in nights to come.
        self._knn = knn.model_copy(update={"k": knn.k + SPARE_PLACES})
        self.metrics: dict[str, float] = {}
        decisive = {name: getattr(knn, name) for name in ("k", "metric", "mode", "target_recall", "seed")}
        self._settings = settings_digest([model_version, decisive, SPARE_PLACES, values.VERSION])

    def state_before(self) -> DataFrame | None:
        """What `neighbours` was made from; None where it was made with other settings, or the two tables are not of one
        run.
        """
        tables, made_by = self._tables, self._last_run()
        if made_by is None or not tables.exists("neighbours"):
            return None
        state, lists = tables.read("_searched"), tables.read("neighbours").select("run_id").first()
        if lists is None or lists.run_id != made_by or state.select("settings").first().settings != self._settings:
            return None
        return state

    def in_full(self, rows: DataFrame) -> int:
        """Searches all rows; how many."""
        now = _state_rows(rows)
        scratch = self._scratch(now)
        with_vectors = self._with_vectors(rows)
        if self._knn.metric in METRICS:
            index = follow_index(self._tables, self.model_version, with_vectors, self._knn)
            lists = search_all(index, with_vectors, scratch, self._knn)
        else:
            lists = search_neighbours(number_blocks(with_vectors), scratch, self._knn, self._tables.storage_options)
        self._write(now, self._audited(lists, scratch))
        return self._images

    def update(self, rows: DataFrame, before: DataFrame) -> int:
        """Searches what has changed since the state before; how many queries in full."""
        tables, now = self._tables, _state_rows(rows)
        lists, gone = kept_lists(tables.read("neighbours"), before), tables.stage("gone", gone_items(now, before))
        changed = tables.stage("changed", changes(now, before, lists, gone, self._k))
        full, fresh = changed.agg(F.count_if("full"), F.count_if("fresh")).first()
        if not full and not fresh and gone.isEmpty() and before.count() == self._images:
            log.info("neighbours nothing has changed since the last search")
            return 0
        log.info("neighbours %d of %d queries in full, the others against %d new items", full, self._images, fresh)
        if full > _MOST_CHANGED * self._images or self._knn.metric not in METRICS:
            # Hamming's bits are cut at medians of tonight's rows: every distance may be another.
            return self.in_full(rows)
        new = tables.stage("new-lists", self._new_lists(rows, now, changed))
        merged = merged_lists(new, lists, gone, changed, now.select("image_id", "group_id"), self._knn.k)
        self._write(now, merged, changed)
        return full

    def _new_lists(self, rows: DataFrame, now: DataFrame, changed: DataFrame) -> DataFrame:
        """The whole lists of the queries that are searched in full, and of the others what they meet of new items."""
        index = follow_index(self._tables, self.model_version, self._with_vectors(rows), self._knn)
        scratch = self._scratch(now, changed)
        lists = search_changed(index, self._with_vectors(rows), changed, scratch, self._knn)
        return self._audited(lists, f"{scratch}/full")

    def _with_vectors(self, rows: DataFrame) -> DataFrame:
        return with_vectors(rows, vectors_of(self._tables, self.model_version), self._images)

    def _scratch(self, *inputs: DataFrame) -> str:
        """A folder named by what is searched: a killed search of the same rows has left there what it had finished."""
        digests = [rows_digest(each) for each in inputs]
        name = settings_digest([self._settings, __version__, self._knn.tile_rows, digests])
        return self._tables.work(f"neighbours/{name}")

    def _audited(self, lists: DataFrame, scratch: str) -> DataFrame:
        """The lists, whose search has measured its recall in scratch."""
        recall = audited_recall(scratch, self._tables.storage_options)
        if recall is not None:
            self.metrics["recall_at_k"] = recall
            about = "neighbours recall@%d %.4f against exact search on a sample, knn.target_recall %.4f"
            log.info(about, self._k, recall, self._knn.target_recall)
        return lists

    def _write(self, now: DataFrame, lists: DataFrame, changed: DataFrame | None = None) -> None:
        tables = self._tables
        lists = tables.stage("lists", lists)
        if self._last_run() == tables.run_id:
            # The two tables are known to belong together by their run's name: called twice, a run must not leave new
            # lists beside its old state.
            tables.overwrite("_searched", tables.spark.createDataFrame([], SEARCHED))
        run = F.lit(tables.run_id)
        named = {"model_version": F.lit(self.model_version), "run_id": run}
        tables.overwrite("neighbours", lists.where(F.col("rank") <= self._k).withColumns(named))
        state = state_of(lists, now, self._knn.k, self._k, changed)
        tables.overwrite("_searched", state.withColumns({"settings": F.lit(self._settings), "run_id": run}))

    def _last_run(self) -> str | None:
        """The run that wrote `_searched`; None where there is none, or none that came to its end."""
        row = self._tables.read_or_empty("_searched").select("run_id").first()
        return row and row.run_id


def follow_index(tables: RunTables, model_version: str, rows: DataFrame, knn: KnnConfig) -> Index:
    """The kept index, brought up to date with the rows; one that does not fit is built anew, and the log says why."""
    settings = Settings(knn.metric, model_version)
    folder = tables.index("neighbours")
    index, reason = open_index(folder, settings, tables.storage_options)
    if index is None:
        log.info("index      built anew: %s", reason)
        index = new_index(folder, settings, tables.storage_options)
    return update_index(index, rows, tables.staging("index"), knn, label=tables.run_id)


def fitting_index(tables: RunTables, model_version: str, metric: str) -> Index | None:
    """The kept index, if it holds what `neighbours` was made from; else the log says why not."""
    index, reason = open_index(tables.index("neighbours"), Settings(metric, model_version), tables.storage_options)
    searched = tables.read("neighbours").select("run_id").first()
    if index is not None and (searched is None or index.label != searched.run_id):
        index, reason = None, f"it is of run {index.label}, neighbours of run {searched and searched.run_id}"
    if index is None:
        log.info("index      not used: %s", reason)
    return index


def _state_rows(rows: DataFrame) -> DataFrame:
    """The rows as `_searched` keeps them. Another box is another picture to whoever searches."""
    return rows.select("image_id", "group_id", F.col("content").alias("content_hash"), "block", "probes")
