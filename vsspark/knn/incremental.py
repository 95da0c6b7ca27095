"""Last night's neighbours and what has changed since -> tonight's, row for row what a full search would give.

A query is searched again in full when it is new, when its picture or the blocks it probes are others, or when its
list can no longer be trusted for k places. Every other query meets only the items that are new in the blocks it
probes, and of those only the ones as near as its last neighbour; what it finds is merged into its list. So the work
is (changed queries) x (items of their blocks) + (all queries) x (new items), and a list that nothing touched is
passed on.

Lists are kept a few places longer than anybody reads (`SPARE_PLACES`), so that one that loses an item is searched
again only when the spare places are used up: with 20 neighbours, one image in 150 gone would else send one query in
eight through its whole block. A list that is shorter because there are no more items (`complete`) stays right
whatever it loses. Where the lost item's product has another image, that one may belong in the list, and the query is
searched in full.

In approximate mode a list that is passed on keeps the recall it had, new items are searched exactly or with the same
promise, and a list that has used up its spare places is made anew: the promise holds from night to night.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

# Places: with one item in 150 gone a night, a list of 20 loses one in about seven nights, and gains new ones as
# often.
SPARE_PLACES = 5
_OLD, _NEW = (
    "old\t",
    "new\t",
)  # an item's block is one of two: probing only the new half is how a query skips what it has met before
_LIST = ("query_image_id", "rank", "item_image_id", "similarity")


def state_of(lists: DataFrame, now: DataFrame, places: int, k: int, before: DataFrame | None = None) -> DataFrame:
    """What the next night goes on from, a row per row of now: its columns, and length, complete, last, spare of its
    list.

    lists: query_image_id, rank, item_image_id, similarity, at most `places` of them, of which readers get the first
    k. before: the state the lists were made from with `changes`, those columns and `full`; None where all were
    searched.
    """
    summary = lists.groupBy(F.col("query_image_id").alias("image_id")).agg(
        F.count("*").cast("int").alias("length"),
        F.min("similarity").alias("last"),
        F.sort_array(F.collect_list(F.when(F.col("rank") > k, F.struct("rank", "item_image_id", "similarity")))).alias(
            "spare"
        ),
    )
    rows = now.join(summary, "image_id", "left").withColumn("length", F.coalesce("length", F.lit(0)))
    short = F.col("length") < places
    if before is None:
        return rows.withColumn("complete", short)
    trusted = before.select("image_id", (F.col("full") | F.col("complete")).alias("trusted"))
    return rows.join(trusted, "image_id").withColumn("complete", short & F.col("trusted")).drop("trusted")


def kept_lists(neighbours: DataFrame, state: DataFrame) -> DataFrame:
    """The lists with their spare places: query_image_id, rank, item_image_id, similarity."""
    spare = state.select(F.col("image_id").alias("query_image_id"), F.explode("spare").alias("item")).select(
        "query_image_id", "item.*"
    )
    return neighbours.select(*_LIST).unionByName(spare.select(*_LIST))


def gone_items(now: DataFrame, before: DataFrame) -> DataFrame:
    """item_image_id, sibling (bool: its group has another item that stays): the items that are gone, have another
    picture or have left their block.

    now, before: image_id, group_id, content_hash, block string (null: an item of none).
    """
    old = before.where("block IS NOT NULL").select("image_id", "group_id", "content_hash", "block")
    new = now.select("image_id", F.col("content_hash").alias("new_hash"), F.col("block").alias("new_block"))
    both = old.join(new, "image_id", "left")
    stays = F.col("content_hash").eqNullSafe(F.col("new_hash")) & F.col("block").eqNullSafe(F.col("new_block"))
    groups = both.groupBy("group_id").agg(
        F.count_if(stays).alias("staying"), F.collect_list(F.when(~stays, F.col("image_id"))).alias("gone")
    )
    return groups.select(F.explode("gone").alias("item_image_id"), (F.col("staying") > 0).alias("sibling"))


def changes(now: DataFrame, before: DataFrame, lists: DataFrame, gone: DataFrame, k: int) -> DataFrame:
    """One row per row of now: image_id; full (the query is searched again in full); fresh (it is a new item in its
    block); trimmed (its list has lost items and is still good for k places); complete (as before); floor (the
    similarity of its last place; null where any item is welcome).

    now: image_id, group_id, content_hash, block, probes array<string>. before: rows of `state_of`. lists:
    `kept_lists`. gone: `gone_items`.
    """
    old = before.select(
        "image_id",
        "length",
        "complete",
        "last",
        *[F.col(name).alias(f"old_{name}") for name in ("content_hash", "block", "probes")],
        F.lit(True).alias("known"),
    )
    hit = lists.select(F.col("query_image_id").alias("image_id"), "item_image_id").join(gone, "item_image_id")
    losses = hit.groupBy("image_id").agg(F.count("*").alias("lost"), F.max("sibling").alias("sibling"))
    shorter = lists.withColumnRenamed("query_image_id", "image_id").join(
        losses.select("image_id"), "image_id", "left_semi"
    )
    lasts = (
        shorter.join(gone.select("item_image_id"), "item_image_id", "left_anti")
        .groupBy("image_id")
        .agg(F.min("similarity").alias("new_last"))
    )
    rows = now.join(old, "image_id", "left").join(losses, "image_id", "left").join(lasts, "image_id", "left")
    known = F.col("known").isNotNull()
    same_content = F.col("content_hash").eqNullSafe(F.col("old_content_hash"))
    same_item = same_content & F.col("block").eqNullSafe(F.col("old_block"))
    same_query = same_content & (F.array_sort("probes") == F.array_sort("old_probes"))
    spent = F.col("lost").isNotNull() & (
        F.col("sibling") | (~F.col("complete") & (F.col("length") - F.col("lost") < k))
    )
    full = ~known | ~F.coalesce(same_query, F.lit(False)) | F.coalesce(spent, F.lit(False))
    last = F.when(F.col("lost").isNull(), F.col("last")).otherwise(F.col("new_last"))
    return rows.select(
        "image_id",
        full.alias("full"),
        (F.col("block").isNotNull() & (~known | ~same_item)).alias("fresh"),
        (~full & F.col("lost").isNotNull()).alias("trimmed"),
        F.coalesce("complete", F.lit(False)).alias("complete"),
        F.when(~full & ~F.col("complete"), last).alias("floor"),
    )


def halved_blocks(rows: DataFrame, changed: DataFrame) -> DataFrame:
    """The rows with every block cut in two, its old and its new items.

    Their probes lead a query only where it must search; their floor is that of `changes`.
    """

    def halves(names: Column, kinds: Sequence[str]) -> Column:
        return F.flatten(F.transform(names, lambda name: F.array(*[F.concat(F.lit(kind), name) for kind in kinds])))

    return (
        rows.join(changed.select("image_id", "full", "fresh", "floor"), "image_id")
        .withColumns(
            {
                "block": F.concat(F.when(F.col("fresh"), _NEW).otherwise(_OLD), F.col("block")),
                "probes": F.when(F.col("full"), halves(F.col("probes"), (_OLD, _NEW))).otherwise(
                    halves(F.col("probes"), (_NEW,))
                ),
            }
        )
        .drop("full", "fresh")
    )


def merged_lists(
    found: DataFrame, lists: DataFrame, gone: DataFrame, changed: DataFrame, groups: DataFrame, places: int
) -> DataFrame:
    """query_image_id, rank, item_image_id, similarity: the lists of all queries.

    found: what was searched tonight, whole lists of the full queries, new items for the others. lists: `kept_lists`
    of last night. gone: `gone_items`. changed: `changes`. groups: image_id, group_id. A list keeps the best `places`
    items, one of a group: its most similar, the lower id among equals. One that is not complete ends where it ended:
    what is farther than its last place may have been left out of it.
    """
    query = F.col("image_id").alias("query_image_id")
    full = changed.where("full").select(query)
    others = changed.where("NOT full").select(query, "trimmed", "complete")
    offered = found.select(*_LIST).join(full, "query_image_id", "left_anti").withColumn("offered", F.lit(True))
    touched = offered.select("query_image_id").union(others.where("trimmed").select("query_image_id")).distinct()
    remaining = lists.join(touched, "query_image_id", "left_semi").join(
        gone.select("item_image_id"), "item_image_id", "left_anti"
    )
    both = remaining.select(*_LIST).withColumn("offered", F.lit(False)).unionByName(offered)
    both = both.join(others.select("query_image_id", "complete"), "query_image_id")
    both = both.join(groups.select(F.col("image_id").alias("item_image_id"), "group_id"), "item_image_id")
    per_query = Window.partitionBy("query_image_id")
    kept_places = F.count_if(~F.col("offered")).over(
        per_query.orderBy(*_nearest()).rowsBetween(Window.currentRow, Window.unboundedFollowing)
    )
    within = both.withColumn("behind", kept_places).where(
        "complete OR behind > 0"
    )  # not behind the last place that was kept
    best = within.withColumn(
        "place", F.row_number().over(Window.partitionBy("query_image_id", "group_id").orderBy(*_nearest()))
    ).where("place = 1")
    ranked = best.withColumn("rank", F.row_number().over(per_query.orderBy(*_nearest()))).where(F.col("rank") <= places)
    untouched = lists.join(others.select("query_image_id"), "query_image_id", "left_semi").join(
        touched, "query_image_id", "left_anti"
    )
    return (
        found.select(*_LIST)
        .join(full, "query_image_id", "left_semi")
        .unionByName(untouched.select(*_LIST))
        .unionByName(ranked.select(*_LIST))
    )


def _nearest() -> list[Column]:
    return [F.col("similarity").desc(), F.col("item_image_id").asc()]
