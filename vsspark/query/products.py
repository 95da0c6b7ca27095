"""What the published run says of images and products: plain arrays, found by number. No Spark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsspark.arrow import to_array, to_integers, to_scalar
from vsspark.storage.reader import PublishedTables

_CATALOGUE = [
    ("image_id", pa.int64()),
    ("product_id", pa.string()),
    ("uri", pa.string()),
    ("position", pa.int32()),
    ("name", pa.string()),
    ("category", pa.string()),
    ("price", pa.float64()),
    ("in_stock", pa.bool_()),
    ("box", pa.string()),
]
_OF_THE_FILE = [("content_hash", pa.string()), ("predicted_category", pa.string()), ("head", pa.string())]
_IMAGES = pa.schema([*_CATALOGUE, *_OF_THE_FILE])
_ATTRIBUTES = pa.field("attributes", pa.map_(pa.string(), pa.string()))
NO_CATEGORY = -1


class Facts(NamedTuple):
    """A product as the shop shows it; of several images the first that states a value."""

    product_id: str
    name: str | None
    category: str | None  # the catalogue's, else the predicted one of most of its images
    price: float | None
    in_stock: bool | None
    attributes: Mapping[str, str]


class Products:
    """The images by their place in ascending image_id, the products by the place of their first image.

    table: rows of `images`. by_catalogue: an image lies in the catalogue's category where there is one, not in the
    predicted one. Memory: about 150 bytes an image and its texts.
    """

    def __init__(self, table: pa.Table, by_catalogue: bool = False):
        self.table = table.sort_by("image_id").combine_chunks()
        self.image_ids = to_array(self.table["image_id"])
        coded = _chunk(self.table["product_id"]).dictionary_encode()
        self.product_names = coded.dictionary
        self.product = to_array(coded.indices).astype(np.int64)
        # One text for content and box; null: no usable picture.
        self.contents = contents(_chunk(self.table["content_hash"]), _chunk(self.table["box"]))
        self.embedded = to_array(self.contents.is_valid())
        own = self.table["predicted_category"]
        own = _chunk(pc.coalesce(self.table["category"], own) if by_catalogue else own).dictionary_encode()
        self.category_names = own.dictionary.to_pylist()
        self.category = to_array(own.indices, NO_CATEGORY).astype(np.int32)
        position = to_array(self.table["position"], 2**31 - 1)
        self._by_product = np.lexsort((position, self.product))
        self._starts = np.searchsorted(self.product[self._by_product], np.arange(len(self.product_names) + 1))

    def facts(self, product: int) -> Facts:
        """What the catalogue says of a product."""
        images = self._by_product[self._starts[product] : self._starts[product + 1]]
        rows = self.table.take(to_integers(images))
        category = _first(rows["category"])
        if category is None:
            predicted = Counter(value for value in rows["predicted_category"].to_pylist() if value is not None)
            category = min(predicted, key=lambda name: (-predicted[name], name), default=None)
        attributes = _first(rows["attributes"]) if "attributes" in rows.column_names else None
        values = [_first(rows[name]) for name in ("price", "in_stock")]
        name = self.product_names[product].as_py()
        return Facts(name, _first(rows["name"]), category, *values, dict(attributes or ()))

    def in_stock(self) -> np.ndarray:
        """(products,) bool: those of which the catalogue says that they are in stock."""
        return to_array(pc.fill_null(self.stated(self.table["in_stock"]), False))

    def recommendable(self, items: tuple[bool, float | None, float | None]) -> np.ndarray:
        """(products,) bool: by the rules of a list that look at nothing but the item, see `ListConfig.item_limits`."""
        stocked, at_least, at_most = items
        allowed = self.in_stock() if stocked else np.ones(len(self.product_names), bool)
        for limit, compare in ((at_least, np.greater_equal), (at_most, np.less_equal)):
            if limit is not None:
                allowed &= compare(self.prices(), limit)
        return allowed

    def prices(self) -> np.ndarray:
        """(products,) float64, NaN where the catalogue gives none."""
        return self.stated(self.table["price"]).to_numpy(zero_copy_only=False).astype(np.float64)

    def stated(self, column: pa.ChunkedArray) -> pa.Array:
        """(products,) the value of each product's first image that has one; null where none has. column: by image."""
        ordered = _chunk(column).take(to_integers(self._by_product))
        stated = np.flatnonzero(to_array(ordered.is_valid()))
        products, first = np.unique(self.product[self._by_product[stated]], return_index=True)
        places = np.full(len(self.product_names), -1)
        places[products] = stated[first]
        chosen = to_integers(np.maximum(places, 0))
        if not len(ordered):
            return pa.nulls(len(places), ordered.type)
        return pc.if_else(pc.greater_equal(to_integers(places), 0), ordered.take(chosen), pa.nulls(1, ordered.type)[0])

    def place(self, image_id: int) -> int | None:
        """The image's place; None where the run has no such image."""
        at = int(np.searchsorted(self.image_ids, image_id))
        return at if at < len(self.image_ids) and self.image_ids[at] == image_id else None

    def uri(self, image: int) -> str:
        """Where an image is read from."""
        return self.table["uri"][int(image)].as_py()

    def head(self) -> str | None:
        """What predicted the categories: `images.head`."""
        return _first(self.table["head"])


def read_products(
    tables: PublishedTables, run: Mapping[str, Any], by_catalogue: bool, attributes: bool = False
) -> Products:
    """The run's images and products, whichever release wrote the tables. attributes: read the catalogue's further
    columns, too.
    """
    schema = _IMAGES.append(_ATTRIBUTES) if attributes else _IMAGES
    images = tables.read("images", run, schema.names).cast(schema)
    if "content_hash" not in tables.columns("images", run) and tables.exists("embeddings"):
        images = _with_old_contents(images, tables, run)
    return Products(images, by_catalogue)


def contents(hashes: pa.Array, boxes: pa.Array) -> pa.Array:
    """One text for content_hash and box, as an index names a row; null where content_hash is."""
    both = pc.binary_join_element_wise(hashes, boxes, to_scalar(" "))
    return pc.if_else(pc.is_valid(boxes), both, hashes)


def _with_old_contents(images: pa.Table, tables: PublishedTables, run: Mapping[str, Any]) -> pa.Table:
    """Up to release 0.1 `embeddings` had a row per image, and `images` knew nothing of contents."""
    names = [name for name, _ in _OF_THE_FILE]
    old = tables.read("embeddings", run, ["image_id", *names], ("model_version", run["model_version"]))
    places = pc.index_in(images["image_id"], value_set=old["image_id"].combine_chunks())
    for name, kind in _OF_THE_FILE:
        column = old[name].cast(kind).take(places)
        images = images.set_column(images.schema.get_field_index(name), name, column)
    return images


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _first(column: pa.ChunkedArray) -> Any:
    """The first value that is not null; None where there is none."""
    return next(_values(column), None)


def _values(column: pa.ChunkedArray) -> Iterator[Any]:
    return (value.as_py() for chunk in column.chunks for value in chunk if value.is_valid)
