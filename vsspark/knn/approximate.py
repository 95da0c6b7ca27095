"""Approximate joins that keep a promise of recall: candidates from projected rows, exact values, an audit on a sample.

Rows are projected to their main directions and divided into cells (k-means). A query searches the cells nearest to
it, then in rounds the neighbours of its neighbours (`graph`). How many cells, rounds and candidates are needed is read
off a sample of queries whose true neighbours are known; the recall reported is that of other queries. The values of
the lists are exact; which candidates they hold depends on float32 products, so on the CPU, but not on threads.
"""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import numpy as np

from vsspark.knn import exact, graph, metrics, topk, values
from vsspark.knn.cells import Cells, divide, nearest_cells, project
from vsspark.knn.compiled import read_only
from vsspark.knn.exact import Rows
from vsspark.knn.graph import Points

log = logging.getLogger(__name__)

SMALLEST = 6144  # items: below it an exact join is as fast
# Queries whose true neighbours are found exactly, for the calibration and as many for the audit: more where so few
# could not tell a recall from the target, at the least and at the most.
SAMPLE = (256, 1024)
MISSES = 5  # neighbours that the target allows a sample to miss, at least
PROBES = (4, 6, 8, 12, 16, 20, 24, 32, 48, 64)
CANDIDATES = (4, 8, 12, 16, 20, 25, 30, 40, 55, 70, 100)  # beyond k
FIRST = 0.7  # of the root of the allowed loss: what the probed cells may lack, before the rounds
ROOM = 0.25  # of the allowed loss: what the lists may have no room for
ROUNDS = 8  # at most
ITEM_ROUNDS = 2  # among the items, where the queries are others
_BLOCK = 512  # queries whose candidates get their values at a time


class Projected(NamedTuple):
    """Both sides of a join; `queries is items` in a self-join."""

    queries: Points
    items: Points
    cells: Cells


class Truth(NamedTuple):
    """Sampled queries, and their true neighbours."""

    at: np.ndarray  # (s,) of the queries
    items: np.ndarray  # (s, k), -1 = none

    def share(self, held: np.ndarray) -> float:
        """The share of the true neighbours for which `held` (s, k) is true."""
        there = self.items >= 0
        return float((held & there).sum() / max(1, there.sum()))

    def recall(self, lists: np.ndarray) -> float:
        """The share of the true neighbours that the sample's lists (s, w) hold."""
        return self.share(_place(lists[:, None, :], self.items) < lists.shape[1])


def worthwhile(queries: int, items: int, metric: str) -> bool:
    """Whether an approximate join can beat the exact one: products of packed bits already are cheap, l1 has no
    projection.
    """
    return metric in ("cosine", "l2") and items >= SMALLEST and queries >= 2 * SAMPLE[1]


def join(
    left: Rows, right: Rows, metric: str, target_recall: float, similarity: bool, threads: int | None, seed: int
) -> float | None:
    """The recall on queries the calibration has not seen, having offered to left's lists what was found in right.

    None where the target was out of reach: nothing was offered, the caller joins exactly instead.
    left is right: a self-join. The vectors are as `engine.offer` takes them.
    """
    threads = threads or exact.default_threads()
    rng = np.random.default_rng(seed)
    parts = [left.vectors] if left is right else [left.vectors, right.vectors]
    measure, estimated = metrics.estimates(metric, similarity, *parts)
    both = _project(left, right, estimated, rng, threads)
    count = sample_size(target_recall, left.top.values.shape[1])
    chosen = rng.choice(len(left.ids), 2 * count, replace=False)
    at = np.concatenate([np.sort(chosen[:count]), np.sort(chosen[count:])])
    true = _true_neighbours(both.queries.rows[at], left, right, (metric, similarity), threads)
    true = topk.positions_of(true, right.ids[both.items.rows])
    calibrating, auditing = Truth(at[:count], true[:count]), Truth(at[count:], true[count:])
    found = _find(both, calibrating, target_recall, threads)
    if found is None:
        log.info(
            "knn approximate: no calibration reaches recall %.4f on %d items, searching exactly",
            target_recall,
            len(right.ids),
        )
        return None
    result = topk.empty(len(left.ids), left.top.values.shape[1])
    inverses = values.inverses(estimated[0].squares), values.inverses(estimated[-1].squares)
    _refine(left._replace(top=result), right, (both, found), measure, inverses, threads)
    audited = result.ids[both.queries.rows[auditing.at]]
    recall = auditing.recall(topk.positions_of(audited, right.ids[both.items.rows]))
    log.info("knn approximate: recall %.4f on %d queries", recall, len(auditing.at))
    if recall < target_recall:
        return None
    topk.offer_lists(np.arange(len(left.ids)), result.values, result.ids, result.groups, left.top)
    return recall


