"""At most so many products of one brand in the first places of a list: the order that keeps `recommend.max_per`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def capped_order(
    codes: np.ndarray,
    tiers: np.ndarray,
    caps: Sequence[tuple[int, int]],
    window: int,
    pinned: np.ndarray | None = None,
) -> np.ndarray:
    """(n,) int64: the rows in the order in which they are shown.

    codes: (n, columns) int64, 0 = no value, which no cap counts. tiers: (n,), rising: rows of a later tier follow all
    of an earlier one. caps: (column, most). Each of the first `window` places takes the next row of its tier that no
    cap forbids; where caps forbid all that are left of a tier, it takes the next one whatever they say. Behind the
    window rows are in the order they came in. pinned: codes of further rows of the window, which count.
    """
    waiting, order = list(range(len(codes))), []
    shown: Counter[tuple[int, int]] = Counter()
    for row in () if pinned is None else pinned:
        shown.update((column, int(row[column])) for column, _ in caps)
    while waiting and len(order) < window:
        tier = tiers[waiting[0]]
        free = (row for row in waiting if tiers[row] == tier and _is_free(codes[row], caps, shown))
        row = next(free, waiting[0])
        waiting.remove(row)
        order.append(row)
        shown.update((column, int(codes[row, column])) for column, _ in caps)
    return np.array(order + waiting, np.int64)


def _is_free(codes: np.ndarray, caps: Sequence[tuple[int, int]], shown: Counter[tuple[int, int]]) -> bool:
    return all(codes[column] == 0 or shown[column, int(codes[column])] < most for column, most in caps)
