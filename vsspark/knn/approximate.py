"""Approximate joins that keep a promise of recall: candidates from cells of projected rows, exact values, an audit on
a sample.

Rows are projected to their main directions and divided into cells (k-means). A query searches the cells nearest to
it; all queries of a cell meet its items in one product. In a self-join a pair that either side's cells bring together
is offered to both, which is worth about twice the cells. How many cells and candidates are needed is read off a
sample of queries whose true neighbours are known; the recall reported is that of other queries. The values of the
lists are exact; which candidates they hold depends on float32 products, so on the CPU.
"""

from __future__ import annotations

import logging

import numpy as np

from vsspark.knn import exact, metrics, topk, values
from vsspark.knn.cells import Cells, divide, nearest_cells
from vsspark.knn.compiled import read_only
from vsspark.knn.exact import Rows

log = logging.getLogger(__name__)

SMALLEST = 6144  # items: below it an exact join is as fast
SAMPLE = 512  # queries whose true neighbours are found exactly: one half calibrates a search, the other audits it
PROBES = (4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)
CANDIDATES = (4, 8, 12, 16, 20, 25, 30, 40, 55, 70)  # beyond k
_STEP = 1024  # queries per product: 1024 x 256 products stay in a core's own cache


def worthwhile(queries: int, items: int, metric: str) -> bool:
    """Whether an approximate join can beat the exact one: products of packed bits already are cheap, l1 has no
    projection.
    """
    return metric in ("cosine", "l2") and items >= SMALLEST and queries >= 4 * SAMPLE