def sample_size(target: float, k: int) -> int:
    """Queries of a sample: so many that the target allows it MISSES, within bounds."""
    return min(SAMPLE[1], max(SAMPLE[0], math.ceil(MISSES / (max(1e-9, 1 - target) * k))))


def least_recall(target: float, neighbours: int) -> float:
    """The recall a calibrating sample must show, so that an audit of as many neighbours rarely falls short of the
    target: the roots of the two counts of misses differ by 1 at least, which is twice the root's standard deviation.
    """
    allowed = (1 - target) * neighbours
    return 1 - max(0.0, math.sqrt(allowed) - 1) ** 2 / max(1, neighbours)


def _project(
    left: Rows, right: Rows, estimated: list[metrics.Estimated], rng: np.random.Generator, threads: int
) -> Projected:
    of_left, of_right = estimated[0], estimated[-1]
    cells = divide(of_right.vectors, rng, threads)
    order = cells.order
    needed = exact.needed_items(right.vectors, of_right.squares, right.ids, right.groups, left.top.values.shape[1])
    own = np.arange(len(order), dtype=np.int32)
    items = Points(cells.vectors, of_right.bias[order], right.groups[order], own, needed[order], order)
    if left is right:
        return Projected(items, items, cells)
    vectors = project(of_left.vectors, cells.basis, threads)
    rows = np.argsort(nearest_cells(vectors, cells.centres, 1, threads)[:, 0], kind="stable")
    own = topk.positions_of(left.ids[rows], right.ids[order]).astype(np.int32)
    needed = np.ones(len(rows), bool)
    return Projected(Points(vectors[rows], of_left.bias[rows], left.groups[rows], own, needed, rows), items, cells)


def _true_neighbours(at: np.ndarray, left: Rows, right: Rows, measured: tuple[str, bool], threads: int) -> np.ndarray:
    """(s, k) ids of the nearest items of some of left's rows. measured: the metric, and whether by similarity."""
    k = left.top.values.shape[1]
    sample = Rows(left.vectors[at], left.ids[at], left.groups[at], topk.empty(len(at), k))
    exact.join(sample, right, measured[0], False, measured[1], threads)
    return sample.top.ids


def _find(both: Projected, truth: Truth, target: float, threads: int) -> np.ndarray | None:
    """(q, w) int32: the queries' candidates, of which the sample's hold enough of its true neighbours; None where they
    cannot.

    From cells, then in rounds until it is enough or a round finds no more; with twice the cells where it is not.
    """
    needs = _calibrate(both, truth, target, threads)
    wanted = least_recall(target, int((truth.items >= 0).sum()))
    while needs is not None:
        probes, width = needs
        lists, links, recall = _of_cells(both.queries, both, needs, threads), None, -1.0
        of_items = None if both.queries is both.items else _links_of_items(both, probes, threads)
        for number in range(ROUNDS + 1):
            before, recall = recall, truth.recall(lists.found[truth.at])
            log.info(
                "knn approximate: %.4f of a sample's neighbours after %d of %d cells, %d rounds, among %d candidates",
                recall, probes, len(both.cells.centres), number, width,
            )  # fmt: skip
            if recall >= wanted or recall <= before:
                break
            links = graph.links_of(lists, links, of_items is None)
            graph.follow(lists, links, of_items or links, threads)
            if of_items is not None:
                of_items = of_items._replace(fresh=np.zeros_like(of_items.fresh))  # they do not change any more
        more = min(2 * probes, max(PROBES), len(both.cells.centres))
        if recall >= (target + wanted) / 2 or (recall >= target and more == probes):
            return lists.found
        needs = (more, width) if more > probes else None
    return None


