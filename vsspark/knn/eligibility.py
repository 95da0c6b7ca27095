"""Which items a query may be given at all: conditions on facts of the two rows, checked before a list is filled.

A list under conditions is the list of the eligible items alone: the k nearest of those that pass, not those that pass
of the k nearest. Estimates of pairs that do not pass are NaN, which reaches no threshold, so everything that
`vsspark.knn.exact` guarantees holds for the eligible items.

Cost: some nanoseconds per pair of rows and condition, beside the d multiplications of the pair.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vsspark.knn.compiled import compiled, read_only

EQUAL, DIFFERENT, SAME_OR_UNKNOWN_BOTH, RATIO, APART, AMONG, ITEM = range(7)
UNKNOWN = 0  # a code that says: not known


class Condition(NamedTuple):
    """What a pair must fulfil.

    EQUAL, DIFFERENT: of the codes; where one is UNKNOWN, `unknown` decides. SAME_OR_UNKNOWN_BOTH: the codes are equal,
    UNKNOWN is a value like any other. RATIO: low * query's amount <= item's amount <= high * query's amount, both known.
    Of bits that both rows have in `mask`, the query's in `column` and the item's in `item_column`: APART: none. AMONG:
    at least one, or the query has none in it. ITEM: the item's code in `item_column` is not UNKNOWN.
    """

    kind: int
    column: int = 0  # of the codes
    unknown: bool = False
    low: float = 0.0
    high: float = np.inf
    item_column: int = 0
    mask: int = 0


class Terms(NamedTuple):
    """What decides which items may be in a query's list, by the facts of both."""

    conditions: tuple[Condition, ...] = ()
    group_column: int | None = None  # of the codes, to take the place of the rows' groups; None: the groups stay

    def groups(self, facts: Facts, groups: np.ndarray) -> np.ndarray:
        """(n,) int64: the groups of which a list holds one item, and none of the query's own."""
        return groups if self.group_column is None else np.ascontiguousarray(facts.codes[:, self.group_column])


class Facts(NamedTuple):
    """What is known of n rows."""

    codes: np.ndarray  # (n, columns) int64
    amounts: np.ndarray  # (n,) float64, NaN = not known

    def rows(self, start: int, stop: int) -> Facts:
        """Some of the rows: a view."""
        return Facts(self.codes[start:stop], self.amounts[start:stop])


class Eligibility(NamedTuple):
    """Conditions and the facts of the rows of both sides."""

    conditions: tuple[Condition, ...]
    queries: Facts
    items: Facts

    def strike_out(self, estimates: np.ndarray, row: int, column: int, shape: tuple[int, int]) -> None:
        """Set to NaN the estimates of pairs that are not eligible. The tile's first `shape` estimates are of the
        queries from `row` and the items from `column`.
        """
        q, i = self.queries.rows(row, row + shape[0]), self.items.rows(column, column + shape[1])
        tile = estimates[: shape[0], : shape[1]]
        for condition in self.conditions:
            if condition.kind == RATIO:
                _strike_ratios(tile, read_only(q.amounts), read_only(i.amounts), condition.low, condition.high)
            elif condition.kind == ITEM:
                tile[:, i.codes[:, condition.item_column] == UNKNOWN] = np.nan
            elif condition.kind in (APART, AMONG):
                left, right = q.codes[:, condition.column] & condition.mask, i.codes[:, condition.item_column]
                _strike_bits(tile, read_only(left), read_only(np.ascontiguousarray(right)), condition.kind == AMONG)
            else:
                left = np.ascontiguousarray(q.codes[:, condition.column])
                right = np.ascontiguousarray(i.codes[:, condition.column])
                _strike_codes(tile, read_only(left), read_only(right), condition.kind, condition.unknown)


@compiled()
def _strike_codes(tile, queries, items, kind, unknown):
    for r in range(len(queries)):
        code = queries[r]
        for c in range(len(items)):
            if kind != SAME_OR_UNKNOWN_BOTH and (code == UNKNOWN or items[c] == UNKNOWN):
                passes = unknown
            else:
                passes = (code == items[c]) != (kind == DIFFERENT)
            if not passes:
                tile[r, c] = np.nan


@compiled()
def _strike_bits(tile, queries, items, among):
    for r in range(len(queries)):
        bits = queries[r]
        if bits == 0:
            continue
        for c in range(len(items)):
            if ((bits & items[c]) != 0) != among:
                tile[r, c] = np.nan


@compiled()
def _strike_ratios(tile, queries, items, low, high):
    for r in range(len(queries)):
        least, most = low * queries[r], high * queries[r]
        for c in range(len(items)):
            if not (items[c] >= least and items[c] <= most):
                tile[r, c] = np.nan
