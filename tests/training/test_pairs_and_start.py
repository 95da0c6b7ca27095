"""Pairs and the closed-form start, against what can be counted by hand."""

from __future__ import annotations

import numpy as np

from vsspark.training.pairs import VIEW_WEIGHT, draw_pairs, pair_weights
from vsspark.training.start import discriminant, discriminant_parts, once_each, principal, weigh_parts


def test_every_row_is_an_anchor_once_and_its_positive_is_another_of_its_product():
    product = np.array([7, 7, 7, 5, 9, 9, 7])
    seen = set()
    for seed in range(60):
        anchor, positive = draw_pairs(product, np.random.default_rng(seed))
        assert sorted(anchor.tolist()) == list(range(7))
        assert (product[anchor] == product[positive]).all()
        # The one product with a single picture.
        assert {row for row in range(7) if positive[anchor == row] == row} == {3}
        seen |= set(zip(anchor.tolist(), positive.tolist(), strict=True))
    assert len(seen) == 4 * 3 + 2 * 1 + 1  # every possible pair comes up
    one, other = (draw_pairs(product, np.random.default_rng(seed))[0].tolist() for seed in (1, 2))
    assert one != other


def test_the_discriminant_finds_the_one_direction_that_tells_classes_apart():
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 40)
    x = rng.normal(0, 5, (120, 10)).astype(np.float32)
    x[:, 4] = label * 2 + rng.normal(0, 0.1, 120)  # the least of all variances
    x -= x.mean(0)
    found = discriminant(x, label, 8, shrink=0.0)
    assert found.shape == (10, 2)  # classes less one
    assert abs(found[:, 0]).argmax() == 4
    assert abs(principal(x, 1)[4, 0]) < 0.1  # plain variance does not see it


def test_fewer_rows_than_features_give_the_same_distances_as_the_whole_space():
    rng = np.random.default_rng(1)
    x, label = rng.normal(size=(12, 40)).astype(np.float32), np.repeat(np.arange(4), 3)
    x -= x.mean(0)
    few = x @ discriminant(x, label, 8, shrink=0.6)
    padded = np.concatenate([x, np.zeros((100, 40), np.float32)])  # more rows than features: the other branch
    assert few.shape == (12, 3)
    assert np.isfinite(padded @ discriminant(x, label, 8, shrink=0.6)).all()
    # 12 centred rows span 11 dimensions.
    np.testing.assert_allclose(x @ principal(x, 11) @ principal(x, 11).T, x, atol=1e-4)


def test_weighted_rows_are_centred_by_their_weights():
    rng = np.random.default_rng(4)
    label, whole = np.repeat(np.arange(20), 4), np.arange(80) % 4 == 0
    x = rng.normal(0, 0.1, (80, 6)).astype(np.float32)
    x[:, 0] += label % 5
    x[:, 1] += 3 * whole  # tells whole pictures from parts, and no product from another
    weight = np.where(whole, 3.0, 1.0)
    found = discriminant(x - x.mean(0), label, 2, 0.0, weight)
    assert abs(found[1, 0]) < 0.02 * abs(found[0, 0])
    spread = np.array([(x @ found[:, :1])[label == each].mean() for each in range(20)])
    assert np.ptp(spread) > 3


def test_a_row_of_weight_two_counts_as_two_rows():
    rng = np.random.default_rng(3)
    x, label = rng.normal(size=(60, 5)).astype(np.float32), np.repeat(np.arange(6), 10)
    weight = np.where(np.arange(60) % 3 == 0, 2.0, 1.0)
    rows = np.repeat(np.arange(60), weight.astype(int))
    twice, weighed = discriminant(x[rows], label[rows], 5, shrink=0.3), discriminant(x, label, 5, 0.3, weight)
    # An axis may point either way.
    np.testing.assert_allclose(np.abs(x @ weighed), np.abs(x @ twice), rtol=1e-3, atol=1e-4)
    assert not np.allclose(np.abs(x @ discriminant(x, label, 5, 0.3)), np.abs(x @ twice), rtol=1e-2, atol=1e-2)


def test_pictures_of_a_product_that_are_nearly_the_same_count_once():
    front, back, other = np.eye(3, 8)
    x = np.stack([front, back, front * 1.1, other, front, other + 0.05])
    product = np.array([4, 4, 4, 9, 4, 7])  # the last two look the same and are two products
    np.testing.assert_allclose(once_each(x.astype(np.float16), product), [1 / 3, 1, 1 / 3, 1, 1 / 3, 1])


def test_the_start_has_three_parts_of_the_asked_lengths():
    rng = np.random.default_rng(2)
    product = np.repeat(np.arange(30), 4)
    category = np.where(product % 5 == 4, -1, product % 5)
    x = (rng.normal(size=(30, 50))[product] + rng.normal(size=(120, 50)) + 3).astype(np.float32)
    parts = discriminant_parts(x, product, category, 24)
    assert [part.shape for part in parts] == [(50, 3), (50, 8), (50, 13)]
    kernel, bias = weigh_parts(x, parts, (0.25, 0.35, 0.4), 24)
    projected = x @ kernel + bias
    np.testing.assert_allclose(projected.mean(0), 0, atol=1e-4)
    length = np.square(projected).mean(0)
    np.testing.assert_allclose([length[:3].sum(), length[3:11].sum(), length[11:].sum()], [0.25, 0.35, 0.4], rtol=1e-3)


def test_two_views_of_one_picture_count_less():
    np.testing.assert_allclose(pair_weights(np.array([0, 1, 2]), np.array([1, 0, 2])), [1, 1, VIEW_WEIGHT])
