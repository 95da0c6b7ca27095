"""Partial top-k lists merge to the same list in any order and any grouping."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vsspark.knn import topk

ITEM = st.tuples(st.integers(0, 6), st.integers(-40, 40), st.integers(-4, 4))  # value, id, group: many ties, many mates


def reference(items, k):
    best = {}
    for value, item, group in items:
        if group not in best or (-value, item) < best[group]:
            best[group] = (-value, item)
    return [(item, -value) for value, item in sorted(best.values())][:k]


def merged(parts, k):
    into = topk.empty(1, k)
    for part in parts:
        offer(into, part)
    return into


def offer(into, items):
    for value, item, group in items:
        topk.offer_lists(
            np.zeros(1, np.int64), np.array([[value]], np.float32), np.array([[item]]), np.array([[group]]), into
        )


def content(top):
    return [(int(i), float(v)) for i, v in zip(top.ids[0], top.values[0], strict=True) if i != topk.NO_ID]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(ITEM, max_size=40, unique_by=lambda item: item[1]), st.integers(1, 7), st.randoms(use_true_random=False)
)
def test_any_order_and_any_grouping_give_one_list(items, k, random):
    expected = reference(items, k)
    shuffled = list(items)
    random.shuffle(shuffled)
    cuts = sorted(random.randint(0, len(items)) for _ in range(3))
    parts = [merged([shuffled[a:b]], k) for a, b in zip([0, *cuts], [*cuts, len(items)], strict=True)]
    random.shuffle(parts)
    while len(parts) > 1:  # pairwise, as a tree
        a, b = parts.pop(), parts.pop(random.randrange(len(parts)))
        topk.offer_lists(np.zeros(1, np.int64), b.values, b.ids, b.groups, a)
        parts.append(a)
    assert content(parts[0]) == expected
    assert parts[0].floor[0] == parts[0].values[0, -1]
