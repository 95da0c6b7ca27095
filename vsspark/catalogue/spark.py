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
from vsspark.errors import ConfigError, DataQualityError, SchemaError
from vsspark.schemas import IMAGES, conform

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")


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
    said = str(getattr(error, "java_exception", None) or error).strip()
    cause = said.splitlines()[0] if said else type(error).__name__
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
    mapped = {role: name for role, name in columns.model_dump().items() if name is not None}
    missing = [f"catalogue.columns.{role}={name}" for role, name in mapped.items() if name not in table.columns]
    if missing:
        raise SchemaError(
            f"catalogue.table={config.table}: no such column: {', '.join(missing)}; "
            f"the table has {', '.join(table.columns)}"
        )
    further = [name for name in table.columns if name not in mapped.values()]
    attributes = (
        F.map_from_arrays(F.array(*[F.lit(n) for n in further]), F.array(*[_text(n) for n in further]))
        if further
        else F.lit(None)
    )

    image = F.col(_quoted(columns.image))
    is_list = isinstance(table.schema[columns.image].dataType, ArrayType)
    if is_list:
        listed = image.cast("array<string>")
    elif config.image_separator:
        listed = F.split(image.cast("string"), re.escape(config.image_separator))
    else:
        listed = F.array(image.cast("string"))
    boxes = F.lit(None).cast("array<string>")
    if columns.box:
        boxes = listed_boxes(
            F.col(_quoted(columns.box)),
            table.schema[columns.box].dataType,
            is_list or bool(config.image_separator),
            config,
        )
    each = F.transform(listed, lambda x, i: F.struct(F.trim(x).alias("image"), F.get(boxes, i).alias("box")))
    named = F.filter(each, lambda x: x["image"].isNotNull() & (x["image"] != ""))
    unpaired = boxes.isNotNull() & (F.size(boxes) != F.size(listed))
    row = F.monotonically_increasing_id()  # follows the file's order, so that a product's first image stays its first
    rows = table.select(
        F.trim(_text(columns.product_id)).alias("product_id"),
        row.alias("_row"),
        F.posexplode_outer(named).alias("_place", "_named"),
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
        F.when(unpaired, F.to_json(F.struct(F.col(_quoted(columns.box))))).alias("_bad_box")
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
    named = F.col("_image").isNotNull()
    bad = {role: F.col(f"_bad_{role}") for role in ("price", "in_stock", "box")}
    # One shuffle by product, no distinct counts: Spark would copy every row once for each of them.
    per_product = rows.groupBy("product_id").agg(
        F.count("*").alias("rows"),
        F.count_if(named).alias("images"),
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
        collided = [d for d in doubles if d.pairs > 1]
        if collided:
            raise DataQualityError(
                f"{where}: two different images have the same 64-bit id (product {collided[0].product_id}, "
                f"{collided[0]['_image']}); rename one of them"
            )
        examples = ", ".join(f"({d.product_id}, {d['_image']})" for d in doubles[:3])
        raise DataQualityError(
            f"{where}: the same image is listed more than once for a product: {examples}; "
            "each (product, image) may appear once"
        )
    for role, allowed in (
        ("price", "a number such as 19.90 (or empty)"),
        ("in_stock", f"one of {', '.join(_TRUE + _FALSE)} (or empty)"),
        ("box", "one box for each image of the row (or none at all)"),
    ):
        if totals[f"{role}_bad"]:
            name, example = getattr(columns, role), totals[f"{role}_example"]
            raise DataQualityError(
                f"{where}: column {name} ({role}) cannot be read in {totals[f'{role}_bad']} rows, "
                f"for example {example!r}; allowed is {allowed}"
            )
    return {
        "products": totals["products"],
        "images": totals["images"],
        "products_without_image": totals["products"] - totals["products_with_image"],
    }


def named_images(rows: DataFrame) -> DataFrame:
    """The checked rows in the shape of `images`; rows of products that name no image fall away here, counted before."""
    return conform(rows.where(F.col("_image").isNotNull()), IMAGES, "images")


def hash_id(*columns: str) -> Column:
    """A non-negative 64-bit id: negative ones are free to mean "none" in the neighbour search."""
    return F.xxhash64(*columns).bitwiseAND(F.lit(2**63 - 1))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(name: str) -> Column:
    return F.col(_quoted(name)).cast(StringType())


def _number(name: str, table: DataFrame) -> Column:
    is_number = isinstance(table.schema[name].dataType, NumericType)
    number = (
        F.col(_quoted(name)).cast("double")
        if is_number
        else F.expr(f"try_cast(trim(CAST({_quoted(name)} AS STRING)) AS DOUBLE)")
    )
    # NaN and Infinity are numbers, as text they parse, and are no prices.
    return F.when(~F.isnan(number) & (F.abs(number) != float("inf")), number)


def _unread(name: str, parsed: Column) -> Column:
    """The cell's text where there is one and it could not be read, else null."""
    return F.when((F.trim(_text(name)) != "") & parsed.isNull(), _text(name))


def _boolean(name: str) -> Column:
    text = F.lower(F.trim(_text(name)))
    return F.when(text.isin(*_TRUE), True).when(text.isin(*_FALSE), False)
