"""The fit itself on made-up features: losses by hand, learning, and a real kill in the middle."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vsspark.config import TrainingConfig
from vsspark.training.features import Features

REPO = Path(__file__).parents[2]


def made_up(products: int, seed: int) -> Features:
    """Products of three pictures and two views in four categories, 20 noisy numbers each."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(products), 3)
    category = product % 4
    centre = np.random.default_rng(99).normal(size=(4, 20))[category] + 0.7 * rng.normal(size=(products, 20))[product]
    views = centre[:, None] + 0.8 * rng.normal(size=(len(product), 2, 20))
    return Features(views.astype(np.float16), product.astype(np.int64), category.astype(np.int32))


def settings(**changed) -> TrainingConfig:
    return TrainingConfig(
        **({"embedding_dim": 12, "batch_size": 30, "epochs": 4, "patience": 99, "learning_rate": 1e-3} | changed)
    )


def run(folder: Path, **changed):
    from vsspark.training.heads import fit_heads

    return fit_heads(made_up(60, 0), made_up(20, 1), np.ones(4, np.float32), settings(**changed), folder)


def test_the_pair_loss_by_hand():
    from vsspark.training.losses import pair_loss

    a, b = [1.0, 0.0], [0.6, 0.8]
    embedding = np.array([a, a, b, b], np.float32)
    product, even = np.array([0, 0, 1, 1]), np.ones(4, np.float32)
    same, other = math.exp(1.0 / 0.5), math.exp(0.6 / 0.5)
    for hard in (1.0, 3.0):
        by_hand = -math.log(same / (same + 2 * hard * other))
        assert float(pair_loss(embedding, product, even, 0.5, (np.array([5, 5, 5, 5]), hard))) == pytest.approx(
            by_hand, rel=1e-5
        )
        # Without a category nothing is hard.
        unknown = pair_loss(embedding, product, even, 0.5, (np.array([-1, -1, -1, -1]), hard))
        assert float(unknown) == pytest.approx(-math.log(same / (same + 2 * other)), rel=1e-5)
    # The last two have no partner: their own loss is 0, and a weight of 0 takes them out of the mean.
    lone = np.array([0, 0, 1, 2])
    by_hand = -math.log(same / (same + 2 * other))
    assert float(pair_loss(embedding, lone, even, 0.5)) == pytest.approx(by_hand / 2, rel=1e-5)
    for paired in (np.array([1, 1, 0, 0], np.float32), None):
        assert float(pair_loss(embedding, lone, paired, 0.5)) == pytest.approx(by_hand, rel=1e-5)


def test_the_category_loss_by_hand():
    from vsspark.training.fit import class_weights
    from vsspark.training.losses import category_loss

    probabilities = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]], np.float32)
    loss = category_loss(probabilities, np.array([0, 1, -1]), np.array([1.0, 2.0], np.float32), 0.0)
    assert float(loss) == pytest.approx((-math.log(0.8) - 2 * math.log(0.7)) / 2, rel=1e-5)
    weights = class_weights(np.array([400, 100]), settings())
    assert weights[1] / weights[0] == pytest.approx(2)
    assert (weights * [0.8, 0.2]).sum() == pytest.approx(1)


@pytest.mark.parametrize("recipe", ["two_headed", "transfer"])
def test_the_heads_learn(tmp_path, recipe):
    # The published recipe has a rate of its own.
    fast = {"learning_rate": 1e-2, "epochs": 8} if recipe == "two_headed" else {}
    heads, progress = run(tmp_path, recipe=recipe, **fast)
    first, best = progress.history[0], max(progress.history, key=lambda epoch: epoch["held_out"])
    assert progress.best == best["held_out"] > first["held_out"]
    assert best["top1"] > 0.8
    embedding = heads(made_up(20, 1).views[:, 0].astype(np.float32))[0].numpy()
    if recipe == "transfer":
        assert heads.get_layer("fc1").units == embedding.shape[1] == 4096
    else:
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    again = run(tmp_path, recipe=recipe, **fast)[1]
    assert again.history == progress.history  # finished: taken as it is


@pytest.mark.parametrize(("recipe", "epochs"), [("two_headed", 0), ("two_headed", 2), ("transfer", 4)])
def test_the_last_heads_have_learnt_from_the_held_out_products_too(tmp_path, recipe, epochs):
    """Category 3 is among the held-out products alone: who has not learnt from them never predicts it."""
    from vsspark.training.heads import fit_heads, refit_heads

    everything, config = made_up(80, 0), settings(recipe=recipe)
    held = (everything.category == 3) | (everything.product < 12)
    train, validation = (Features(*(column[rows] for column in everything)) for rows in (~held, held))
    weights = np.ones(4, np.float32)
    heads, _ = fit_heads(train, validation, weights, config, tmp_path)
    last = refit_heads(everything, weights, config, tmp_path, epochs)
    unseen = made_up(80, 1)
    before, after = (each(unseen.views[:, 0].astype(np.float32))[1].numpy().argmax(1) for each in (heads, last))
    assert (after[unseen.category == 3] == 3).mean() > 0.6
    # The published recipe begins by lot, and may stay there where the held-out products are all it is judged by.
    if recipe == "two_headed":
        assert not (before == 3).any()


@pytest.mark.parametrize("products", [2, 3, 9])
def test_a_handful_of_products_is_enough_to_start_from(tmp_path, products):
    from vsspark.training.heads import fit_heads

    train = made_up(products, 0)
    train.category[3:] = -1  # all that is known of categories is of one product
    heads, progress = fit_heads(train, made_up(2, 1), np.ones(4, np.float32), settings(epochs=1), tmp_path)
    assert np.isfinite(progress.best)
    assert np.isfinite(heads(train.views[:, 0].astype(np.float32))[0].numpy()).all()


def test_shares_are_chosen_by_products_left_out_in_turns():
    from vsspark.training import heads

    train, few, many = made_up(30, 0), made_up(4, 1), made_up(200, 2)
    assert [len(unseen.product) for _, unseen in heads._folds(train, many, 0)] == [600]
    (_, first), *parts = heads._folds(train, few, 0)
    assert len(first.product) == 12
    assert sorted(np.concatenate([unseen.product for _, unseen in parts])) == sorted(train.product)
    for seen, unseen in parts:
        assert not set(seen.product) & set(unseen.product)
        assert len(seen.product) + len(unseen.product) == 90


def test_a_killed_fit_ends_where_one_that_was_not_killed_ends(tmp_path):
    straight = run(tmp_path / "a", epochs=30)[1]
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_fit_and_heads as t; "
        "from pathlib import Path; t.run(Path(sys.argv[1]), epochs=30)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "b")], env=os.environ | {"PYTHONPATH": str(REPO)}
    )
    last = tmp_path / "b" / "last.npz"
    while process.poll() is None and _epoch(last) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "b" / "fitted.npz").exists()
    resumed = run(tmp_path / "b", epochs=30)[1]
    assert [epoch["epoch"] for epoch in resumed.history] == list(range(31))
    # Sums run in another order on every run with more than one thread.
    np.testing.assert_allclose(
        [e["loss"] for e in resumed.history[1:]], [e["loss"] for e in straight.history[1:]], rtol=1e-3
    )


def _epoch(file: Path) -> int:
    if not file.exists():
        return -1
    with np.load(file) as saved:
        return json.loads(str(saved["progress"]))["epoch"]
