"""The generated catalogue's truth: each product from its index alone, photos as promised."""

from __future__ import annotations

from collections import Counter

from vsspark.demo.products import (
    BACKGROUNDS,
    COLOURS,
    DAMAGES,
    FAMILY_SIZE,
    KINDS,
    PATTERNS,
    VIEWS,
    photo_specs,
    product_spec,
)


def test_a_product_depends_on_seed_and_index_alone():
    first = product_spec(7, 123)
    for other in range(40):  # other products made in between change nothing
        product_spec(7, other)
    assert product_spec(7, 123) == first
    assert product_spec(8, 123) != first
    assert photo_specs(product_spec(7, 123)) == photo_specs(first)


def test_products_are_what_the_lists_allow():
    products = [product_spec(7, i) for i in range(800)]
    assert Counter(p.kind for p in products) == dict.fromkeys(KINDS, 80)
    assert {p.pattern for p in products} == set(PATTERNS)
    assert {p.colour for p in products} == set(COLOURS)
    assert len({p.product_id for p in products}) == 800
    assert all(p.price > 0 for p in products)
    assert 0.8 < sum(p.in_stock for p in products) / 800 < 0.98


def test_families_are_near_relatives_in_other_colours():
    for family in range(60):
        members = [product_spec(7, family * FAMILY_SIZE + i) for i in range(FAMILY_SIZE)]
        assert {p.family for p in members} == {family}
        assert len({(p.kind, p.variant, p.pattern) for p in members}) == 1
        assert len({p.colour for p in members}) == FAMILY_SIZE
        assert max(p.fit for p in members) - min(p.fit for p in members) < 0.5


def test_every_product_has_three_to_six_photos_the_first_a_good_front():
    photos = [photo_specs(product_spec(7, i)) for i in range(500)]
    assert {len(p) for p in photos} == {3, 4, 5, 6}
    for product in photos:
        assert [photo.position for photo in product] == list(range(len(product)))
        assert product[0].view == "front"
        assert product[0].damage is None
    assert {photo.view for p in photos for photo in p} == set(VIEWS)
    assert {photo.background for p in photos for photo in p} == set(BACKGROUNDS)


def test_about_one_photo_in_a_hundred_is_damaged_in_every_way_there_is():
    photos = [photo for i in range(3000) for photo in photo_specs(product_spec(7, i))]
    damaged = [photo.damage for photo in photos if photo.damage]
    assert 0.006 < len(damaged) / len(photos) < 0.014
    assert set(damaged) == set(DAMAGES)
    assert not any(photo.damage for i in range(200) for photo in photo_specs(product_spec(7, i), damaged_share=0.0))
