"""What Spark writes and Petastorm reads back: every picture once, under its own 64-bit id, whoever reads."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vsspark.config import ImagesConfig, TrainingConfig
from vsspark.errors import ConfigError
from vsspark.images.decode import decode_image

SIDE = 48


@pytest.fixture(scope="module")
def shop(spark, tmp_path_factory):
    """Twelve products of two pictures, one broken file, and the training set made of them."""
    from vsspark.training.spark import decode_pictures, training_rows, write_training_set

    folder = tmp_path_factory.mktemp("training") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(24):
        file = folder / f"{index}.png"
        cv2.imwrite(str(file), cv2.resize(rng.integers(0, 255, (4, 4, 3), np.uint8), (60, 90)))
        rows.append((2**62 + index, f"P{index // 2}", str(file), ("hat", "shoe", None)[index // 2 % 3], None))
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append((1, "P0", str(folder / "broken.png"), "hat", None))
    images = spark.createDataFrame(rows, "image_id long, product_id string, uri string, category string, box string")
    decoded = decode_pictures(images, SIDE, ImagesConfig(), {}).cache()
    config = TrainingConfig(holdout=0.3)
    target = f"{folder.parent}/set"
    write_training_set(spark, training_rows(images, decoded, len(rows), ["hat", "shoe"], config), target, SIDE)
    return rows, decoded.collect(), target


def test_refusals_have_their_reason(shop):
    _, decoded, _ = shop
    assert [(row.image_id, row.stage, row.reason) for row in decoded if row.reason] == [(1, "decode", "not_an_image")]
    assert len(decoded) == 25


def test_more_workers_than_pictures_are_refused(shop):
    from vsspark.training.reader import check_shares

    _, _, target = shop
    check_shares(target, 2)
    with pytest.raises(ConfigError, match=r"TF_CONFIG: 40 workers, but .* has fewer row groups than that"):
        check_shares(target, 40)


def test_a_worker_whose_share_is_all_held_out_is_refused(spark, tmp_path):
    from vsspark.training.reader import check_shares
    from vsspark.training.spark import encode_picture, write_training_set

    picture = encode_picture(np.zeros((SIDE, SIDE, 3), np.uint8))
    rows = [(i, i, f"P{i}", 0, "train" if i < 2 else "validation", picture) for i in range(4)]
    schema = "image_id long, product long, product_id string, category int, split string, picture binary"
    write_training_set(
        spark, spark.createDataFrame(rows, schema).repartitionByRange(2, "split"), f"{tmp_path}/set", SIDE
    )
    check_shares(f"{tmp_path}/set", 1)
    with pytest.raises(
        ConfigError, match=r"TF_CONFIG: 2 workers, but all pictures of .* that worker [01] would read are held out"
    ):
        check_shares(f"{tmp_path}/set", 2)


def test_every_picture_is_read_back_once(shop):
    from vsspark.training.reader import decode_picture, read_groups

    rows, _, target = shop
    source = {row[0]: row for row in rows}
    seen, products = [], {}
    for split in ("train", "validation"):
        for group in read_groups(target, split):
            seen += group.image_id.tolist()
            for image_id, product, category, picture in zip(*group, strict=True):
                _, product_id, uri, name, _ = source[int(image_id)]
                products.setdefault(product_id, set()).add((split, int(product)))
                assert category == {"hat": 0, "shoe": 1, None: -1}[name]
                stored, original = (
                    decode_picture(picture),
                    decode_image(Path(uri).read_bytes(), (SIDE, SIDE), ImagesConfig()),
                )
                assert np.abs(stored.astype(int) - original).mean() < 6  # JPEG's loss
    assert sorted(seen) == sorted(set(source) - {1})
    assert all(len(places) == 1 for places in products.values())  # split by product
    assert {split for places in products.values() for split, _ in places} == {"train", "validation"}


def test_petastorms_own_row_reader_reads_it_too(shop):
    from petastorm import make_reader

    with make_reader(f"file://{shop[2]}", reader_pool_type="dummy", num_epochs=1) as reader:
        rows = list(reader)
    assert len(rows) == 24
    assert {row.picture.shape for row in rows} == {(SIDE, SIDE, 3)}


def test_pairs_are_views_of_one_product_and_the_same_in_every_run(shop):
    from vsspark.training.reader import pair_dataset

    def first(epoch: int):
        (anchors, positives), (product, category, weight) = next(
            iter(pair_dataset(shop[2], TrainingConfig(side=32, seed=3), 8, epoch))
        )
        assert anchors.shape == positives.shape == (8, 32, 32, 3)
        assert product.shape == category.shape == (8,)
        assert (weight.numpy() == 1).all()  # every product has two pictures
        return {int(p): a.tobytes() for p, a in zip(product, anchors.numpy(), strict=True)}

    one, again, other = first(0), first(0), first(1)
    common = one.keys() & again.keys()
    assert common
    assert all(one[p] == again[p] for p in common)
    assert one != other


def test_features_of_whole_pictures_are_those_the_finished_encoder_will_see(shop, tmp_path, monkeypatch):
    import keras

    from vsspark.encoders.export import export
    from vsspark.training.features import compute_features
    from vsspark.training.networks import with_mirror_image
    from vsspark.training.reader import decode_picture, read_groups

    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    rgb = keras.Input((SIDE, SIDE, 3))
    trunk = keras.Model(
        rgb, keras.layers.Flatten()(keras.layers.MaxPooling2D(16)(keras.layers.Conv2D(5, 3, padding="same")(rgb / 255)))
    )
    exported = export("trunk", "tiny", trunk, None)
    pictures = np.stack(
        [decode_picture(data) for group in read_groups(shop[2], "train") for data in group.picture]
    ).astype(np.float32)
    for flip in (False, True, False):  # each is kept apart from the other
        found = compute_features(shop[2], "train", 3, exported, TrainingConfig(side=SIDE, flip=flip))
        assert found.views.shape == (len(pictures), 3, trunk.output_shape[1])
        np.testing.assert_allclose(found.views[:, 0], with_mirror_image(trunk, flip)(pictures).numpy(), atol=2e-3)
        assert np.abs(found.views[:, 1].astype(np.float32) - found.views[:, 0]).max() > 0.05


def test_random_views_stand_before_other_backgrounds_where_asked():
    from vsspark.training.reader import picture_views
    from vsspark.training.spark import encode_picture

    picture = np.full((96, 72, 3), 250, np.uint8)
    picture[16:80, 20:52] = (30, 60, 160)
    data = encode_picture(picture)
    whole, *plain = picture_views(data, 5, 60, TrainingConfig(side=SIDE, seed=1))
    same, *moved = picture_views(data, 5, 60, TrainingConfig(side=SIDE, seed=1, backgrounds=0.5))
    np.testing.assert_array_equal(whole, same)  # the whole picture is as it is
    uncoloured = [
        sum(((view.min(2) > 120) & (np.ptp(view, 2) < 14)).mean() > 0.15 for view in views) for views in (plain, moved)
    ]
    assert uncoloured[0] > 50
    # Half stay, and two in five of the new ones are white or grey too.
    assert 0.5 * uncoloured[0] < uncoloured[1] < 0.9 * uncoloured[0]
    # The garment is in all of them.
    assert all((view[:, :, 2].astype(int) - view[:, :, 0] > 60).mean() > 0.05 for view in moved)


def test_only_the_commonest_categories_are_learnt_from(spark, tmp_path):
    from vsspark.config import load_config
    from vsspark.training.cluster import Cluster
    from vsspark.training.reader import read_groups
    from vsspark.training.training_set import prepare_training_set

    lines, rng = ["sku,photo,kind"], np.random.default_rng(1)
    for index in range(30):
        cv2.imwrite(str(tmp_path / f"{index}.png"), rng.integers(0, 255, (40, 40, 3), np.uint8))
        lines.append(f"P{index},{index}.png,{'hat' if index < 14 else 'shoe' if index < 26 else 'sock'}")
    (tmp_path / "catalogue.csv").write_text("\n".join([*lines, ""]))
    sets = [
        f"catalogue.table={tmp_path}/catalogue.csv",
        "catalogue.columns.product_id=sku",
        "catalogue.columns.image=photo",
        "catalogue.columns.category=kind",
    ]
    sets += [
        f"training.path={tmp_path}/set",
        f"training.stored_side={SIDE}",
        "training.holdout=0.3",
        "training.top_categories=2",
    ]
    written = prepare_training_set(spark, load_config(None, sets), "run", Cluster())
    assert written.categories == ("hat", "shoe")
    groups = [group for split in ("train", "validation") for group in read_groups(written.folder, split)]
    assert sum(len(group.product) for group in groups) == 26
    assert {int(category) for group in groups for category in group.category} == {0, 1}
