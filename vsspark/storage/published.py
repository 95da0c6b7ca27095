"""What a published run says of every image: its vector and categories, whichever release wrote the tables.

Up to release 0.1 `embeddings` had a row per image, with its categories; `images` knew nothing of contents. Since then
`embeddings` has a row per content, and `images` says which content an image has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.schemas import IMAGES, complete
from vsspark.storage.store import Store

_OF_THE_FILE = ["content_hash", "fingerprint", "model_version", "predicted_category", "category_probabilities", "head"]


def published_images(store: Store, run: Mapping[str, Any]) -> DataFrame:
    """The run's rows of `images`. run: its row of `runs`."""
    images = store.read_published("images", run)
    if "content_hash" in images.columns or not store.exists("embeddings"):
        return complete(images, IMAGES)
    return join_old_rows(images, _old_embeddings(store, run))


def join_old_rows(images: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Rows of `images` from the two tables as release 0.1 left them. embeddings: of one model version."""
    return complete(images.join(embeddings.select("image_id", *_OF_THE_FILE), "image_id", "left"), IMAGES)


def _old_embeddings(store: Store, run: Mapping[str, Any]) -> DataFrame:
    embeddings = store.read_published("embeddings", run).where(F.col("model_version") == run["model_version"])
    lacking = {name: F.lit(None).cast("string") for name in _OF_THE_FILE if name not in embeddings.columns}
    return embeddings.withColumns(lacking) if lacking else embeddings
