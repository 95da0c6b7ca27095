"""The products nearest to one picture, exactly: float32 products say which images may be among them, and the batch's
values decide.

Cost of a search: one pass over the vectors of the categories that it probes (cosine and l2: m * d multiplications, at
the speed of memory); then a few dozen float64 sums. l1 and hamming: the engine over all those vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vsspark import knn
from vsspark.knn.bits import ROUNDING, cosines, distances
from vsspark.query.vectors import Part

_FIRST = 8  # images per product asked for that get their value at first, and the factor of the next attempt
_ROWS = 2048  # vectors that get their value at once: 40 MB for 1,280 numbers each


class Space(NamedTuple):
    """What is searched."""

    parts: Sequence[Part]
    image_ids: np.ndarray  # (images,) int64, ascending
    product: np.ndarray  # (images,) int64
    category: np.ndarray  # (images,) int32
    metric: str
    thresholds: np.ndarray | None  # (d,) for hamming


class Nearest(NamedTuple):
    """Images of different products, nearest first; equal values by lower image id."""

    values: np.ndarray  # float32: the cosine, or the distance
    images: np.ndarray  # places in `image_ids`


class _Candidates(NamedTuple):
    """Vectors that a search may find, and the best that each may be worth."""

    part: np.ndarray  # (n,) int32
    at: np.ndarray  # (n,) int64: its place in the part's rows
    most: np.ndarray  # (n,) float64: an upper bound of the cosine, or of minus the squared distance


def nearest_products(space: Space, embedding: np.ndarray, categories: Sequence[int] | None, k: int) -> Nearest:
    """The k nearest products, each by its nearest image. embedding: (d,) float32. categories: None = everywhere."""
    allowed = None
    if categories is not None:
        allowed = np.zeros(int(space.category.max(initial=-1)) + 2, bool)
        allowed[list(categories)] = True
        allowed[-1] = False  # images without a category
    if space.metric not in ("cosine", "l2"):
        chosen = _chosen(space, allowed)
        return _best(space, embedding, chosen, k)
    found = _candidates(space, embedding, allowed)
    asked = _FIRST * k
    while True:
        if asked >= len(found.most):
            return _best(space, embedding, _places(found, np.arange(len(found.most))), k)
        likely = np.argpartition(found.most, -asked)[-asked:]
        best = _best(space, embedding, _places(found, likely), k)
        if len(best.images) == k:
            break
        asked *= _FIRST
    reach = np.flatnonzero(found.most >= _least(best.values[-1], space.metric))
    return best if len(reach) <= asked else _best(space, embedding, _places(found, reach), k)


def _candidates(space: Space, query: np.ndarray, allowed: np.ndarray | None) -> _Candidates:
    """The bound is that of a float32 sum of d products in any order (Higham, Accuracy and Stability of Numerical
    Algorithms, 3.1), as in `knn.metrics`.
    """
    length = float(np.sqrt(np.dot(query.astype(np.float64), query)))
    slack = 1.01 * (2 * len(query) + 32) * ROUNDING  # of the product, and of the rows' float32 lengths
    numbers, places, bounds = [], [], []
    for number, at in _chosen(space, allowed):
        part = space.parts[number]
        rows = part.rows[at]
        products, squares = (part.vectors @ query)[rows].astype(np.float64), part.squares[rows].astype(np.float64)
        lengths = np.sqrt(squares)
        if space.metric == "cosine":
            both = lengths * length
            most = np.divide(products, both, out=np.zeros(len(both)), where=both > 0) + slack
        else:
            error = slack * (squares + length**2)  # at least slack * 2 * |x| * |q|
            most = -np.maximum(squares + length**2 - 2 * products - error, 0)
        numbers.append(np.full(len(at), number, np.int32))
        places.append(at)
        bounds.append(most)
    if not numbers:
        return _Candidates(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))
    return _Candidates(*(np.concatenate(each) for each in (numbers, places, bounds)))


def _least(value: np.float32, metric: str) -> float:
    """The least bound of an image that may be worth as much as this value."""
    if metric == "cosine":
        return float(value) - 2 * ROUNDING
    return -((float(value) * (1 + 2 * ROUNDING)) ** 2)


def _chosen(space: Space, allowed: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """(number of a part, places of its rows that are searched); a part without any is left out."""
    for number, part in enumerate(space.parts):
        if allowed is None:
            yield number, np.arange(len(part.images))
            continue
        at = np.flatnonzero(allowed[space.category[part.images]])
        if len(at):
            yield number, at


def _places(found: _Candidates, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for number in np.unique(found.part[chosen]):
        yield int(number), found.at[chosen[found.part[chosen] == number]]


def _best(space: Space, query: np.ndarray, places: Iterator[tuple[int, np.ndarray]], k: int) -> Nearest:
    """The k nearest products among the images at these places, by the batch's values."""
    values, images = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for vectors, at in _blocks(space, places):
        if space.metric in ("cosine", "l2"):
            values.append(cosines(vectors, query) if space.metric == "cosine" else distances(vectors, query))
            images.append(at)
            continue
        found, ids = knn.search(
            query[None],
            vectors,
            min(k, len(at)),
            space.metric,
            item_ids=space.image_ids[at],
            item_groups=space.product[at],
            thresholds=space.thresholds,
        )
        there = ids[0] >= 0
        values.append(found[0][there])
        images.append(np.searchsorted(space.image_ids, ids[0][there]))
    value, image = np.concatenate(values), np.concatenate(images)
    order = np.lexsort((image, -value if space.metric == "cosine" else value))
    _, first = np.unique(space.product[image[order]], return_index=True)  # of each product its nearest image
    order = order[np.sort(first)][:k]
    return Nearest(value[order], image[order])


def _blocks(space: Space, places: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(vectors, images): at most _ROWS at a time, from several parts where these are small."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    rows = 0
    for number, at in places:
        part = space.parts[number]
        for start in range(0, len(at), _ROWS):
            some = at[start : start + _ROWS]
            if rows + len(some) > _ROWS:
                yield _joined(waiting)
                waiting, rows = [], 0
            waiting.append((part.vectors[part.rows[some]], part.images[some]))
            rows += len(some)
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    vectors, images = zip(*blocks, strict=True)
    return np.concatenate(vectors), np.concatenate(images)
