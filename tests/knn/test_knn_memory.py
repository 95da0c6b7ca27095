"""What a search needs on an executor is said before it starts, and refused where the container has less."""

from __future__ import annotations

import pytest

from vsspark.config import KnnConfig
from vsspark.errors import ConfigError
from vsspark.knn import plan, simulate
from vsspark.knn.memory import check_memory, given_bytes, python_bytes

YARN = {"spark.master": "yarn", "spark.executor.cores": "4", "spark.executor.memory": "8g"}


@pytest.mark.parametrize(
    ("properties", "given"),
    [
        ({"spark.master": "local[2]"}, None),
        ({"spark.master": "spark://host:7077"}, None),
        (YARN, 8 * 2**30 // 10),
        (YARN | {"spark.executor.memory": "1g"}, 384 * 2**20),
        (YARN | {"spark.master": "k8s://https://host"}, int(8 * 2**30 * 0.4)),
        (YARN | {"spark.executor.memoryOverhead": "2048"}, 2 * 2**30),
        (YARN | {"spark.executor.memoryOverhead": "6g", "spark.executor.pyspark.memory": "512m"}, 13 * 2**29),
        (YARN | {"spark.executor.memoryOverheadFactor": "0.5"}, 4 * 2**30),
    ],
)
def test_what_a_container_gives(properties, given):
    assert given_bytes(properties) == given


def test_a_search_that_cannot_fit_is_refused_before_it_starts():
    with pytest.raises(ConfigError, match=r"memoryOverhead: .* needs 4\.\d GB .*4 tasks of 1 cores.* got 0\.9 GB"):
        check_memory(YARN, KnnConfig(), 1280)
    enough = YARN | {"spark.executor.memoryOverhead": "6g"}
    assert "4 tasks of 1 cores" in check_memory(enough, KnnConfig(), 1280)
    assert "1 tasks of 4 cores" in check_memory(enough | {"spark.task.cpus": "4"}, KnnConfig(), 1280)
    with pytest.raises(ConfigError, match=r"smaller knn\.tile_rows than 50000"):
        check_memory(enough, KnnConfig(tile_rows=50_000), 4096)


def test_the_bound_holds_for_the_tasks_of_a_large_search():
    for mode, threads in (("exact", 1), ("approximate", 1), ("approximate", 4)):
        shop = simulate.Shop(images=1_000_000, categories=10, slots=4, cores=threads, approximate=mode == "approximate")
        cost = simulate.simulate(shop, simulate.shop_rows(shop))
        config = KnnConfig(k=shop.k, mode=mode, tile_rows=shop.tile_rows)
        most = python_bytes(config, shop.floats, 1, threads)
        assert cost.task <= most <= 1.3 * cost.task + plan.PROCESS_BYTES