def join(
    left: Rows, right: Rows, metric: str, target_recall: float, similarity: bool, threads: int | None, seed: int
) -> float | None:
    """The recall on queries the calibration has not seen, having offered to left's lists what was found in right.

    None where the target was out of reach: nothing was offered, the caller joins exactly instead.
    left is right: a self-join. The vectors are as `engine.offer` takes them.
    """
    threads = threads or exact.default_threads()
    rng = np.random.default_rng(seed)
    k = left.top.values.shape[1]
    with exact.blas().limit(limits=threads):
        measure, estimated = metrics.estimates(
            metric, similarity, *([left.vectors] if left is right else [left.vectors, right.vectors])
        )
        items = estimated[-1]
        cells = divide(items.vectors, items.bias, rng)
        if left is right:
            queries, bias, place = cells.vectors, cells.bias, cells.order
        else:
            queries, bias, place = estimated[0].vectors @ cells.basis, estimated[0].bias, np.arange(len(left.ids))
        nearest = nearest_cells(queries, cells.centres, max(PROBES))
    # `place` maps a row of `queries` to its row in left.
    chosen = rng.choice(len(queries), SAMPLE, replace=False)
    calibrating, auditing = np.sort(chosen[: SAMPLE // 2]), np.sort(chosen[SAMPLE // 2 :])
    chosen = np.concatenate([calibrating, auditing])
    sample = Rows(
        left.vectors[place[chosen]], left.ids[place[chosen]], left.groups[place[chosen]], topk.empty(SAMPLE, k)
    )
    exact.join(sample, right, metric, False, similarity, threads)
    seen = Rows(
        queries[calibrating], *(column[: SAMPLE // 2] for column in sample[1:3]), sample.top.rows(0, SAMPLE // 2)
    )
    back = nearest if left is right else None
    needs = _calibrate(seen, bias[calibrating], nearest[calibrating], right, cells, back, target_recall, threads)
    if needs is None:
        log.info(
            "knn approximate: no calibration reaches recall %.4f on %d items, searching exactly",
            target_recall,
            len(right.ids),
        )
        return None
    probes, candidates = needs
    wide = topk.empty(len(queries), k + candidates)
    # Inside the search an item's id is its position in right.
    own = np.arange(len(left.ids)) if left is right else topk.positions_of(left.ids, right.ids)
    needed = exact.needed_items(right.vectors, items.squares, right.ids, right.groups, k)[cells.order]
    columns = topk.by_estimate(cells.vectors, cells.bias, cells.order, right.groups[cells.order], wide)._replace(
        needed=needed
    )
    rows = columns if left is right else topk.by_estimate(queries, bias, own[place], left.groups[place], wide)
    _search(rows, columns, cells.starts, nearest[:, :probes], left is right, threads)
    result = topk.empty(len(left.ids), k)
    inverses = values.inverses(estimated[0].squares), values.inverses(items.squares)
    _refine(left._replace(top=result), right, wide, place, measure, inverses, threads)
    hits, truth = 0, sample.top.ids[SAMPLE // 2 :]
    for ids, true in zip(result.ids[place[auditing]], truth, strict=True):
        hits += len(np.intersect1d(ids[ids != topk.NO_ID], true))
    recall = hits / max(1, (truth != topk.NO_ID).sum())
    log.info(
        "knn approximate: recall %.4f on %d queries, %d of %d cells, %d candidates",
        recall, len(auditing), probes, len(cells.centres), k + candidates,
    )  # fmt: skip
    if recall < target_recall:
        return None
    topk.offer_lists(np.arange(len(left.ids)), result.values, result.ids, result.groups, left.top)
    return recall


def _calibrate(
    truth: Rows,
    bias: np.ndarray,
    nearest: np.ndarray,
    right: Rows,
    cells: Cells,
    back: np.ndarray | None,
    target: float,
    threads: int,
) -> tuple[int, int] | None:
    """(probes, candidates beyond k): the least that finds the sample's true neighbours with half the allowed loss to
    spare.

    truth: the sample's projected rows and their true lists. back: in a self-join the cells nearest to each item, in
    cell order: an item that probes the query's cell finds it, too.
    """
    k = truth.top.values.shape[1]
    there = truth.top.ids != topk.NO_ID
    ids = right.ids[cells.order]
    low = topk.by_estimate(
        truth.vectors, bias, truth.ids, truth.groups, topk.empty(len(truth.ids), k + max(CANDIDATES))
    )
    items = topk.by_estimate(cells.vectors, cells.bias, ids, right.groups[cells.order], topk.empty(len(ids), 1))
    exact.join_sides(low, items, (low.vectors, items.vectors), "cosine", values.BY_ESTIMATE, False, threads)
    same = truth.top.ids[:, :, None] == low.top.ids[:, None, :]
    rank = np.where(same.any(axis=2), same.argmax(axis=2), np.iinfo(np.int32).max)  # among the projected rows
    place = topk.positions_of(truth.top.ids, ids)
    cell = np.searchsorted(cells.starts, place, side="right") - 1
    probe = _position(nearest[:, None, :], cell)
    if back is not None:
        probe = np.minimum(probe, _position(back[place], np.broadcast_to(nearest[:, :1], place.shape)))
    wanted = 1 - (1 - target) / 2
    for candidates in CANDIDATES:
        near = rank < k + candidates
        if near[there].mean() < 1 - (1 - target) / 5 and candidates != CANDIDATES[-1]:
            continue
        for probes in PROBES:
            if (near & (probe < probes))[there].mean() >= wanted:
                return probes, candidates
    return None


def _position(lists: np.ndarray, cell: np.ndarray) -> np.ndarray:
    same = lists == cell[..., None]
    return np.where(same.any(axis=-1), same.argmax(axis=-1), np.iinfo(np.int32).max)


def _search(
    rows: topk.Side, columns: topk.Side, starts: np.ndarray, probed: np.ndarray, both: bool, threads: int
) -> None:
    """Fill the rows' lists. Every row's nearest cell comes first: most neighbours are there, and what follows meets a
    high threshold.

    Each thread has lists of its own, since a row's cells are searched by whichever thread takes them; they are merged
    after each round.
    """
    everyone = np.arange(len(rows.ids))
    for cells_of_round in (probed[:, :1], probed[:, 1:]):
        spare = [topk.empty(*rows.top.values.shape)._replace(floor=rows.top.floor.copy()) for _ in range(threads - 1)]
        _search_round(rows, columns, starts, cells_of_round, both, [rows.top, *spare])
        for lists in spare:
            topk.offer_lists(everyone, lists.values, lists.ids, lists.groups, rows.top)


def _search_round(
    rows: topk.Side, columns: topk.Side, starts: np.ndarray, probed: np.ndarray, both: bool, lists: list[topk.TopK]
) -> None:
    flat = probed.reshape(-1)
    by_cell = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[by_cell], np.arange(len(starts)))
    by_cell //= probed.shape[1]
    pending = iter(np.argsort(-np.diff(bounds) * np.diff(starts), kind="stable").tolist())
    free = iter(lists)

    def work() -> None:
        top = next(free)
        own_rows, own_columns = (side._replace(top=top, least=top.floor) for side in (rows, columns))
        space, lanes = np.empty(_STEP * int(np.diff(starts).max()), np.float32), np.empty(values.LANES)
        for cell in pending:
            items = (
                own_columns.rows(starts[cell], starts[cell + 1])
                if both
                else columns.rows(starts[cell], starts[cell + 1])
            )
            for i in range(bounds[cell], bounds[cell + 1], _STEP):
                at = by_cell[i : min(i + _STEP, bounds[cell + 1])]
                out = space[: len(at) * len(items.ids)].reshape(len(at), len(items.ids))
                np.matmul(rows.vectors[at], items.vectors.T, out=out)
                topk.offer_tile(out, at, own_rows, items, both, values.BY_ESTIMATE, lanes)

    exact.run_on_threads(work, len(lists))


def _refine(
    left: Rows,
    right: Rows,
    wide: topk.TopK,
    place: np.ndarray,
    measure: values.Measure,
    inverses: tuple[np.ndarray, np.ndarray],
    threads: int,
) -> None:
    """Offer the candidates with their values; neighbouring places share items, so that most are in cache."""
    pending, items = iter(range(0, len(place), 512)), read_only(right.vectors)

    def work() -> None:
        for i in pending:
            at, found = place[i : i + 512], wide.ids[i : i + 512]
            positions = np.where(found == topk.NO_ID, -1, found)
            pairs = values.pair_values(
                measure, read_only(left.vectors[at]), items, inverses[0][at], inverses[1], positions
            )
            ids = np.where(positions < 0, topk.NO_ID, right.ids[positions])
            topk.offer_lists(at, pairs, ids, wide.groups[i : i + 512], left.top)

    exact.run_on_threads(work, threads)
