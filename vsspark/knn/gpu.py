"""Exact joins with a GPU's help: TensorFlow's product and top_k nominate, the CPU kernel that decides every other
list decides these.

Products run in float32 with TensorFloat-32 off. The k + SPARE best estimates per tile of items come back to the host,
and their pairs get their values there. A query whose list could still gain from an item that was not nominated is
joined with that tile again on the CPU.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vsspark.knn import exact, metrics, topk, values
from vsspark.knn.compiled import read_only
from vsspark.knn.exact import Rows

# Candidates per query and tile beyond k: own items and group mates that a query may meet before a tile is joined
# again.
SPARE = 32
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


def join(left: Rows, right: Rows, metric: str, similarity: bool = False, device: str = "/GPU:0") -> None:
    """Offer right to left's lists; cosine and l2 only, vectors as `engine.offer` takes them. `left is right` joins
    rows with themselves.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    measure, estimated = metrics.estimates(metric, similarity, left.vectors, right.vectors)
    queries, items = estimated
    inverses = values.inverses(queries.squares), values.inverses(items.squares)
    k = left.top.values.shape[1]
    for first in range(0, len(right.ids), ITEMS):
        part = slice(first, first + ITEMS)
        tile = Rows(right.vectors[part], right.ids[part], right.groups[part], topk.empty(len(right.ids[part]), 1))
        with tf.device(device):
            there, bias = tf.constant(items.vectors[part]), tf.constant(items.bias[part])
        wanted = min(k + SPARE, len(tile.ids))
        for start in range(0, len(left.ids), QUERIES):
            rows = slice(start, start + QUERIES)
            with tf.device(device):
                products = tf.matmul(tf.constant(queries.vectors[rows]), there, transpose_b=True)
                best = tf.math.top_k(products + bias, wanted)
            positions = best.indices.numpy().astype(np.int64)
            # The tile's other items have no higher estimate than this.
            rest = (
                best.values.numpy()[:, -1] + queries.bias[rows]
                if wanted < len(tile.ids)
                else np.full(len(positions), -np.inf)
            )
            asking = Rows(left.vectors[rows], left.ids[rows], left.groups[rows], left.top.rows(rows.start, rows.stop))
            _settle(asking, tile, positions, rest, measure, (inverses[0][rows], inverses[1][part]), metric, similarity)


def _settle(
    queries: Rows,
    items: Rows,
    positions: np.ndarray,
    rest: np.ndarray,
    measure: values.Measure,
    inverses: tuple[np.ndarray, np.ndarray],
    metric: str,
    similarity: bool,
) -> None:
    """Offer the candidates at `positions` (q, c) of items; join the queries again whose lists reach as low as `rest`
    (q,).
    """
    ids, groups = items.ids[positions], items.groups[positions]
    own = (groups == queries.groups[:, None]) | (ids == queries.ids[:, None])
    exact_values = values.pair_values(
        measure, read_only(queries.vectors), read_only(items.vectors), *inverses, np.where(own, -1, positions)
    )
    topk.offer_lists(np.arange(len(positions)), exact_values, np.where(own, topk.NO_ID, ids), groups, queries.top)
    unsure = np.flatnonzero((rest > -np.inf) & (rest >= values.least_estimates(measure, queries.top.floor)))
    if len(unsure):
        top = topk.TopK(*(column[unsure] for column in queries.top))
        again = Rows(queries.vectors[unsure], queries.ids[unsure], queries.groups[unsure], top)
        exact.join(again, items, metric, False, similarity)
        topk.offer_lists(unsure, top.values, top.ids, top.groups, queries.top)
