"""Exact joins on a GPU: TensorFlow's product and top_k, its candidates settled by the CPU kernels that settle every other list.

Products run in float32 with TensorFloat-32 off. k + SPARE candidates per tile of items come back to the host and are offered to the same lists
as on the CPU, so groups, ids and ties mean the same. A tile in which groups might hide items that are needed is done again on the CPU.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vsspark.knn import exact, metrics, refine, topk
from vsspark.knn.exact import Rows

SPARE = 32  # candidates per query and tile beyond k: as many group mates as a list may meet before a tile is done again on the CPU
QUERIES = 4096  # query rows per product
ITEMS = 65_536  # items per product: 1 GiB of products


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether TensorFlow is installed and sees a GPU."""
    try:
        import tensorflow as tf
    except ImportError:
        return False
    return bool(tf.config.list_physical_devices("GPU"))


def join(left: Rows, right: Rows, metric: str, device: str = "/GPU:0") -> None:
    """Offer right to left's lists; cosine and l2 only, vectors as `engine.offer` takes them. `left is right` joins rows with themselves."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    moved = metrics.frame(left.vectors, right.vectors) if metric == "l2" else None
    queries, query_bias = metrics.prepare(left.vectors, metric, moved)
    items, item_bias = metrics.prepare(right.vectors, metric, moved)
    k = left.top.values.shape[1]
    for first in range(0, len(items), ITEMS):
        part = slice(first, first + ITEMS)
        with tf.device(device):
            there, bias = tf.constant(items[part]), tf.constant(item_bias[part])
            wanted = min(k + SPARE, there.shape[0])
        for start in range(0, len(queries), QUERIES):
            rows = slice(start, start + QUERIES)
            with tf.device(device):
                found = tf.math.top_k(tf.matmul(tf.constant(queries[rows]), there, transpose_b=True) + bias, wanted)
            positions = found.indices.numpy().astype(np.int64) + first
            _settle(left, right, rows, part, found.values.numpy() + query_bias[rows, None], positions, moved)


def _settle(left: Rows, right: Rows, rows: slice, part: slice, low: np.ndarray, positions: np.ndarray, moved: metrics.Frame | None) -> None:
    """low: (q, c) the products of the candidates at `positions`, rows of right; moved: None for cosine."""
    queries = Rows(*(column[rows] for column in left[:4]), topk.TopK(*(column[rows] for column in left.top)))
    ids, groups = right.ids[positions], right.groups[positions]
    own = (groups == queries.groups[:, None]) | (ids == queries.ids[:, None])
    values = np.empty(positions.shape, np.float32)
    refine.pair_values(queries.vectors, right.vectors, np.where(own, -1, positions), moved is not None, values)
    found = topk.empty(len(positions), queries.top.values.shape[1])
    everyone = np.arange(len(positions))
    topk.offer_lists(everyone, values, np.where(own, topk.NO_ID, ids), groups, found)
    topk.offer_lists(everyone, found.values, found.ids, found.groups, queries.top)
    if positions.shape[1] == len(right.ids[part]):
        return
    # Rounding of products moves a value by less than this; a list whose last value is not clear of the best item left out is not finished.
    slack = 8 * np.sqrt(queries.vectors.shape[1]) * np.finfo(np.float32).eps
    last = found.values[:, -1].astype(np.float64)
    if moved is not None:
        last = -0.5 * (last * moved.scale) ** 2
    unsure = np.flatnonzero(~(last > low[:, -1] + slack))
    if len(unsure):
        again = Rows(*(column[unsure] for column in queries[:4]), topk.empty(len(unsure), queries.top.values.shape[1]))
        items = Rows(*(column[part] for column in right[:4]), topk.empty(len(right.ids[part]), 1))
        if moved is not None:
            refine.join_l2(again, items, False)
        else:
            exact.join(again, items, "cosine", False)
        topk.offer_lists(unsure, again.top.values, again.top.ids, again.top.groups, queries.top)
