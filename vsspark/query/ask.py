"""Pictures in, similar products out: the encoder, the categories and the search of the run that is published now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vsspark import encoders
from vsspark.blocks.head_table import read_head
from vsspark.config import BlockingConfig, Config, ImagesConfig
from vsspark.embed.spark import stored_version
from vsspark.encoders import Encoder
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.errors import ConfigError
from vsspark.knn.packing import median_thresholds
from vsspark.progress import Progress
from vsspark.query.answers import Answer, Similar
from vsspark.query.candidates import Search
from vsspark.query.pictures import PictureEmbedding, Probes, embed_pictures, probed_categories
from vsspark.query.spark import nearest_products
from vsspark.spark import session
from vsspark.storage.published import published_images, published_vectors
from vsspark.storage.store import Store
from vsspark.tracking import use_tracking_store


def answer_images(spark: SparkSession, config: Config, images: Sequence[str], k: int) -> tuple[str, list[Answer]]:
    """(id of the published run, an answer per image in their order). images: local paths or s3a:// URIs.

    Where an encoder has no head of its own, the one the published run's categories were predicted with is taken from
    `_heads`. Raises StorageError where nothing is published, ConfigError where `encoder` is not what the published
    run embedded with.
    """
    store, progress = Store(spark, config.output), Progress(spark.sparkContext.setJobDescription)
    run = store.published_run()  # once: while it is answered, another run may be published
    run_config = json.loads(run["config"])
    with progress.stage("encoder", f"loading {config.encoder.name}"):
        pictures = _images_config(config, run_config)
        encoder = _same_encoder(config, pictures, (run, run_config), session.storage_options(spark))
    with progress.stage("embed", f"{len(images):,} pictures"):
        unit_norm = config.encoder.model_copy(update={"unit_norm": run_config["encoder"]["unit_norm"]})
        # A caller may name any picture; the roots bind the catalogue.
        unrestricted = pictures.model_copy(update={"link_roots": None})
        rows = embed_pictures(images, encoder, unrestricted, unit_norm, session.storage_options(spark))
    usable = [i for i, row in enumerate(rows) if row.reason is None]
    answers = [Answer(image, row.reason, row.detail) for image, row in zip(images, rows, strict=True)]
    if not usable:
        return run["run_id"], answers
    blocking = BlockingConfig.model_validate(run_config["blocking"])
    table, catalogue = published_vectors(store, run), published_images(store, run)
    usable_rows = [rows[i] for i in usable]
    probes: list[Probes] = [()] * len(usable)
    if blocking.by != "none":
        with progress.stage("categories", "predicting categories"):
            names, probabilities = _probabilities(usable_rows, encoder, table, store, blocking)
            probes = [probed_categories(p, names, blocking) for p in probabilities]
    knn = config.knn.model_copy(update={"metric": run_config["knn"]["metric"]})
    probe_names = tuple(tuple(name for name, _ in each) if blocking.by != "none" else None for each in probes)
    search = Search(_embeddings(usable_rows), probe_names, k, knn.metric, median_thresholds(table, knn))
    with progress.stage("search", f"{k} nearest products, {knn.metric}"):
        lists = _similar(_items(table, blocking), catalogue, search, config)
    for number, i in enumerate(usable):
        answers[i] = Answer(images[i], categories=probes[number], similar=lists[number])
    return run["run_id"], answers


def _images_config(config: Config, run_config: dict) -> ImagesConfig:
    """The `images` section, its foreground that of the run: a query is cut out as the catalogue's pictures were."""
    return config.images.model_copy(update={"foreground": run_config["images"].get("foreground", "none")})


def _same_encoder(
    config: Config, images: ImagesConfig, published: tuple[dict, dict], storage_options: dict[str, str]
) -> Encoder:
    run, run_config = published
    if config.encoder.name.startswith(MLFLOW_SCHEMES):
        use_tracking_store(config.mlflow)
    encoder = encoders.load_configured(config.encoder, storage_options)
    version = stored_version(
        encoder, config.encoder.model_copy(update={"unit_norm": run_config["encoder"]["unit_norm"]}), images
    )
    if version != run["model_version"]:
        settings = ", ".join(f"{key}={run_config['encoder'][key]}" for key in ("name", "weights", "layer"))
        raise ConfigError(
            f"encoder: got model version {version}, the published run {run['run_id']} has {run['model_version']}: "
            f"give its encoder, {settings}"
        )
    return encoder


def _probabilities(
    rows: Sequence[PictureEmbedding], encoder: Encoder, table: DataFrame, store: Store, blocking: BlockingConfig
) -> tuple[tuple[str, ...], np.ndarray]:
    """(categories, (q, c) their probabilities), by the encoder's own head, or by the one the run's categories were
    predicted with.
    """
    if encoder.categories is not None and blocking.by != "cluster":
        return encoder.categories, np.array([row.probabilities for row in rows], np.float32)
    head = read_head(store, table.select("head").head()["head"])
    return head.categories, head.probabilities(_embeddings(rows))


def _embeddings(rows: Sequence[PictureEmbedding]) -> np.ndarray:
    """(q, d) float32."""
    return np.array([row.embedding for row in rows], np.float32)


def _items(table: DataFrame, blocking: BlockingConfig) -> DataFrame:
    """image_id, embedding, predicted_category, and the category in which the run's blocks have an image."""
    own = F.col("predicted_category")
    if blocking.by == "catalogue_category":
        own = F.coalesce("category", own)
    return table.select("image_id", "embedding", "predicted_category", own.alias("category"))


def _similar(items: DataFrame, catalogue: DataFrame, search: Search, config: Config) -> list[tuple[Similar, ...]]:
    """Per query its products: of the probed categories first, then, where these are too few, the nearest of all
    others.
    """
    in_stock_only = config.recommend.in_stock_only
    probes = {name for categories in search.categories for name in categories or ()}
    inside = items.where(F.col("category").isin(*probes)) if probes else items
    lists = _by_query(nearest_products(inside, catalogue, search, in_stock_only), search, "visual")
    if config.recommend.backfill and any(len(products) < search.k for products in lists) and probes:
        unbounded = replace(search, categories=(None,) * len(lists))
        backfill = _by_query(nearest_products(items, catalogue, unbounded, in_stock_only), search, "backfill")
        for products, more in zip(lists, backfill, strict=True):
            present = {row["product_id"] for row in products}
            products += [row for row in more if row["product_id"] not in present][: search.k - len(products)]
    return [tuple(Similar(rank, **row) for rank, row in enumerate(products, 1)) for products in lists]


def _by_query(products: pa.Table, search: Search, source: str) -> list[list[dict]]:
    lists: list[list[dict]] = [[] for _ in search.categories]
    for row in products.to_pylist():
        similarity = row["value"] if search.metric == "cosine" else 1 / (1 - row["value"])
        facts = {
            "product_id": row["product_id"],
            "image_uri": row["uri"],
            "category": row["category"],
            "price": row["price"],
        }
        lists[row["query"]].append(facts | {"similarity": similarity, "source": source})
    return lists
