"""What headers of real feeds are taken for."""

from __future__ import annotations

import pytest

from vsspark.catalogue.column_names import words_of
from vsspark.catalogue.guess import Sample, fitting_preset, further_images, image_separator, likely_columns
from vsspark.catalogue.images_root import find_images_root
from vsspark.config.presets import PRESETS

FEEDS = {
    # header -> columns by role, in the order product_id, image, name, category, price, in_stock
    "id,gender,masterCategory,subCategory,articleType,baseColour,season,productDisplayName,filename":
        ("id", "filename", "productDisplayName", "masterCategory", None, None),
    "uniq_id,pid,product_name,product_category_tree,retail_price,image,brand":
        ("pid", "image", "product_name", "product_category_tree", "retail_price", None),
    "Artikelnummer;Titel;Produktgruppe;VK-Preis;Bild-URL;Verfügbarkeit":
        ("Artikelnummer", "Bild-URL", "Titel", "Produktgruppe", "VK-Preis", "Verfügbarkeit"),
    "référence;nom;catégorie;prix TTC;disponibilité;lien photo":
        ("référence", "lien photo", "nom", "catégorie", "prix TTC", "disponibilité"),
    "SKU|Item Name|Department|Price (USD)|Qty|ImageURL":
        ("SKU", "ImageURL", "Item Name", "Department", "Price (USD)", "Qty"),
    "product;image;name;category;price": ("product", "image", "name", "category", "price", None),
}  # fmt: skip
ROLES = ("product_id", "image", "name", "category", "price", "in_stock")


def _sample(**columns):
    return Sample(list(columns), list(zip(*columns.values(), strict=True)))


@pytest.mark.parametrize("header", FEEDS)
def test_headers(header):
    names = next(header.split(c) for c in ";|," if c in header)
    row = [f"{i}.jpg" if name in FEEDS[header][1:2] else str(i) for i, name in enumerate(names)]
    sample = Sample(names, [tuple(row)])
    assert tuple(next(iter(likely_columns(role, sample)), None) for role in ROLES) == FEEDS[header]
    assert fitting_preset(names) is None


@pytest.mark.parametrize("preset", PRESETS)
def test_the_header_of_each_preset(preset):
    names = [*PRESETS[preset]["columns"].values(), "another"]
    assert fitting_preset(names) == preset
    assert fitting_preset(names[2:]) is None


def test_texts_tell_pictures_from_links_and_counts():
    sample = _sample(
        image_count=["3", "4"],
        url=["https://shop.example/p/1", "https://shop.example/p/2"],
        shot=["a/1.jpg", "a/2.PNG?w=300"],
    )
    assert likely_columns("image", sample) == ["shot"]


def test_an_id_column_that_is_mostly_empty_comes_last():
    assert likely_columns("product_id", _sample(sku=["A", None, "", None], id=["1", "2", "3", "4"])) == ["id", "sku"]


def test_a_feed_without_rows_is_taken_by_its_names():
    assert likely_columns("image", Sample(["sku", "image", "url"], [])) == ["image"]


def test_further_images_are_other_pictures():
    sample = _sample(
        image=["a.jpg", "b.jpg"], image_2=["c.jpg", None], small_image=["s.jpg", "t.jpg"], base_image=["a.jpg", "b.jpg"]
    )
    assert further_images("image", sample) == ["image_2"]


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["a.jpg|b.jpg", "c.jpg"], "|"),
        (["https://x.example/a.jpg, https://x.example/b.jpg"], ","),
        (["https://x.example/w_100,h_100/a.jpg"], None),
        (["red, blue.jpg"], None),
        (['["a.jpg", "b.jpg"]'], None),
        (["a.jpg"], None),
        ([], None),
    ],
)
def test_separators_of_image_lists(cells, separator):
    assert image_separator(cells) == separator


def test_boxes_are_four_numbers():
    assert likely_columns("box", _sample(box=["1 2 3 4", "(5, 6, 7, 8)"], bbox=["1", "2"])) == ["box"]


def test_words():
    assert words_of("g:imageURL_2 (Größe)") == ["g", "image", "url", "2", "große"]


def test_the_folder_of_the_pictures(tmp_path):
    (tmp_path / "media" / "p").mkdir(parents=True)
    (tmp_path / "media" / "p" / "a.jpg").touch()
    folder = str(tmp_path)
    for names in (["p/a.jpg", "p/b.jpg"], ["/p/a.jpg"]):
        assert find_images_root(names, folder, None, {})[:2] == (f"{folder}/media", True)
    assert find_images_root([f"{folder}/media/p/a.jpg"], folder, None, {})[:2] == (None, True)
    assert find_images_root(["q.jpg"], folder, None, {})[:2] == (None, False)
    assert find_images_root(["q.jpg"], folder, "there", {}) == ("there", True, "0 of the first 1 pictures are there")
    assert find_images_root(["q.jpg"], None, None, {})[:2] == (None, False)
    assert find_images_root(["s3a://shop/a.jpg"], None, None, {})[:2] == (None, True)
    assert "fetched from the web" in find_images_root(["https://x.example/a.jpg"], folder, None, {}).note
