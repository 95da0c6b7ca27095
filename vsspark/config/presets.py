"""What `catalogue.preset` sets: the columns of feeds whose form is public. A key that is given as well wins."""

from __future__ import annotations

from typing import Any

# By preset: keys of `catalogue`. Sources: Shopify "Using CSV files to import and export products", Adobe Commerce
# "Product attributes CSV", WooCommerce "Product CSV Import Schema", Google Merchant "Product data specification".
PRESETS: dict[str, dict[str, Any]] = {
    "shopify": {
        "columns": {
            "product_id": "Handle", "image": "Image Src", "name": "Title", "category": "Type",
            "price": "Variant Price", "in_stock": "Variant Inventory Qty", "brand": "Vendor",
        },
        "more_images": ["Variant Image"],
        "csv": {"separator": ","},
    },
    "magento": {
        "columns": {
            "product_id": "sku", "image": "base_image", "name": "name", "category": "categories", "price": "price",
            "in_stock": "is_in_stock",
        },
        "more_images": ["additional_images"],
        "image_separator": ",",
        "leading_slash": "images_root",
    },
    "woocommerce": {
        "columns": {
            "product_id": "ID", "image": "Images", "name": "Name", "category": "Categories", "price": "Regular price",
            "in_stock": "In stock?", "brand": "Brands",
        },
        "image_separator": ",",
    },
    "google_merchant": {
        "columns": {
            "product_id": "id", "image": "image_link", "name": "title", "category": "product_type", "price": "price",
            "in_stock": "availability", "brand": "brand", "group": "item_group_id",
        },
        "more_images": ["additional_image_link"],
        "image_separator": ",",
    },
}  # fmt: skip

# Other names of the same column, of newer exports and other spellings; the first that a feed has is taken.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "Handle": ("URL handle",),
    "Image Src": ("Product image URL",),
    "Variant Price": ("Price",),
    "Variant Inventory Qty": ("Inventory quantity",),
    "Variant Image": ("Variant image URL",),
    "Type": ("Product category", "Product Category"),
    "base_image": ("image",),
    "is_in_stock": ("qty",),
    "In stock?": ("Stock",),
    "Regular price": ("Sale price",),
    "image_link": ("image link", "g:image_link"),
    "additional_image_link": ("additional image link", "g:additional_image_link"),
    "product_type": ("product type", "google_product_category", "google product category", "g:product_type"),
    "id": ("g:id",),
    "title": ("g:title",),
    "price": ("g:price",),
    "availability": ("g:availability",),
    "brand": ("g:brand",),
    "item_group_id": ("item group id", "g:item_group_id"),
    "Brands": ("Brand",),
}


def with_preset(given: Any) -> Any:
    """The keys of a `catalogue` section with those of its preset below them."""
    preset = (
        PRESETS.get(given.get("preset")) if isinstance(given, dict) and isinstance(given.get("preset"), str) else None
    )
    if preset is None:
        return given
    merged = dict(given)
    for key, value in preset.items():
        if isinstance(value, dict):
            own = given.get(key)
            merged[key] = {**value, **own} if isinstance(own, dict) else value if own is None else own
        elif given.get(key) is None:
            merged[key] = value
    return merged
