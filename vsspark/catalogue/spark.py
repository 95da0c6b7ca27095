"""Catalogue table -> `images` rows, checked.

Cost: one pass over the catalogue (text, no pictures), staged; the checks and the table are made from the staged rows,
so that what was checked is what is written. Two shuffles of the rows' ids and one of the rows; grows linearly with
the images named.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType
from pyspark.sql.window import Window

from vsspark.catalogue.boxes import listed_boxes
from vsspark.catalogue.cells import Cells
from vsspark.catalogue.columns import identifier, with_found_columns
from vsspark.catalogue.prices import price_style
from vsspark.catalogue.tables import read_catalogue as read_catalogue
from vsspark.catalogue.tables import unreadable as unreadable
from vsspark.catalogue.uris import image_uri
from vsspark.config import CatalogueConfig
from vsspark.schemas import CATALOGUE_COLUMNS, IMAGES, complete, conform

_OF_THE_PRODUCT = ("name", "category", "price")


def images_from(table: DataFrame, config: CatalogueConfig, min_stock: int | None = None) -> DataFrame:
    """Rows of `images`, one per image the catalogue names, and a row per row of the table that cannot be used.

    A list of images (array column, or text split by `catalogue.image_separator`) becomes one row each, and so does a
    list of boxes. A product's name, category and price hold for its rows that have none, and it is in stock if any of
    its rows is. Columns that are not mapped are carried along as text in `attributes`. A product without any image has
    a row without `_image`. `_copy`: 1, 2, ... where a product lists an image more than once. min_stock: the least
    number that is in stock; None: any above 0. Raises SchemaError for mapped columns that the table lacks or that
    cannot hold what they should.
    """
    table, columns, more = with_found_columns(table, config)
    is_text = columns.price and isinstance(table.schema[columns.price].dataType, StringType)
    style = price_style(table, F.col(identifier(columns.price)), config) if is_text else None
    cells = Cells(table, columns, config, style, more, min_stock)
    images = F.col("__vsspark_images")
    box = F.lit(None).cast("array<string>")
    if columns.box:
        kind = table.schema[columns.box].dataType
        box = listed_boxes(F.col(identifier(columns.box)), kind, cells.images_are_listed, config)
    if cells.images_are_listed or columns.box:
        each = F.transform(images, lambda x, i: F.struct(x.alias("image"), F.get(box, i).alias("box")))
        named = F.filter(each, lambda x: x["image"].isNotNull())
    else:  # the common case without functions that Spark interprets
        none = F.lit(None).cast("string").alias("box")
        named = F.filter(
            F.transform(images, lambda x: F.struct(x.alias("image"), none)), lambda x: x["image"].isNotNull()
        )
        one = F.array(F.struct(F.get(images, F.lit(0)).alias("image"), none))
        named = F.when(F.size(images) > 1, named).when(F.get(images, F.lit(0)).isNotNull(), one)
    usable = F.col("__vsspark_fault").isNull()
    row = F.monotonically_increasing_id()  # follows the file's order, so that a product's first image stays its first
    rows = cells.with_fault(box.isNotNull() & (F.size(box) != F.size(images))).select(
        F.when(usable, F.col("__vsspark_id")).alias("product_id"),
        row.alias("_row"),
        F.posexplode_outer(F.when(usable, named)).alias("_place", "_named"),
        cells.word("name").alias("name"),
        cells.word("category").alias("category"),
        F.col("__vsspark_price").alias("price"),
        F.col("__vsspark_currency").alias("_currency"),
        F.col("__vsspark_stock").alias("in_stock"),
        cells.attributes().alias("attributes"),
        F.col("__vsspark_fault").alias("_fault"),
    )
    rows = rows.withColumns({"_image": F.col("_named")["image"], "box": F.col("_named")["box"]}).drop("_named")
    rows = rows.withColumn("uri", image_uri(F.col("_image"), config))
    return with_product_values(rows.withColumn("image_id", hash_id("product_id", "uri")))


def with_product_values(rows: DataFrame) -> DataFrame:
    """The rows with `_copy` and `position`, and a product's values on all its rows."""
    product = Window.partitionBy("product_id")
    order = product.orderBy("_row", "_place")
    copies = rows.withColumn(
        "_copy", F.row_number().over(Window.partitionBy("product_id", "uri").orderBy("_row", "_place"))
    )
    everywhere = order.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    values = {name: F.coalesce(name, F.first(name, ignorenulls=True).over(everywhere)) for name in _OF_THE_PRODUCT}
    values["in_stock"] = F.max("in_stock").over(product)
    counted = F.col("_image").isNotNull() & (F.col("_copy") == 1)
    values["position"] = F.greatest(F.count_if(counted).over(order) - 1, F.lit(0)).cast("int")
    return copies.withColumns(values)


def named_images(rows: DataFrame) -> DataFrame:
    """CATALOGUE_COLUMNS of the checked rows; rows of products that name no image fall away here, counted before."""
    named = complete(rows.where(F.col("_image").isNotNull() & (F.col("_copy") == 1)), IMAGES)
    return conform(named, IMAGES, "images").select(CATALOGUE_COLUMNS)


def hash_id(*columns: str) -> Column:
    """A non-negative 64-bit id: negative ones are free to mean "none" in the neighbour search."""
    return F.xxhash64(*columns).bitwiseAND(F.lit(2**63 - 1))
