"""A registered encoder, as MLflow shows it and as the main job's loader takes it."""

from __future__ import annotations

import numpy as np
import pytest

from vsspark import encoders
from vsspark.config import load_config
from vsspark.errors import ConfigError


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_config(
        None, ["training.register_as=shop", "training.seed=5", f"mlflow.tracking_uri=sqlite:///{tmp_path}/mlflow.db"]
    )


def fitted(flip: bool):
    """A trunk, heads behind it, and the encoder made of both."""
    import keras

    from vsspark.training.networks import build_encoder, build_heads

    keras.utils.set_random_seed(2)
    rgb = keras.Input((32, 24, 3))
    trunk = keras.Model(
        rgb, keras.layers.Flatten()(keras.layers.MaxPooling2D(8)(keras.layers.Conv2D(4, 3, padding="same")(rgb / 255)))
    )
    heads = build_heads(trunk.output_shape[1], 2, load_config().training)
    return trunk, heads, build_encoder(trunk, heads, flip)


def test_the_main_jobs_loader_takes_what_was_registered(config):
    import mlflow

    from vsspark.training.networks import Mixture, build_encoder
    from vsspark.training.register import Outcome, register

    # Every layer a finished encoder may have.
    network = build_encoder(*fitted(flip=True)[:2], True, Mixture(roots=0.5, colour=0.1))
    confusion = np.array([[3, 1], [0, 2]])
    curves = {"heads": [{"epoch": 0, "held_out": 0.5}, {"epoch": 1, "loss": 2.0, "held_out": 0.75}]}
    outcome = Outcome({"minutes": "0.1"}, curves, {"top1": 0.8}, confusion)
    for version in (1, 2):
        assert register(network, ("hat", "shoe"), config, outcome) == "models:/shop@live"
        assert mlflow.MlflowClient().get_model_version_by_alias("shop", "live").version == version
    found = mlflow.models.get_model_info("models:/shop@live")
    assert found.metadata == {"categories": ["hat", "shoe"]}
    assert found.saved_input_example_info["type"] == "ndarray"
    assert [spec.name for spec in found.signature.outputs.inputs] == ["embedding", "probabilities"]
    run = mlflow.get_run(found.run_id)
    assert run.data.params["seed"] == "5"
    assert run.data.metrics["top1"] == 0.8
    assert [point.value for point in mlflow.MlflowClient().get_metric_history(found.run_id, "heads.held_out")] == [
        0.5,
        0.75,
    ]
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/confusion_matrix.csv").splitlines() == [
        "true \\ predicted,hat,shoe",
        "hat,3,1",
        "shoe,0,2",
    ]

    loaded = encoders.load("models:/shop@live")
    assert loaded.categories == ("hat", "shoe")
    assert loaded.model_version.startswith("shop.v2-")
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 24, 3), np.uint8)
    expected = network.predict(images.astype(np.float32), verbose=0)
    for ours, keras_own in zip(loaded.encode(images), expected, strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=1e-4)


def test_an_encoder_that_sees_the_mirror_image_too_cannot_tell_them_apart():
    images = np.random.default_rng(1).uniform(0, 255, (3, 32, 24, 3)).astype(np.float32)
    for flip, alike in ((True, True), (False, False)):
        embedding, mirrored = (fitted(flip)[2](given)[0].numpy() for given in (images, images[:, :, ::-1]))
        assert np.allclose(embedding, mirrored, atol=1e-5) == alike


