"""Catalogue table -> `images` rows, checked.

Cost: one pass over the catalogue (text, no pictures), staged; the checks and the table are made from the staged rows,
so that what was checked is what is written. Two shuffles of the rows' ids and one of the rows; grows linearly with
the images named.
"""

from __future__ import annotations

import re

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, NumericType, StringType
from pyspark.sql.window import Window

from vsspark.catalogue.boxes import listed_boxes
from vsspark.catalogue.uris import ABSOLUTE, resolve_root
from vsspark.config import CatalogueConfig
from vsspark.errors import ConfigError, SchemaError
from vsspark.schemas import CATALOGUE_COLUMNS, IMAGES, complete, conform

TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


def read_catalogue(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """The catalogue's rows as they are; the format follows from the name: a Delta folder, *.csv / *.tsv, else Parquet.

    CSV columns are read as text, quoted fields may span lines. Raises ConfigError when there is no such table.
    """
    path = config.table
    try:
        if DeltaTable.isDeltaTable(spark, path):
            return spark.read.format("delta").load(path)
        stem = path.lower().removesuffix(".gz")
        if stem.endswith((".csv", ".tsv", ".txt")):
            separator = "," if stem.endswith(".csv") else "\t"
            reader = (
                spark.read.option("header", True)
                .option("multiLine", True)
                .option("escape", '"')
                .option("sep", separator)
            )
            return reader.csv(path)
        return spark.read.parquet(path)
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable(config, error) from None


def unreadable(config: CatalogueConfig, error: Exception) -> ConfigError:
    """The one message for a table that Spark cannot read: no such file, no such format, a broken file."""
    # A file system that lists nothing, such as https://, says nothing either.
    message = str(getattr(error, "java_exception", None) or error).strip()
    cause = message.splitlines()[0] if message else type(error).__name__
    return ConfigError(
        f"catalogue.table={config.table} cannot be read: {cause}; expected CSV (*.csv, *.tsv), "
        "a Delta folder or Parquet"
    )


def images_from(table: DataFrame, config: CatalogueConfig) -> DataFrame:
    """Rows of `images`, one per image the catalogue names, product columns repeated on each.

    A list of images (array column, or text split by `catalogue.image_separator`) becomes one row each, and so does a
    list of boxes. Columns that are not mapped are carried along as text in `attributes`. A product without any image
    has no row; `products_without_image` counts them. Raises SchemaError for mapped columns the table lacks, and for a
    box column that can hold no boxes.
    """
    columns = config.columns
    columns_by_role = {role: name for role, name in columns.model_dump().items() if name is not None}
    missing = [
        f"catalogue.columns.{role}={name}" for role, name in columns_by_role.items() if name not in table.columns
    ]
    if missing:
        raise SchemaError(
            f"catalogue.table={config.table}: no such column: {', '.join(missing)}; "
            f"the table has {', '.join(table.columns)}"
        )
    further = [name for name in table.columns if name not in columns_by_role.values()]
    attributes = (
        F.map_from_arrays(F.array(*[F.lit(n) for n in further]), F.array(*[_text(n) for n in further]))
        if further
        else F.lit(None)
    )

    image = F.col(_identifier(columns.image))
    is_list = isinstance(table.schema[columns.image].dataType, ArrayType)
    if is_list:
        names = image.cast("array<string>")
    elif config.image_separator:
        names = F.split(image.cast("string"), re.escape(config.image_separator))
    else:
        names = F.array(image.cast("string"))
    boxes = F.lit(None).cast("array<string>")
    if columns.box:
        boxes = listed_boxes(
            F.col(_identifier(columns.box)),
            table.schema[columns.box].dataType,
            is_list or bool(config.image_separator),
            config,
        )
    each = F.transform(names, lambda x, i: F.struct(F.trim(x).alias("image"), F.get(boxes, i).alias("box")))
    pairs = F.filter(each, lambda x: x["image"].isNotNull() & (x["image"] != ""))
    mismatch = boxes.isNotNull() & (F.size(boxes) != F.size(names))
    row = F.monotonically_increasing_id()  # follows the file's order, so that a product's first image stays its first
    rows = table.select(
        F.trim(_text(columns.product_id)).alias("product_id"),
        row.alias("_row"),
        F.posexplode_outer(pairs).alias("_place", "_named"),
        (_text(columns.name) if columns.name else F.lit(None).cast("string")).alias("name"),
        (
            F.nullif(F.trim(_text(columns.category)), F.lit("")) if columns.category else F.lit(None).cast("string")
        ).alias("category"),
        (_number(columns.price, table) if columns.price else F.lit(None).cast("double")).alias("price"),
        (_unread(columns.price, _number(columns.price, table)) if columns.price else F.lit(None).cast("string")).alias(
            "_bad_price"
        ),
        (_boolean(columns.in_stock) if columns.in_stock else F.lit(None).cast("boolean")).alias("in_stock"),
        (
            _unread(columns.in_stock, _boolean(columns.in_stock)) if columns.in_stock else F.lit(None).cast("string")
        ).alias("_bad_in_stock"),
        F.when(mismatch, F.to_json(F.struct(F.col(_identifier(columns.box))))).alias("_bad_box")
        if columns.box
        else F.lit(None).cast("string").alias("_bad_box"),
        attributes.cast("map<string,string>").alias("attributes"),
    )
    rows = rows.withColumns({"_image": F.col("_named")["image"], "box": F.col("_named")["box"]}).drop("_named")
    root = resolve_root(config)
    absolute = F.col("_image").rlike(ABSOLUTE)
    rows = rows.withColumn(
        "uri", F.when(absolute, F.col("_image")).otherwise(F.concat(F.lit(root + "/"), F.col("_image")))
    )
    order = Window.partitionBy("product_id").orderBy("_row", "_place")
    return rows.withColumns({"image_id": hash_id("product_id", "uri"), "position": F.row_number().over(order) - 1})


def named_images(rows: DataFrame) -> DataFrame:
    """CATALOGUE_COLUMNS of the checked rows; rows of products that name no image fall away here, counted before."""
    named = complete(rows.where(F.col("_image").isNotNull()), IMAGES)
    return conform(named, IMAGES, "images").select(CATALOGUE_COLUMNS)


def hash_id(*columns: str) -> Column:
    """A non-negative 64-bit id: negative ones are free to mean "none" in the neighbour search."""
    return F.xxhash64(*columns).bitwiseAND(F.lit(2**63 - 1))


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(name: str) -> Column:
    return F.col(_identifier(name)).cast(StringType())


def _number(name: str, table: DataFrame) -> Column:
    is_number = isinstance(table.schema[name].dataType, NumericType)
    number = (
        F.col(_identifier(name)).cast("double")
        if is_number
        else F.expr(f"try_cast(trim(CAST({_identifier(name)} AS STRING)) AS DOUBLE)")
    )
    # NaN and Infinity are numbers, as text they parse, and are no prices.
    return F.when(~F.isnan(number) & (F.abs(number) != float("inf")), number)


def _unread(name: str, parsed: Column) -> Column:
    """The cell's text where there is one and it could not be read, else null."""
    return F.when((F.trim(_text(name)) != "") & parsed.isNull(), _text(name))


def _boolean(name: str) -> Column:
    text = F.lower(F.trim(_text(name)))
    return F.when(text.isin(*TRUE), True).when(text.isin(*FALSE), False)
