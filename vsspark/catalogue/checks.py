"""The checks of a catalogue's rows, before anything is made of them."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vsspark.catalogue.spark import FALSE, TRUE
from vsspark.config import CatalogueConfig
from vsspark.errors import DataQualityError


def check_images(rows: DataFrame, config: CatalogueConfig) -> dict[str, int]:
    """Counts of what the catalogue holds: products, images, products_without_image.

    Raises DataQualityError naming the column, how many rows and examples, for: an empty table, null product ids, one
    image listed twice for a product, prices or stock flags that cannot be read, lists of boxes of another length than
    their list of images. (A box that is none is its image's fault alone, and found with the picture.)
    """
    where = f"catalogue.table={config.table}"
    columns = config.columns
    per_image = rows.groupBy("image_id").agg(
        F.count("*").alias("n"),
        F.countDistinct("product_id", "uri").alias("pairs"),
        F.first("product_id").alias("product_id"),
        F.first("_image").alias("_image"),
    )
    has_image = F.col("_image").isNotNull()
    bad = {role: F.col(f"_bad_{role}") for role in ("price", "in_stock", "box")}
    # One shuffle by product, no distinct counts: Spark would copy every row once for each of them.
    per_product = rows.groupBy("product_id").agg(
        F.count("*").alias("rows"),
        F.count_if(has_image).alias("images"),
        *[
            F.count_if(cell.isNotNull() & (F.coalesce("_place", F.lit(0)) == 0)).alias(f"{role}_bad")
            for role, cell in bad.items()
        ],
        *[F.min(cell).alias(f"{role}_example") for role, cell in bad.items()],
    )
    totals = per_product.agg(
        F.coalesce(F.sum("rows"), F.lit(0)).alias("rows"),
        F.sum(F.when(F.col("product_id").isNull() | (F.col("product_id") == ""), F.col("rows"))).alias("null_ids"),
        F.count("*").alias("products"),
        F.count_if(F.col("images") > 0).alias("products_with_image"),
        F.sum("images").alias("images"),
        *[F.sum(f"{role}_bad").alias(f"{role}_bad") for role in bad],
        *[F.min(f"{role}_example").alias(f"{role}_example") for role in bad],
    ).first()
    if totals["rows"] == 0:
        raise DataQualityError(f"{where} is empty: expected at least one row")
    if totals["null_ids"]:
        raise DataQualityError(
            f"{where}: column {columns.product_id} is null or blank in {totals['null_ids']} of {totals['rows']} rows; "
            "every row needs a product id"
        )
    if totals["images"] == 0:
        raise DataQualityError(f"{where}: column {columns.image} names no image in any of {totals['rows']} rows")
    doubles = (
        per_image.where((F.col("n") > 1) & F.col("_image").isNotNull())
        .orderBy("product_id", "_image")
        .limit(4)
        .collect()
    )
    if doubles:
        collisions = [d for d in doubles if d.pairs > 1]
        if collisions:
            raise DataQualityError(
                f"{where}: two different images have the same 64-bit id (product {collisions[0].product_id}, "
                f"{collisions[0]['_image']}); rename one of them"
            )
        examples = ", ".join(f"({d.product_id}, {d['_image']})" for d in doubles[:3])
        raise DataQualityError(
            f"{where}: the same image is listed more than once for a product: {examples}; "
            "each (product, image) may appear once"
        )
    for role, expected in (
        ("price", "a number such as 19.90 (or empty)"),
        ("in_stock", f"one of {', '.join(TRUE + FALSE)} (or empty)"),
        ("box", "one box for each image of the row (or none at all)"),
    ):
        if totals[f"{role}_bad"]:
            name, example = getattr(columns, role), totals[f"{role}_example"]
            raise DataQualityError(
                f"{where}: column {name} ({role}) cannot be read in {totals[f'{role}_bad']} rows, "
                f"for example {example!r}; allowed is {expected}"
            )
    return {
        "products": totals["products"],
        "images": totals["images"],
        "products_without_image": totals["products"] - totals["products_with_image"],
    }
