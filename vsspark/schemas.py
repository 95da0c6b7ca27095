"""The tables' columns, in one place: what is written, what BI reads, what tests build rows from.

`conform(df, schema)` stands at each table edge. Nullability is not compared: Parquet reads every column back as
nullable.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from vsspark.errors import SchemaError


def _field(name, data_type, comment):
    return StructField(name, data_type, True, {"comment": comment})


# image_id is a 64-bit hash of product and path: an 8-byte key keeps the neighbours table and its shuffles small,
# and its order breaks ties the same way whatever the partitioning. Ingest refuses a catalogue in which two collide.
IMAGES = StructType([
    _field("image_id", LongType(), "xxhash64(product_id, uri), sign bit cleared"),
    _field("product_id", StringType(), "the catalogue's"),
    _field("uri", StringType(), "where the image is read from; never percent-encoded"),
    _field("position", IntegerType(), "0 = the product's first image in the catalogue"),
    _field("name", StringType(), "product name, where the catalogue gives one"),
    _field("category", StringType(), "the catalogue's, where it gives one"),
    _field("price", DoubleType(), "in the catalogue's currency, where it gives one"),
    _field("in_stock", BooleanType(), "where the catalogue says"),
    _field("attributes", MapType(StringType(), StringType()), "the catalogue's further columns, as text"),
    _field("box", StringType(),
           "the product's box: left top right bottom, pixels as a viewer shows the picture; null: the whole picture"),
    _field("content_hash", StringType(), "SHA-256 of the file's bytes, hex; null: no usable picture, see quarantine"),
    _field("fingerprint", StringType(),
           "the file's size and modification time, or its ETag: where it is the same, the file is not read again"),
    _field("model_version", StringType(), "embeddings.model_version of its embedding"),
    _field("predicted_category", StringType(), "the most probable category"),
    _field("category_probabilities", MapType(StringType(), FloatType()), "the most probable categories, at most 16"),
    _field("head", StringType(), "what predicted the categories: encoder, or a hash of the head fitted in a run"),
])  # fmt: skip
# The columns that the catalogue decides; the others say what is in the file.
CATALOGUE_COLUMNS = [
    "image_id", "product_id", "uri", "position", "name", "category", "price", "in_stock", "attributes", "box",
]  # fmt: skip

# array<float> and not binary: 20,000 x 1280 take 77 MB either way, BI reads it in plain SQL, and Arrow hands it to
# NumPy as one buffer without an object per row (0.23 s against 0.13 s for binary; docs/embedding.md).
EMBEDDINGS = StructType([
    _field("content_hash", StringType(), "images.content_hash"),
    _field("box", StringType(), "images.box, the part of the picture that was embedded; null: all of it"),
    _field("model_version", StringType(), "encoder, layer and a hash of its weights and preprocessing"),
    _field("embedding", ArrayType(FloatType()), "(d,) float32"),
    _field("predicted_category", StringType(), "by the encoder's own head; null where it has none: see images"),
    _field("category_probabilities", MapType(StringType(), FloatType()), "by the encoder's own head, at most 16"),
    _field("size_bytes", LongType(), "of the file"),
    _field("width", IntegerType(), "of the whole picture as a viewer shows it, pixels"),
    _field("height", IntegerType(), "of the whole picture as a viewer shows it, pixels"),
    _field("run_id", StringType(), "the run that wrote the row"),
])  # fmt: skip

QUARANTINE = StructType([
    _field("image_id", LongType(), "images.image_id"),
    _field("product_id", StringType(), "images.product_id"),
    _field("uri", StringType(), "where it was read from"),
    _field("stage", StringType(), "fetch, decode or encode"),
    _field("reason", StringType(), "vsspark.errors.Reason"),
    _field("detail", StringType(), "what was found"),
    _field("run_id", StringType(), "the run that met it"),
])  # fmt: skip

REJECTED_ROWS = StructType([
    _field("line", LongType(), "where the row begins in its file, the first line is 1; null: the table has no lines"),
    _field("column", StringType(), "the catalogue's column that cannot be read; null: the whole row"),
    _field("text", StringType(), "the cell, or the beginning of the row, as it is in the catalogue"),
    _field("reason", StringType(), "what is wrong with it, and what is allowed"),
    _field("file", StringType(), "the file, where the catalogue is one or more"),
    _field("run_id", StringType(), "the run that read it"),
])  # fmt: skip

NEIGHBOURS = StructType([
    _field("query_image_id", LongType(), "images.image_id"),
    _field("rank", IntegerType(), "1 = nearest, no gaps"),
    _field("item_image_id", LongType(), "the best image of another product"),
    _field("similarity", FloatType(), "higher is nearer: cosine, else 1 / (1 + distance)"),
    _field("model_version", StringType(), "of the embeddings that were searched"),
    _field("run_id", StringType(), "the run that searched"),
])  # fmt: skip

SIMILAR_PRODUCTS = StructType([
    _field("product_id", StringType(), "the product on whose page the list is shown"),
    _field("surface", StringType(), "the list: similar, or a name of recommend.surfaces"),
    _field("rank", IntegerType(), "1 = best, no gaps within product_id and surface"),
    _field("similar_product_id", StringType(), "the product to show"),
    _field("similarity", FloatType(), "of the pair of images that matched best"),
    _field("image_uri", StringType(), "the product's image of that pair"),
    _field("similar_image_uri", StringType(), "the similar product's image of that pair"),
    _field("category", StringType(), "the catalogue's where it gives one, else the predicted one"),
    _field("similar_category", StringType(), "the same, of the similar product"),
    _field("price", DoubleType(), "where the catalogue gives one"),
    _field("similar_price", DoubleType(), "the same, of the similar product"),
    _field("source", StringType(), "visual: found in a probed category; backfill: nearest in the whole catalogue"),
    _field("reason", StringType(),
           "why it stands at this place: max_per, kept (recommend.max_per, keep_unless), or pin, boost or bury and "
           "the id of a written rule; null: by similarity"),
    _field("model_version", StringType(), "embeddings.model_version"),
    _field("run_id", StringType(), "the run that published it"),
    _field("run_date", DateType(), "the date the run was for"),
])  # fmt: skip

SHORT_LISTS = StructType([
    _field("product_id", StringType(), "a product with an embedded image and a list shorter than k"),
    _field("surface", StringType(), "the list, as in similar_products"),
    _field("places", IntegerType(), "how many it has"),
    _field("reason", StringType(),
           "no_price: a price rule, and the product has none; rule: the rules let no more through; "
           "no_eligible: the catalogue has no k other products that may be recommended"),
    _field("run_id", StringType(), "the run that found it"),
])  # fmt: skip

DUPLICATE_GROUPS = StructType([
    _field("group_id", StringType(), "the product that has been in the group for longest"),
    _field("product_id", StringType(), "a product all of whose pictures are those of the others of the group"),
    _field("since", DateType(), "the date of the run that first found it in a group"),
    _field("run_id", StringType(), "the run that found it last"),
])  # fmt: skip

APPLIED_RULES = StructType([
    _field("id", StringType(), "the written rule's"),
    _field("line", IntegerType(), "where it begins in the file"),
    _field("action", StringType(), "pin, block, boost, bury, only, never_together"),
    _field("place", IntegerType(), "of a pin, 1 = first"),
    _field("when", StringType(), "the pages, JSON: field to values; {}: all"),
    _field("target", StringType(), "the products, JSON: field to values"),
    _field("begins", DateType(), "first day; null: always"),
    _field("ends", DateType(), "last day; null: for good"),
    _field("surface", StringType(), "the list; null: every list"),
    _field("note", StringType(), "what its author wrote"),
    _field("run_id", StringType(), "the run that applied it"),
])  # fmt: skip

RUNS = StructType([
    _field("run_id", StringType(), "unique"),
    _field("run_date", DateType(), "the date the run was for"),
    _field("started_at", TimestampType(), "UTC"),
    _field("finished_at", TimestampType(), "UTC"),
    _field("status", StringType(),
           "published, unchanged (nothing to do), staged (a single stage), "
           "refused (by the gate), failed, rolled_back; publishing: killed then"),
    _field("message", StringType(), "why it was refused or failed"),
    _field("model_version", StringType(), "embeddings.model_version"),
    _field("config", StringType(), "the resolved configuration, JSON"),
    _field("counts", MapType(StringType(), LongType()), "rows in and out of every stage"),
    _field("metrics", MapType(StringType(), DoubleType()), "quality figures the gate looked at"),
    _field("seconds", MapType(StringType(), DoubleType()), "wall seconds per stage"),
    _field("inputs", StringType(),
           "a hash of catalogue, files, model and settings: what a run is made from, but for a head that was kept"),
    _field("versions", MapType(StringType(), LongType()),
           "the Delta version of every table that belongs to a published run"),
    _field("forced_by", StringType(), "who published in spite of the gate, and why"),
    _field("embedded_by", StringType(),
           "the run whose embeddings and quarantine the tables held when this one was over"),
    _field("owed", ArrayType(StringType()), "what a published run lacks, done by the next call: report, tracking, names"),
])  # fmt: skip

_SPARE_ITEM = StructType(
    [
        StructField("rank", IntegerType()),
        StructField("item_image_id", LongType()),
        StructField("similarity", FloatType()),
    ]
)

SEARCHED = StructType([
    _field("image_id", LongType(), "images.image_id"),
    _field("group_id", LongType(), "a hash of the product"),
    _field("content_hash", StringType(), "images.content_hash, and the box where there is one"),
    _field("block", StringType(), "the block it was an item of; null: of none"),
    _field("probes", ArrayType(StringType()), "the blocks its query searched"),
    _field("length", IntegerType(), "places of its list, the spare ones among them"),
    _field("complete", BooleanType(), "whether it holds an item of every product in the blocks it probes"),
    _field("last", FloatType(), "similarity at its last place"),
    _field("spare", ArrayType(_SPARE_ITEM), "the places beyond knn.k"),
    _field("settings", StringType(), "a hash of model version and knn settings"),
    _field("run_id", StringType(), "the run that searched"),
])  # fmt: skip

HEADS = StructType([
    _field("head", StringType(), "a hash of what it computes; images.head"),
    _field("model_version", StringType(), "of the embeddings it was fitted to"),
    _field("settings", StringType(), "a hash of the settings that decide the fit"),
    _field("categories", ArrayType(StringType()), "(c,) in ascending order"),
    _field("weights", BinaryType(), "(d, c) float32, little endian, row by row"),
    _field("bias", BinaryType(), "(c,) float32, little endian"),
    _field("accuracy", DoubleType(),
           "share of held-out images it was right about when it was fitted; null: none held out"),
    _field("labels", ArrayType(StringType()), "the catalogue's categories when it was fitted"),
    _field("agreement", DoubleType(), "share of the labelled images it predicted the label of when it was fitted"),
    _field("images", LongType(), "usable images when it was fitted"),
    _field("fitted_at", TimestampType(), "UTC"),
    _field("run_id", StringType(), "the run that fitted it"),
])  # fmt: skip

TABLES = {
    "images": IMAGES,
    "embeddings": EMBEDDINGS,
    "quarantine": QUARANTINE,
    "rejected_rows": REJECTED_ROWS,
    "neighbours": NEIGHBOURS,
    "similar_products": SIMILAR_PRODUCTS,
    "short_lists": SHORT_LISTS,
    "duplicate_groups": DUPLICATE_GROUPS,
    "applied_rules": APPLIED_RULES,
    "runs": RUNS,
    "_searched": SEARCHED,
    "_heads": HEADS,
}

PARTITIONED_BY = {"embeddings": "model_version", "quarantine": "run_id", "runs": "run_id", "_heads": "head"}


def complete(df: DataFrame, schema: StructType) -> DataFrame:
    """The rows with null in the columns that they lack: a table that an earlier release wrote has fewer."""
    lacking = {f.name: F.lit(None).cast(f.dataType) for f in schema.fields if f.name not in df.columns}
    return df.withColumns(lacking) if lacking else df


def conform(df: DataFrame, schema: StructType, what: str) -> DataFrame:
    """The DataFrame with exactly the schema's columns, in order, comments attached.

    Raises SchemaError that lists every missing column and every column of another type.
    """
    have = {field.name: field.dataType for field in df.schema.fields}
    wrong = [f"{f.name} is missing" for f in schema.fields if f.name not in have]
    wrong += [
        f"{f.name} is {have[f.name].simpleString()}, expected {f.dataType.simpleString()}"
        for f in schema.fields
        if f.name in have and have[f.name].simpleString() != f.dataType.simpleString()
    ]
    if wrong:
        raise SchemaError(f"{what}: {'; '.join(wrong)}")
    return df.select(*[F.col(f.name).alias(f.name, metadata=f.metadata) for f in schema.fields])
