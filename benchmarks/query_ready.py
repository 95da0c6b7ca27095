"""What `benchmarks.query` measures of a process that is ready: a searcher that has answered once.

python -m benchmarks.query_ready FOLDER PLACE
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.query import memory, settings
from vsspark.config import load_config
from vsspark.query.ask import Searcher
from vsspark.query.pictures import Picture
from vsspark.query.search import nearest_products

_TIMES = 60


def main(folder: str, place: str) -> int:
    logging.getLogger("vsspark").setLevel(logging.ERROR)
    searcher = Searcher(load_config(None, settings(Path(folder) / place)[1::2]), {})
    picture = [Picture(f"{folder}/asked.jpg")]
    (answer,) = searcher.answer(picture, 10)
    assert len(answer.similar) == 10, answer
    products = len(searcher.products.image_ids)
    space = searcher._space
    query = space.parts[0].vectors[0] + np.float32(0.01)
    codes = {name: code for code, name in enumerate(searcher.products.category_names)}
    probed = [codes[name] for name, _ in answer.categories] or None
    sizes = memory()
    every = np.concatenate([part.vectors for part in space.parts])
    cases = [
        ("warm", place, products, _seconds(lambda: searcher.answer(picture, 10)), sizes),
        ("warm, search alone", place, products, _seconds(lambda: nearest_products(space, query, probed, 10)), {}),
        ("limit: one product of all vectors", place, products, _seconds(lambda: every @ query), {}),
    ]
    print(json.dumps(cases))
    return 0


def _seconds(call: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(_TIMES):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return seconds[5:]


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
