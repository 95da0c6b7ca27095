"""Prints a digest of a search's lists on so many slots: python slots_job.py SLOTS TILE_ROWS METRIC FOLDER."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
from same_answer import digest, hard_rows

from vsspark.config import KnnConfig
from vsspark.knn import plan
from vsspark.knn.spark import search_neighbours
from vsspark.spark import session


def main() -> None:
    slots, tile_rows, metric, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    plan.SMALLEST_TASK = 1  # as many tasks as there are slots for
    spark = session.create("slots", {"spark.master": f"local[{slots}]", "spark.sql.shuffle.partitions": slots})
    x = hard_rows(40)
    rng = np.random.default_rng(0)
    block = rng.choice([0, 1, 2], len(x), p=[0.8, 0.15, 0.05]).astype(np.int32)
    columns = {
        "image_id": rng.permutation(len(x)),
        "group_id": rng.integers(0, len(x) // 2, len(x)),
        "embedding": list(x),
        "block": block,
        "probes": [sorted({b, int(rng.integers(3))}) for b in block.tolist()],
    }
    order = np.random.default_rng().permutation(len(x))
    table = pa.table({name: pa.array(column) for name, column in columns.items()}).take(pa.array(order))
    table = table.set_column(4, "probes", table["probes"].cast(pa.list_(pa.int32())))
    rows = spark.createDataFrame(table).repartition(slots)
    lists = search_neighbours(rows, folder, KnnConfig(k=7, metric=metric, tile_rows=tile_rows))
    lists = lists.orderBy("query_image_id", "rank").toArrow()
    print("rows", lists.num_rows, digest(lists["similarity"].to_numpy(), lists["item_image_id"].to_numpy()))
    spark.stop()


if __name__ == "__main__":
    main()
