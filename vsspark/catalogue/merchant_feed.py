"""A Google Merchant feed in XML (RSS 2.0 or Atom) -> one JSON object per item, with the line where it begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from lxml import etree
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from vsspark.catalogue.json_feed import OBJECT, from_objects
from vsspark.catalogue.text_feed import EXTRA, Source, find_files
from vsspark.config import CatalogueConfig
from vsspark.errors import DataQualityError
from vsspark.spark import session

_GOOGLE = "http://base.google.com/ns/1.0"
_BATCH = 1000


def read_merchant_feed(spark: SparkSession, config: CatalogueConfig) -> DataFrame:
    """A column for every tag of an item, without its namespace; a tag that an item repeats is a list. One task a file.

    Raises DataQualityError, in the task, for a file that is no XML.
    """
    source = Source(session.storage_options(spark))
    files = [path for path, _ in find_files(config.table, source)]
    schema = StructType([StructField(OBJECT, StringType()), *EXTRA])
    lines = spark.range(0, len(files), 1, len(files)).mapInArrow(partial(_read, files, source), schema)
    return from_objects(spark, lines, config)


def items(file, what: str) -> Iterator[tuple[int, dict]]:
    """(line, tag -> text, list of texts or object) of every item. Nothing outside the file is looked up.

    Raises DataQualityError for what is no XML, or has no item.
    """
    count = 0
    tags = ("{*}item", "{*}entry")
    try:
        for _, element in etree.iterparse(file, tag=tags, resolve_entities=False, no_network=True, huge_tree=False):
            count += 1
            yield element.sourceline, _values(element)
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise DataQualityError(f"catalogue.table={what} is no well-formed XML: {error}") from None
    if not count:
        raise DataQualityError(f"catalogue.table={what} has no <item> or <entry>: expected a Google Merchant feed")


def _values(element) -> dict:
    found: dict[str, list] = {}
    for child in element.iterchildren(tag=etree.Element):
        name = etree.QName(child)
        value = _values(child) if len(child) else (child.text or "").strip() or child.get("href") or ""
        found.setdefault(name.localname if name.namespace == _GOOGLE else f"\0{name.localname}", []).append(value)
    result: dict[str, object] = {}
    for name, values in found.items():
        plain = name.lstrip("\0")
        if plain != name and plain in found:
            plain = f"rss:{plain}"  # RSS has a title and a link of its own beside Google's
        filled = [value for value in values if value != ""]
        result[plain] = None if not filled else filled[0] if len(filled) == 1 else filled
    return result


def _read(files: list[str], source: Source, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for i in batch.column(0).to_pylist():
            with source.open(files[i]) as file:
                rows: list[tuple[int, str]] = []
                for line, values in items(file, files[i]):
                    rows.append((line, json.dumps(values, ensure_ascii=False)))
                    if len(rows) == _BATCH:
                        yield _batch(rows, files[i])
                        rows = []
                if rows:
                    yield _batch(rows, files[i])


def _batch(rows: list[tuple[int, str]], path: str) -> pa.RecordBatch:
    lines, objects = zip(*rows, strict=True)
    none = pa.nulls(len(rows), pa.string())
    file = pa.repeat(pa.scalar(path), len(rows))
    arrays = [pa.array(objects, pa.string()), pa.array(lines, pa.int64()), file, none, none]
    return pa.RecordBatch.from_arrays(arrays, [OBJECT, *EXTRA.names])
