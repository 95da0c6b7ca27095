"""What is always true of a published table, asked of the files with DuckDB, not with the code that wrote them."""

from __future__ import annotations

from pathlib import Path

import duckdb
from deltalake import DeltaTable

# A row per embedded image, as docs/operations.md has it for readers.
IMAGE_EMBEDDINGS = """select i.image_id, i.uri, i.content_hash, i.box, i.model_version, e.embedding, i.head,
        i.predicted_category, i.category_probabilities, i.fingerprint
    from images i join embeddings e on e.content_hash = i.content_hash and e.model_version = i.model_version
        and e.box is not distinct from i.box"""


def connect(output: str, storage_options: dict | None = None) -> duckdb.DuckDBPyConnection:
    """A connection with the output's tables as views, Delta or Parquet."""
    con = duckdb.connect()
    for table in ("images", "embeddings", "quarantine", "neighbours", "similar_products", "runs"):
        if DeltaTable.is_deltatable(f"{output}/{table}", storage_options):
            con.register(table, DeltaTable(f"{output}/{table}", storage_options=storage_options).to_pyarrow_table())
        elif any(Path(f"{output}/{table}").rglob("*.parquet")):  # a partitioned folder without rows holds no file
            con.execute(
                f"create view {table} as select * "
                f"from read_parquet('{output}/{table}/**/*.parquet', hive_partitioning = true)"
            )
    tables = {name for (name,) in con.execute("select table_name from information_schema.tables").fetchall()}
    if {"images", "embeddings"} <= tables:
        con.execute(f"create view image_embeddings as {IMAGE_EMBEDDINGS}")
    return con


def check(con: duckdb.DuckDBPyConnection, k: int, run_id: str) -> None:
    """Asserts the invariants of the public surface."""

    def one(sql: str):
        return con.execute(sql).fetchall()[0][0]

    assert (
        one(
            "select count(*) from (select product_id, surface, rank from similar_products group by all having count(*) > 1)"
        )
        == 0
    )
    assert (
        one(
            "select count(*) from (select product_id, surface, similar_product_id from similar_products "
            "group by all having count(*) > 1)"
        )
        == 0
    )
    assert one("select count(*) from similar_products where product_id = similar_product_id") == 0
    assert (
        one(
            "select count(*) from (select product_id from similar_products "
            "group by product_id, surface having min(rank) <> 1 or max(rank) <> count(*))"
        )
        == 0
    )
    following = """select *, lag(source) over w as s, lag(similarity) over w as v, lag(similar_product_id) over w as p
        from similar_products window w as (partition by product_id, surface order by rank)"""
    assert one(f"select count(*) from ({following}) where s = 'backfill' and source = 'visual'") == 0
    assert one(f"select count(*) from ({following}) where s = source and similarity > v") == 0
    assert (
        one(f"select count(*) from ({following}) where s = source and similarity = v and similar_product_id < p") == 0
    )
    usable = "select distinct product_id from images where content_hash is not null"
    expected = min(k, one(f"select count(*) from ({usable})") - 1)
    short = one(
        f"select count(*) from ({usable}) u "
        f"where (select count(*) from similar_products s where s.product_id = u.product_id) <> {expected}"
    )
    assert short == 0
    lost = one(
        "select (select count(*) from images) - (select count(*) from image_embeddings) "
        f"- (select count(*) from quarantine where run_id = '{run_id}')"
    )
    assert lost == 0
    assert (
        one(
            "select count(*) from (select content_hash, box, model_version from embeddings "
            "group by all having count(*) > 1)"
        )
        == 0
    )
    assert one(
        "select count(*) from similar_products s join images i on s.image_uri = i.uri where i.product_id = s.product_id"
    ) >= one("select count(*) from similar_products")


def content(output: str) -> list[list[tuple]]:
    """What readers can ask, without the names of runs, to the last bit."""
    con = connect(output)
    neighbours = con.sql(
        "select query_image_id, rank, similarity, item_image_id from neighbours order by 1, 2"
    ).fetchall()
    lists = con.sql(
        """select product_id, rank, similarity, similar_product_id, image_uri, similar_image_uri, category, price,
           similar_price, source from similar_products order by 1, 2"""
    ).fetchall()
    images = con.sql("select image_id, content_hash, predicted_category from image_embeddings order by 1").fetchall()
    return [images, neighbours, lists]