def test_what_stands_beside_the_embedding_has_its_share_of_the_cosine():
    from vsspark.encoders.parts import colour_histogram
    from vsspark.training.networks import Mixture, build_encoder

    trunk, heads, plain = fitted(False)
    images = np.random.default_rng(2).uniform(0, 255, (5, 32, 24, 3)).astype(np.float32)
    images[1], images[2] = images[0] + 4, images[0] + 12  # nearly and hardly the colours of the first
    embedding, probabilities = (output.numpy() for output in plain(images))
    roots, colours = np.sqrt(probabilities), np.asarray(colour_histogram(images))
    beside_roots = build_encoder(trunk, heads, False, Mixture(roots=0.5))(images)[0].numpy()
    np.testing.assert_allclose(
        beside_roots @ beside_roots.T, (embedding @ embedding.T + 0.25 * roots @ roots.T) / 1.25, atol=1e-5
    )
    whole = build_encoder(trunk, heads, False, Mixture(roots=0.5, colour=0.6))(images)[0].numpy()
    expected = (embedding @ embedding.T + 0.25 * roots @ roots.T + 0.6 * np.exp((colours @ colours.T - 1) / 0.1)) / 1.85
    assert expected[0, 1] - expected[0, 3] > 0.1
    np.testing.assert_allclose(whole @ whole.T, expected, atol=0.07)


def test_colours_stand_beside_the_embedding_where_there_is_a_product_to_be_found():
    from vsspark.training.judge import choose_mixture

    rng = np.random.default_rng(6)
    product = np.repeat(np.arange(40), 2)
    category, probabilities = np.zeros(80, int), np.ones((80, 1))
    blind, knows = rng.normal(size=(80, 6)), np.eye(40)[product]
    blind /= np.linalg.norm(blind, axis=1, keepdims=True)
    # A colour a product; the colour of another product's picture.
    own, wrong = np.eye(40)[product], np.eye(40)[(np.arange(80) + 1) // 2 % 40]
    hardly = np.hstack([np.full((80, 1), 4.0), knows]) / 17**0.5  # cosines of 1 and .94
    assert choose_mixture(blind, probabilities, own, product, category).colour > 0
    assert choose_mixture(knows, probabilities, own, product, category).colour > 0  # does no harm
    assert choose_mixture(hardly, probabilities, wrong, product, category).colour == 0
    assert choose_mixture(blind, probabilities, own, np.arange(80), category).colour == 0  # one picture a product


def test_roots_are_as_long_as_the_held_out_pictures_want_them():
    from vsspark.training.judge import choose_mixture, figures_of

    def weigh_roots(embedding, *rest):
        return choose_mixture(embedding, probabilities, np.ones((80, 1)), *rest).roots

    rng = np.random.default_rng(5)
    product = np.repeat(np.arange(40), 2)
    category = product % 2
    probabilities = np.where(category[:, None] == [0, 1], 0.95, 0.05)
    blind = rng.normal(size=(80, 6))  # knows nothing: the probabilities are all there is
    assert weigh_roots(blind / np.linalg.norm(blind, axis=1, keepdims=True), product, category) == 1.0
    knows = np.eye(40)[product]  # every product is a direction of its own: nothing to be gained
    assert weigh_roots(knows, product, category) == 0.0
    noisy = knows + 0.25 * np.random.default_rng(0).normal(size=knows.shape)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    half, whole = (
        figures_of(np.hstack([noisy, length * np.sqrt(probabilities)]), probabilities, product, category)["held_out"]
        for length in (0.5, 1.0)
    )
    assert 0 < whole - half < 0.04  # less than chance, among 80 pictures
    assert weigh_roots(noisy, product, category) == 0.5
    figures = figures_of(np.eye(80)[:, :3] + knows[:, :3], probabilities, product, category)
    assert figures["held_out"] == pytest.approx(
        ((figures["top1"] + figures["category_at_1"]) / 2 + figures["product_at_1"]) / 2
    )


def test_calibration_turns_confidence_down_to_what_is_right():
    import keras

    from vsspark.evaluation.calibration import calibration_error
    from vsspark.training.judge import set_temperature, temperature_of

    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 2000)
    x = ((2 * label - 1)[:, None] * 0.5 + rng.normal(size=(2000, 1))).astype(np.float32)
    head = keras.layers.Dense(2, activation="softmax")
    head.build((None, 1))
    head.set_weights([np.array([[-2.0, 2.0]]), np.zeros(2)])  # right with 69 %, sure of itself
    before = head(x).numpy()
    set_temperature(head, temperature_of(before, label))
    assert calibration_error(before, label) > 0.1
    assert calibration_error(head(x).numpy(), label) < 0.05
    assert temperature_of(before, np.full(2000, -1)) == 1.0


