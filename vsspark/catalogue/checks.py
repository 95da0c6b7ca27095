"""The checks of a catalogue's rows, before anything is made of them."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vsspark.catalogue.text_feed import BLANK
from vsspark.config import CatalogueConfig
from vsspark.errors import DataQualityError

log = logging.getLogger("vsspark")
_EXAMPLES = 3


def check_images(rows: DataFrame, config: CatalogueConfig) -> dict[str, int]:
    """Counts of what the catalogue holds: products, images, products_without_image; where there are any, also
    rejected_rows, blank_rows and repeated_images. rows: of `images_from`. Logs what is set aside.

    Raises DataQualityError for an empty table, for no image at all, for more rejected rows than the limits of the
    config (with lines, columns, texts and reasons), and for two images with one id.
    """
    where = f"catalogue.table={config.table}"
    fault, usable = F.col("_fault"), F.col("_fault").isNull()
    has_image, first = F.col("_image").isNotNull(), F.coalesce("_place", F.lit(0)) == 0
    blank = fault["reason"] == BLANK
    # One shuffle by product, no distinct counts: Spark would copy every row once for each of them.
    per_product = rows.groupBy("product_id").agg(
        F.count_if(usable & first).alias("rows"),
        F.count_if(has_image & (F.col("_copy") == 1)).alias("images"),
        F.count_if(has_image & (F.col("_copy") > 1)).alias("repeated"),
        F.count_if(~usable & ~blank).alias("rejected"),
        F.sum(F.when(blank, fault["text"].cast("long"))).alias("blank"),
        F.first("_currency", ignorenulls=True).alias("currency"),
    )
    known = F.col("product_id").isNotNull()
    sums = {name: F.coalesce(F.sum(name), F.lit(0)) for name in ("rows", "images", "repeated", "rejected", "blank")}
    totals = per_product.agg(
        F.count_if(known).alias("products"),
        F.count_if(known & (F.col("images") > 0)).alias("products_with_image"),
        *[value.alias(name) for name, value in sums.items()],
        F.count_if(F.col("currency").isNotNull()).alias("with_currency"),
    ).first()
    if totals.rows + totals.rejected == 0:
        raise DataQualityError(f"{where} is empty: expected at least one row")
    if totals.rejected:
        _judge_rejected(rows.where(~usable & ~blank), totals, config)
    if totals.images == 0:
        raise DataQualityError(f"{where}: column {config.columns.image} names no image in any of {totals.rows} rows")
    _refuse_collisions(rows, where)
    if totals.with_currency:
        _say_currencies(rows, config)
    if totals.repeated:
        log.info(
            "catalogue  %s images are listed more than once for their product; one of each is used",
            f"{totals.repeated:,}",
        )
    if totals.blank:
        log.info("catalogue  %s blank rows skipped", f"{totals.blank:,}")
    extra = {"rejected_rows": totals.rejected, "blank_rows": totals.blank, "repeated_images": totals.repeated}
    return {
        "products": totals.products,
        "images": totals.images,
        "products_without_image": totals.products - totals.products_with_image,
        **{name: count for name, count in extra.items() if count},
    }


def rejected_rows(rows: DataFrame) -> DataFrame:
    """line, file, column, text, reason of the table's rows that are set aside. rows: of `images_from`."""
    faulty = rows.where(F.col("_fault").isNotNull() & (F.col("_fault.reason") != BLANK))
    return faulty.select("_fault.*")


def _judge_rejected(rejected: DataFrame, totals: Row, config: CatalogueConfig) -> None:
    """Logs the rejected rows. Raises DataQualityError where they are more than the config allows."""
    total = totals.rows + totals.rejected
    said = f"catalogue.table={config.table}: {totals.rejected:,} of {total:,} rows cannot be read: " + "; ".join(
        _group_text(group)
        for group in rejected.groupBy("_fault.column", "_fault.reason")
        .agg(
            F.count("*").alias("n"),
            F.slice(F.array_sort(F.collect_list(F.struct("_fault.line", "_fault.text"))), 1, _EXAMPLES).alias(
                "examples"
            ),
        )
        .orderBy(F.desc("n"))
        .limit(5)
        .collect()
    )
    allowed = max(config.max_rejected * total, config.max_rejected_rows)
    if totals.rejected > allowed or 2 * totals.rejected >= total:
        raise DataQualityError(
            f"{said}. Allowed are {config.max_rejected:.2%} of the rows (catalogue.max_rejected) or "
            f"{config.max_rejected_rows} rows (catalogue.max_rejected_rows), and less than half of all"
        )
    log.warning("catalogue  %s; they are set aside in the table rejected_rows", said)


def _group_text(group: Row) -> str:
    examples = ", ".join(repr(e.text) if e.line is None else f"line {e.line}: {e.text!r}" for e in group.examples)
    if group.column is None:
        return f"{group.n:,} rows, {group.reason}: {examples}"
    role, _, allowed = group.reason.partition(" cannot be read; ")
    if allowed:
        return f"column {group.column} ({role}) cannot be read in {group.n:,} rows, for example {examples}; {allowed}"
    return f"column {group.column} is {group.reason}: {group.n:,} rows, for example {examples}"


def _say_currencies(rows: DataFrame, config: CatalogueConfig) -> None:
    """Logs the currencies of the prices; several are a warning, since prices are compared as numbers."""
    counts = rows.where("_currency IS NOT NULL").groupBy("_currency").agg(F.count_distinct("product_id").alias("n"))
    found = counts.orderBy(F.desc("n"), "_currency").limit(10).collect()
    said = ", ".join(f"{row['_currency']} ({row.n:,} products)" for row in found)
    log.log(
        logging.WARNING if len(found) > 1 else logging.INFO,
        "catalogue  column %s: prices are in %s%s",
        config.columns.price,
        said,
        "; they are compared as if they were in one" if len(found) > 1 else "",
    )


def _refuse_collisions(rows: DataFrame, where: str) -> None:
    """Raises DataQualityError where two different images have the same id."""
    named = rows.where(F.col("_image").isNotNull() & (F.col("_copy") == 1))
    first = [F.first(name).alias(name) for name in ("product_id", "_image")]
    double = named.groupBy("image_id").agg(F.count("*").alias("n"), *first).where("n > 1").first()
    if double is not None:
        raise DataQualityError(
            f"{where}: two different images have the same 64-bit id (product {double.product_id}, "
            f"{double['_image']}); rename one of them"
        )
