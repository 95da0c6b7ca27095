"""Tables that release 0.1 wrote -> tables as they are now. See `vsspark.storage.published`."""

from __future__ import annotations

import logging

from pyspark.sql import functions as F

from vsspark.schemas import CATALOGUE_COLUMNS, EMBEDDINGS, complete
from vsspark.storage.published import join_old_rows
from vsspark.storage.run_tables import RunTables

log = logging.getLogger("vsspark")


def migrate(tables: RunTables) -> None:
    """Gives `images` the contents that `embeddings` had, and `embeddings` one row per content; nothing where they are
    so. No picture is read. Vectors are written once more, this one time.

    A call that is killed between the two tables is repeated by the next.
    """
    store = tables.store
    if not store.exists("embeddings") or "image_id" not in store.read("embeddings").columns:
        return
    old, images = store.read("embeddings"), store.read("images")
    log.info("migrate    embeddings below %s are of an earlier release: one row per content from now on", store.root)
    lacking = {name: F.lit(None).cast("string") for name in ("box", "fingerprint", "head") if name not in old.columns}
    old = old.withColumns(lacking) if lacking else old
    last = tables.read("runs").where("model_version IS NOT NULL").orderBy("finished_at", ascending=False).first()
    version = last.model_version if last is not None else old.select("model_version").first().model_version
    rows = join_old_rows(images.select([name for name in CATALOGUE_COLUMNS if name in images.columns]),
                         old.where(F.col("model_version") == version))  # fmt: skip
    tables.overwrite("images", tables.stage("old-images", rows))
    own = F.col("head") == "encoder"  # what a fitted head predicted is in `images`
    predicted = {name: F.when(own, F.col(name)) for name in ("predicted_category", "category_probabilities")}
    contents = complete(old.withColumns(predicted), EMBEDDINGS).dropDuplicates(["content_hash", "box", "model_version"])
    tables.overwrite("embeddings", tables.stage("old-embeddings", contents.select(EMBEDDINGS.names)))