def test_bands_are_means_over_rows_of_the_map():
    import keras

    from vsspark.training.networks import build_trunk

    # Its last map has 3 rows.
    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    training = load_config(None, ["training.side=96", "training.layers=[out_relu]", "training.bands=3"]).training
    images = np.random.default_rng(4).uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    features = build_trunk(training, backbone)(images).numpy()
    rows = backbone(keras.applications.mobilenet_v2.preprocess_input(images.copy())).numpy().mean(2)  # (n, 3, c)
    np.testing.assert_allclose(features, (rows / np.linalg.norm(rows, axis=2, keepdims=True)).reshape(2, -1), atol=1e-5)
    with pytest.raises(ConfigError, match=r"training\.bands: got 4, the map of out_relu has 3 rows at 96 pixels"):
        build_trunk(training.model_copy(update={"bands": 4}), backbone)


def test_a_pyramid_is_the_mean_over_the_picture_in_several_sizes():
    import keras

    from vsspark.training.networks import build_trunk, feature_layers

    keras.utils.set_random_seed(3)
    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3))
    assert feature_layers(backbone, None, 128) == ["out_relu", "block_15_add", "block_12_add"]
    training = load_config(
        None, ["training.side=128", "training.layers=[out_relu]", "training.pyramid=[1, 2]"]
    ).training
    images = np.random.default_rng(4).uniform(0, 255, (2, 128, 128, 3)).astype(np.float32)
    halved = images.reshape(2, 64, 2, 64, 2, 3).mean((2, 4))
    sizes = [
        backbone(keras.applications.mobilenet_v2.preprocess_input(each.copy())).numpy().mean((1, 2))
        for each in (images, halved)
    ]
    expected = np.mean([each / np.linalg.norm(each, axis=1, keepdims=True) for each in sizes], axis=0)
    np.testing.assert_allclose(build_trunk(training, backbone)(images).numpy(), expected, atol=1e-5)
    for wrong, got in (("[1, 3]", 3), ("[2, 2]", 2), ("[1, 8]", 8)):
        with pytest.raises(
            ConfigError, match=rf"training.*pyramid: got {got}, expected different numbers that divide side \(128\)"
        ):
            load_config(None, ["training.side=128", f"training.pyramid={wrong}"])


def test_the_published_re_training_takes_the_last_layer_as_it_is():
    import keras

    from vsspark.training.networks import build_trunk

    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    images = np.random.default_rng(5).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    trunk = build_trunk(load_config(None, ["training.side=64", "training.recipe=transfer"]).training, backbone)
    expected = backbone(keras.applications.mobilenet_v2.preprocess_input(images.copy())).numpy().mean((1, 2))
    np.testing.assert_allclose(trunk(images).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_layers_that_do_not_exist_are_named():
    import keras

    from vsspark.training.networks import build_backbone, feature_layers

    backbone = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    assert feature_layers(backbone, None, 64) == ["out_relu", "block_15_add", "block_12_add"]
    with pytest.raises(ConfigError, match=r"training\.layers: .* no map 'fc1'; it has .*block_12_add"):
        feature_layers(backbone, ("fc1",), 64)
    with pytest.raises(ConfigError, match=r"training\.weights"):
        build_backbone(load_config().training)
    with pytest.raises(ConfigError, match=r"training\.backbone: got 'resnet_51'; known are .*resnet50"):
        build_backbone(load_config(None, ["training.backbone=resnet_51"]).training)
