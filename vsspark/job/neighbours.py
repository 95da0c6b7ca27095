"""`embeddings` -> `neighbours`: in full, or only what has changed since the last search."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark import __version__
from vsspark.blocks.spark import number_blocks, with_blocks
from vsspark.catalogue.spark import hash_id
from vsspark.config import KnnConfig
from vsspark.embed.reuse import with_content
from vsspark.job.embed import embeddings_of
from vsspark.job.run import Run
from vsspark.knn import values
from vsspark.knn.incremental import SPARE_PLACES, changes, gone_items, halved_blocks, kept_lists, merged_lists, state_of
from vsspark.knn.spark import audited_recall, search_neighbours
from vsspark.recommend.lists import product_facts
from vsspark.schemas import NEIGHBOURS, SEARCHED
from vsspark.spark import session
from vsspark.spark.digest import rows_digest, settings_digest
from vsspark.storage.store import Store

log = logging.getLogger("vsspark")

# Share of the queries; a full search computes each pair once for both sides, so beyond about a half it is the cheaper
# one.
_MOST_CHANGED = 0.25


def neighbours_stage(run: Run) -> None:
    """`embeddings` -> `neighbours`, block by block; unchanged queries meet only what is new."""
    # Fewer neighbours than recommendations would leave every product of one image short, and send it through the
    # whole catalogue.
    knn = run.config.knn.model_copy(update={"k": max(run.config.knn.k, run.config.recommend.k)})
    store = run.store
    with run.progress.stage("neighbours", f"{knn.k} nearest products per image, {knn.metric}, {knn.mode}") as stage:
        blocked = with_blocks(searchable(run), run.config.blocking).withColumn(
            "block", F.when(F.col("recommendable"), F.col("block"))
        )
        # Another box is another picture to whoever searches.
        now = with_content(blocked).select(
            "image_id", "group_id", F.col("content").alias("content_hash"), "block", "probes"
        )
        now = store.stage(run.run_id, "now", now)
        settings = _settings(run, knn)
        before = _searched_before(run, settings)
        rows = blocked.select("image_id", "group_id", "embedding", "block", "probes")
        if before is None:
            log.info("neighbours no search with these settings to go on from: all of them")
            _write(run, now, settings, knn, _search(run, rows, _name(run, settings, now), knn), now.count())
        else:
            _update(run, rows, now, before, settings, knn)
        stage.count(neighbours=store.read("neighbours").count())


def searchable(run: Run) -> DataFrame:
    """Every embedded image as the neighbour search takes it, with group_id (a hash of its product) and whether it may
    be recommended.
    """
    images, embedded = run.store.read("images"), embeddings_of(run).drop("run_id")
    rows = images.select("image_id", hash_id("product_id").alias("group_id"), "product_id", "category").join(
        embedded, "image_id"
    )
    if not run.config.recommend.in_stock_only:
        return rows.withColumn("recommendable", F.lit(True))
    facts = product_facts(images, embedded).select(
        "product_id", F.coalesce("in_stock", F.lit(False)).alias("recommendable")
    )
    return rows.join(facts, "product_id")


def _update(run: Run, rows: DataFrame, now: DataFrame, before: DataFrame, settings: str, knn: KnnConfig) -> None:
    store = run.store
    lists, gone = kept_lists(store.read("neighbours"), before), store.stage(run.run_id, "gone", gone_items(now, before))
    changed = store.stage(run.run_id, "changed", changes(now, before, lists, gone, knn.k))
    counts = changed.agg(
        F.count("*").alias("queries"), F.count_if("full").alias("full"), F.count_if("fresh").alias("fresh")
    ).first()
    if not counts["full"] and not counts["fresh"] and gone.isEmpty() and before.count() == counts["queries"]:
        log.info("neighbours nothing has changed since the last search")
        run.progress.counts["searched"] = 0
        return
    log.info(
        "neighbours %d of %d queries in full, the others against %d new items",
        counts["full"],
        counts["queries"],
        counts["fresh"],
    )
    if counts["full"] > _MOST_CHANGED * counts["queries"] or knn.metric == "hamming":
        # Hamming's bits are cut at medians of tonight's rows: every distance may be another.
        _write(run, now, settings, knn, _search(run, rows, _name(run, settings, now), knn), counts["queries"])
        return
    found = store.stage(
        run.run_id, "found", _search(run, halved_blocks(rows, changed), _name(run, settings, now, changed), knn)
    )
    merged = merged_lists(found, lists, gone, changed, now.select("image_id", "group_id"), knn.k + SPARE_PLACES)
    _write(run, now, settings, knn, merged, counts["full"], changed)


def _name(run: Run, settings: str, *inputs: DataFrame) -> str:
    """A name for the work on these rows: a killed search of the same rows has left there what it had finished."""
    digests = [rows_digest(rows) for rows in inputs]
    return f"neighbours/{settings_digest([settings, __version__, run.config.knn.tile_rows, digests])}"


def _search(run: Run, rows: DataFrame, name: str, knn: KnnConfig) -> DataFrame:
    scratch = run.store.work(name)
    options = session.storage_options(run.spark)
    # The places that make up for lost items on the nights to come.
    longer = knn.model_copy(update={"k": knn.k + SPARE_PLACES})
    found = search_neighbours(number_blocks(rows), scratch, longer, options)
    recall = audited_recall(scratch, options)
    if recall is not None:
        run.metrics["recall_at_k"] = recall
        log.info(
            "neighbours recall@%d %.4f against exact search on a sample, knn.target_recall %.4f",
            knn.k,
            recall,
            knn.target_recall,
        )
    return found


def _write(
    run: Run,
    now: DataFrame,
    settings: str,
    knn: KnnConfig,
    lists: DataFrame,
    searched: int,
    changed: DataFrame | None = None,
) -> None:
    lists = run.store.stage(run.run_id, "lists", lists)
    if _last_search(run.store) == run.run_id:
        # The two tables are known to belong together by their run's name: called twice, a run must not leave new
        # lists beside its old state.
        run.store.overwrite("_searched", run.spark.createDataFrame([], SEARCHED), SEARCHED, run.run_id)
    neighbours = lists.where(F.col("rank") <= knn.k).withColumns(
        {"model_version": F.lit(run.current_model_version()), "run_id": F.lit(run.run_id)}
    )
    run.store.overwrite("neighbours", neighbours, NEIGHBOURS, run.run_id)
    state = state_of(lists, now, knn.k + SPARE_PLACES, knn.k, changed).withColumns(
        {"settings": F.lit(settings), "run_id": F.lit(run.run_id)}
    )
    run.store.overwrite("_searched", state, SEARCHED, run.run_id)
    run.progress.counts["searched"] = searched


def _settings(run: Run, knn: KnnConfig) -> str:
    decisive = {name: getattr(knn, name) for name in ("k", "metric", "mode", "target_recall", "seed")}
    return settings_digest([run.current_model_version(), decisive, SPARE_PLACES, values.VERSION])


def _last_search(store: Store) -> str | None:
    """The run that wrote `_searched`; None where there is none, or none that came to its end."""
    made = store.read("_searched").select("run_id").first() if store.exists("_searched") else None
    return made and made.run_id


def _searched_before(run: Run, settings: str) -> DataFrame | None:
    """What `neighbours` was made from; None where it was made with other settings, or the two tables are not of one
    run.
    """
    store = run.store
    made_by = _last_search(store)
    if made_by is None or not store.exists("neighbours"):
        return None
    state, lists = store.read("_searched"), store.read("neighbours").select("run_id").first()
    if lists is None or lists.run_id != made_by or state.select("settings").first().settings != settings:
        return None
    return state