def _of_cells(points: Points, both: Projected, needs: tuple[int, int], threads: int) -> graph.Candidates:
    probes, width = needs
    probed = nearest_cells(points.vectors, both.cells.centres, probes, threads)
    return graph.search_cells((points, both.items), both.cells, probed, width, threads)


def _links_of_items(both: Projected, probes: int, threads: int) -> graph.Links:
    lists, links = _of_cells(both.items, both, (probes, graph.LINKS), threads), None
    for _ in range(ITEM_ROUNDS):
        links = graph.links_of(lists, links, True)
        graph.follow(lists, links, links, threads)
    return graph.links_of(lists, None, True)


def _calibrate(both: Projected, truth: Truth, target: float, threads: int) -> tuple[int, int] | None:
    """(probes, places of a list): the fewest cells that hold most of the sample's true neighbours, and the shortest
    lists that have room for nearly all of them; None where the longest have not.
    """
    k, queries, items = truth.items.shape[1], both.queries, both.items
    vectors, own, groups = queries.vectors[truth.at], queries.own[truth.at], queries.groups[truth.at]
    no_bias, numbers = np.zeros(len(own), np.float32), np.arange(len(items.own))
    top = topk.empty(len(own), k + max(CANDIDATES))
    sample = topk.by_estimate(vectors, no_bias, own.astype(np.int64), groups, top)
    everything = topk.by_estimate(items.vectors, items.bias, numbers, items.groups, topk.empty(len(numbers), 1))
    everything = everything._replace(needed=items.needed)
    exact.join_sides(sample, everything, (vectors, items.vectors), "cosine", values.BY_ESTIMATE, False, threads)
    rank = _place(top.ids[:, None, :], truth.items)  # among the projected rows
    room = [k + c for c in CANDIDATES if truth.share(rank < k + c) >= 1 - ROOM * (1 - target)]
    if not room:
        return None
    cell = np.searchsorted(both.cells.starts, truth.items, side="right") - 1
    probe = _place(nearest_cells(vectors, both.cells.centres, max(PROBES), threads)[:, None, :], cell)
    enough = [probes for probes in PROBES if truth.share(probe < probes) >= 1 - FIRST * math.sqrt(1 - target)]
    return (enough[0] if enough else max(PROBES)), room[0]


def _place(lists: np.ndarray, sought: np.ndarray) -> np.ndarray:
    """Where each sought number is in its list, a large number where it is not."""
    same = lists == sought[..., None]
    return np.where(same.any(axis=-1), same.argmax(axis=-1), np.iinfo(np.int32).max)


def _refine(
    left: Rows,
    right: Rows,
    candidates: tuple[Projected, np.ndarray],
    measure: values.Measure,
    inverses: tuple[np.ndarray, np.ndarray],
    threads: int,
) -> None:
    """Offer the candidates with their values; neighbouring queries share items, so that most are in cache."""
    (queries, places, _), found = candidates
    pending, items = iter(range(0, len(found), _BLOCK)), read_only(right.vectors)

    def work() -> None:
        for i in pending:
            at, some = queries.rows[i : i + _BLOCK], found[i : i + _BLOCK]
            positions = np.where(some < 0, -1, places.rows[some])
            pairs = values.pair_values(
                measure, read_only(left.vectors[at]), items, inverses[0][at], inverses[1], positions
            )
            ids = np.where(positions < 0, topk.NO_ID, right.ids[positions])
            topk.offer_lists(at, pairs, ids, right.groups[positions], left.top)

    exact.run_on_threads(work, threads)
