"""The Spark stage: against the kernel alone, against Spark's own operators, with an uneven catalogue."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import knn_measure as knn
from benchmarks.harness import resident_memory
from benchmarks.knn_data import embeddings, synthetic, synthetic_parts
from vsspark.config import KnnConfig
from vsspark.knn import self_join
from vsspark.knn.spark import audited_recall, search_neighbours
from vsspark.spark import session


def _session():
    properties = {"spark.master": "local[2]", "spark.driver.memory": "3g", "spark.ui.showConsoleProgress": False}
    return session.create("vsspark-bench-knn", properties)


_FILE_ROWS = 20_000


def _table(folder: Path, parts: Iterable[np.ndarray], block: np.ndarray) -> str:
    """A Parquet folder of embeddings as the stage takes them, one file per part."""
    path = folder / "embeddings"
    path.mkdir()
    i = 0
    for part in parts:
        ids = pa.array(np.arange(i, i + len(part)))
        offsets = np.arange(len(part) + 1, dtype=np.int32) * part.shape[1]
        blocks = pa.array(block[i : i + len(part)].astype(np.int32))
        probes = pa.ListArray.from_arrays(pa.array(np.arange(len(part) + 1, dtype=np.int32)), blocks)
        columns = [ids, ids, pa.ListArray.from_arrays(pa.array(offsets), pa.array(part.reshape(-1))), blocks, probes]
        pq.write_table(
            pa.table(columns, names=["image_id", "group_id", "embedding", "block", "probes"]), path / f"{i:08d}.parquet"
        )
        i += len(part)
    return str(path)


def _stage(spark, table: str, folder: Path, config: KnnConfig) -> tuple[float, np.ndarray, float | None]:
    """Seconds from the embeddings table to the written neighbours table, its ids (n, k) and the audited recall."""
    scratch, out = str(folder / "tiles"), str(folder / "neighbours")
    start = time.perf_counter()
    search_neighbours(spark.read.parquet(table), scratch, config).write.mode("overwrite").parquet(out)
    seconds = time.perf_counter() - start
    found = pq.read_table(out).sort_by([("query_image_id", "ascending"), ("rank", "ascending")])
    recall = audited_recall(scratch)
    shutil.rmtree(scratch)
    return seconds, found.column("item_image_id").to_numpy().reshape(-1, config.k), recall


def _shuffled(spark) -> int:
    """Bytes that the session's tasks have written to shuffles so far."""
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    return sum(executors.apply(i).totalShuffleWrite() for i in range(executors.size()))


