"""Last night's neighbours and what has changed since -> tonight's, row for row what a full search would give.

A query is searched again in full when it is new, when its picture or the blocks it probes are others, or when its list holds an item that is
gone, has another picture or has left its block. Every other query meets only the items that are new in the blocks it probes; what it finds is
merged into its list. So the work is (changed queries) x (items of their blocks) + (all queries) x (new items), and a list that nothing touched
is passed on.

In approximate mode a list that is passed on keeps the recall it had, new items are searched exactly or with the same promise, and a list that
lost an item is made anew: the promise holds from night to night.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

_OLD, _NEW = "old\t", "new\t"  # an item's block is one of two: probing only the new half is how a query skips what it has met before


def changes(now: DataFrame, before: DataFrame, neighbours: DataFrame) -> DataFrame:
    """image_id, full (the query is searched again in full), fresh (it is a new item in its block): one row per row of now.

    now, before: image_id, content_hash, block string (null: an item of none), probes array<string>. neighbours: the lists made from before.
    """
    old = before.select("image_id", *[F.col(name).alias(f"old_{name}") for name in ("content_hash", "block", "probes")], F.lit(True).alias("known"))
    both = now.join(old, "image_id", "full_outer")
    same_content = F.col("content_hash").eqNullSafe(F.col("old_content_hash"))
    same_item = same_content & F.col("block").eqNullSafe(F.col("old_block"))
    gone = both.where(F.col("old_block").isNotNull() & ~same_item).select(F.col("image_id").alias("item_image_id"))
    robbed = neighbours.join(gone, "item_image_id", "left_semi").select(F.col("query_image_id").alias("image_id")).distinct().withColumn("robbed", F.lit(True))
    rows = both.where(F.col("content_hash").isNotNull()).join(robbed, "image_id", "left")
    same_query = same_content & (F.array_sort("probes") == F.array_sort("old_probes"))
    return rows.select(
        "image_id",
        (F.col("known").isNull() | ~F.coalesce(same_query, F.lit(False)) | F.col("robbed").isNotNull()).alias("full"),
        (F.col("block").isNotNull() & (F.col("known").isNull() | ~same_item)).alias("fresh"),
    )


def halved_blocks(rows: DataFrame, changed: DataFrame) -> DataFrame:
    """The rows with every block cut in two, its old and its new items, and probes that lead a query only where it must search."""
    halves = lambda names, kinds: F.flatten(F.transform(names, lambda name: F.array(*[F.concat(F.lit(kind), name) for kind in kinds])))  # noqa: E731
    return (
        rows.join(changed, "image_id")
        .withColumns(
            {
                "block": F.concat(F.when(F.col("fresh"), _NEW).otherwise(_OLD), F.col("block")),
                "probes": F.when(F.col("full"), halves(F.col("probes"), (_OLD, _NEW))).otherwise(halves(F.col("probes"), (_NEW,))),
            }
        )
        .drop("full", "fresh")
    )


def merged_lists(found: DataFrame, previous: DataFrame, changed: DataFrame, groups: DataFrame, k: int) -> DataFrame:
    """query_image_id, rank, item_image_id, similarity: the lists of all queries.

    found: what was searched tonight, whole lists of the full queries, new items for the others. previous: last night's lists.
    groups: image_id, group_id. A list keeps the best k items, one of a group: its most similar, the lower id among equals.
    """
    columns = ["query_image_id", "rank", "item_image_id", "similarity"]
    full = changed.where("full").select(F.col("image_id").alias("query_image_id"))
    kept_queries = changed.where("NOT full").select(F.col("image_id").alias("query_image_id"))
    kept = previous.select(columns).join(kept_queries, "query_image_id", "left_semi")
    last = previous.groupBy("query_image_id").agg(F.count("*").alias("length"), F.min("similarity").alias("last"))
    offered = found.select(columns).join(full, "query_image_id", "left_anti").join(last, "query_image_id", "left")
    offered = offered.where((F.coalesce("length", F.lit(0)) < k) | (F.col("similarity") >= F.col("last"))).select(columns)
    touched = offered.select("query_image_id").distinct()
    both = kept.join(touched, "query_image_id", "left_semi").unionByName(offered)
    both = both.join(groups.select(F.col("image_id").alias("item_image_id"), "group_id"), "item_image_id")
    best = both.withColumn("place", F.row_number().over(Window.partitionBy("query_image_id", "group_id").orderBy(*_nearest()))).where("place = 1")
    ranked = best.withColumn("rank", F.row_number().over(Window.partitionBy("query_image_id").orderBy(*_nearest()))).where(F.col("rank") <= k)
    return (
        found.select(columns)
        .join(full, "query_image_id", "left_semi")
        .unionByName(kept.join(touched, "query_image_id", "left_anti"))
        .unionByName(ranked.select(columns))
    )


def _nearest() -> list[Column]:
    return [F.col("similarity").desc(), F.col("item_image_id").asc()]