def spark_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    spark = _session()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = _table(folder, np.array_split(x, -(-len(x) // _FILE_ROWS)), np.zeros(len(x)))
        config = KnnConfig(k=knn.K)
        _stage(spark, table, folder, config)  # starts the Python workers, as the stages before it do in a job
        stage, ids = [], None
        kernel = []
        before = _shuffled(spark)
        for _ in range(repeats):
            seconds, ids, _recall = _stage(spark, table, folder, config)
            stage.append(seconds)
            start = time.perf_counter()
            alone = self_join(x, knn.K, threads=knn.THREADS)[1]
            kernel.append(time.perf_counter() - start)
        shuffled = round((_shuffled(spark) - before) / repeats / 1e6)
    seconds = {"ours": float(np.median(stage)), "kernel_alone": float(np.median(kernel))}
    ratio = round(seconds["ours"] / seconds["kernel_alone"], 3)
    figures = {
        "stage_over_kernel": ratio,
        "same_as_kernel": float((ids == alone).mean()),
        "shuffled_mb": shuffled,
        "embeddings_mb": round(x.nbytes / 1e6),
    }
    return [knn.case_of("spark_stage", data, n, x.shape[1], seconds, repeats, **figures)]


def spark_own_cases(n: int, repeats: int) -> list[dict]:
    from pyspark.ml.feature import BucketedRandomProjectionLSH
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    x = synthetic(5000, 128)
    spark = _session()
    truth = self_join(x, knn.K)[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = _table(folder, np.array_split(x, -(-len(x) // _FILE_ROWS)), np.zeros(len(x)))

        def ours() -> np.ndarray:
            return _stage(spark, table, folder, KnnConfig(k=knn.K))[1]

        def nearest_by_join() -> str:
            rows = spark.read.parquet(table)
            queries = rows.select(F.col("image_id").alias("q"), F.col("embedding").alias("a")).repartition(knn.THREADS)
            items = rows.select(F.col("image_id").alias("i"), F.col("embedding").alias("b"))
            # Spark's compiled function: as higher-order functions the same join had not ended after six minutes.
            dot = F.expr("vector_inner_product(a, b)")
            joined = queries.nearestByJoin(
                items, dot, numResults=knn.K + 1, mode="exact", direction="similarity"
            ).where("q != i")
            return written(joined, "nearest")

        def mllib_lsh() -> str:
            vectors = spark.read.parquet(table).select("image_id", array_to_vector("embedding").alias("vector"))
            lsh = BucketedRandomProjectionLSH(
                inputCol="vector", outputCol="hashes", bucketLength=1.0, numHashTables=4, seed=0
            )
            pairs = lsh.fit(vectors).approxSimilarityJoin(vectors, vectors, 0.9, "distance")
            best = pairs.where("datasetA.image_id != datasetB.image_id").selectExpr(
                "datasetA.image_id q", "datasetB.image_id i", "distance"
            )
            ranked = best.selectExpr("q", "i", "row_number() over (partition by q order by distance) r").where(
                f"r <= {knn.K}"
            )
            return written(ranked, "lsh")

        def written(pairs, to: str) -> str:
            pairs.select("q", "i").write.mode("overwrite").parquet(str(folder / to))
            return str(folder / to)

        def recall(of: str) -> float:
            lists = pq.read_table(of).to_pandas().groupby("q")["i"].agg(set)
            return float(np.mean([len(lists.get(q, set()) & set(t)) / knn.K for q, t in enumerate(truth.tolist())]))

        # The first call of a round starts the Python workers, as the stages before it do in a job: Spark ends those
        # that were idle for a minute.
        ways = {"starting workers": ours, "ours": ours, "nearest_by_join": nearest_by_join, "mllib_lsh": mllib_lsh}
        seconds, found = knn.interleaved(ways, repeats)
        del seconds["starting workers"], found["starting workers"]
        recalls = {"ours": knn.same_ids(found.pop("ours"), truth)} | {name: recall(of) for name, of in found.items()}
    return [
        knn.case_of("spark_own_operators", "synthetic: clustered", 5000, 128, seconds, repeats, recall_at_10=recalls)
    ]


def skew_cases(n: int, repeats: int) -> list[dict]:
    x, data = embeddings(n)
    spark = _session()
    uneven = np.where(np.arange(n) % 10 == 0, 1 + np.arange(n) // 10 % 9, 0)
    even = np.arange(n) % 10
    per_pair = {}
    with tempfile.TemporaryDirectory() as name:
        for label, block in (("uneven", uneven), ("even", even)):
            folder = Path(name) / label
            folder.mkdir()
            table = _table(folder, np.array_split(x, -(-n // _FILE_ROWS)), block)
            _stage(spark, table, folder, KnnConfig(k=knn.K))
            seconds = float(np.median([_stage(spark, table, folder, KnnConfig(k=knn.K))[0] for _ in range(repeats)]))
            pairs = float((np.bincount(block).astype(np.float64) ** 2).sum() / 2)
            per_pair[label] = {"seconds": round(seconds, 2), "gflops": round(2 * pairs * x.shape[1] / seconds / 1e9, 1)}
    ratio = per_pair["even"]["gflops"] / per_pair["uneven"]["gflops"]
    return [
        {
            "case": "skew",
            "data": data,
            "rows": n,
            **per_pair,
            "uneven_over_even_per_flop": round(ratio, 3),
            "peak_gflops": round(knn.peak(), 1),
        }
    ]


def million_cases(n: int, repeats: int) -> list[dict]:
    rows = 1_000_000
    spark = _session()
    rng = np.random.default_rng(0)
    block = rng.choice(12, rows, p=(w := 0.7 ** np.arange(12)) / w.sum())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = _table(folder, synthetic_parts(rows, 1280, _FILE_ROWS), block)
        with resident_memory() as memory:
            seconds, ids, recall = _stage(spark, table, folder, KnnConfig(k=20, mode="approximate"))
    pairs = float((np.bincount(block).astype(np.float64) ** 2).sum() / 2)
    exact_share = 2 * pairs * 1280 / seconds / 1e9 / knn.peak()
    figures = {
        "seconds": round(seconds, 1),
        "audited_recall": recall,
        "resident_gib": round(memory[0], 2),
        "exact_arithmetic_over_peak": exact_share,
    }
    return [
        {"case": "million", "data": "synthetic: clustered", "rows": len(ids), "dimensions": 1280, "k": 20, **figures}
    ]
