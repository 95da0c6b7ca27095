"""ONNX encoders against Pillow, NumPy and the untouched model, on models of every shape that exports have."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image

from vsspark import encoders
from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.encoders.engines import load_engine
from vsspark.errors import ConfigError
from vsspark.images.product import decode_product

sys.path.insert(0, str(Path(__file__).parent))
from onnx_nets import CLIP, SIDE, network, save, with_operator, with_text_input


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(folder: Path, **keys) -> encoders.Encoder:
    return encoders.load_configured(EncoderConfig(name="onnx", weights=str(folder), **keys))


def photos(n: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(2)
    sides = [(60, 90), (123, 77), (40, 40), (64, 64), (200, 41)]
    small = [random.integers(0, 255, (h // 8 + 1, w // 8 + 1, 3), np.uint8) for h, w in sides[:n]]
    return [
        np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.BICUBIC))
        for pixels, (h, w) in zip(small, sides, strict=False)
    ]


def prepared(photo: np.ndarray) -> np.ndarray:
    """The CLIP steps by Pillow and NumPy alone: (3, 32, 32) float32."""
    h, w = photo.shape[:2]
    image = Image.fromarray(photo).resize((40, int(40 * h / w)) if w <= h else (int(40 * w / h), 40), 3)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    cut = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float32) / 255
    return ((cut - CLIP["image_mean"]) / CLIP["image_std"]).astype(np.float32).transpose(2, 0, 1)


def reference(folder: Path, output: str, last: bool = False, dtype=np.float32, batch: int = 1) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    rows = []
    for photo in photos():
        pixels = prepared(photo).transpose(1, 2, 0) if last else prepared(photo)
        rows.append(session.run([output], {"pixel_values": np.stack([pixels] * batch).astype(dtype)})[0][0])
    return np.stack(rows).astype(np.float32)


def encoded(encoder: encoders.Encoder) -> np.ndarray:
    return np.concatenate([encoder.encode(photo[None])[0] for photo in photos()])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("opset", [13, 17])
def test_every_output_and_pooling(tmp_path, last, opset):
    folder = save(tmp_path / "model", network(last=last, opset=opset))
    assert encoded(load(folder)).shape == (5, 6)
    np.testing.assert_allclose(encoded(load(folder)), reference(folder, "pooler_output", last), atol=1e-4)
    tokens = reference(folder, "last_hidden_state", last)
    for keys, expected in (
        ({"pooling": "token"}, tokens[:, 0]),
        ({"pooling": "token", "pooling_index": -1}, tokens[:, -1]),
        ({"pooling": "mean_tokens"}, tokens.mean(axis=1)),
        ({"pooling": "mean_tokens", "pooling_skip": 5}, tokens[:, 5:].mean(axis=1)),
    ):
        found = encoded(load(folder, output="last_hidden_state", **keys))
        np.testing.assert_allclose(found, expected, atol=1e-4)
    space = reference(folder, "map", last).mean(axis=(1, 2) if last else (2, 3))
    np.testing.assert_allclose(encoded(load(folder, output="map")), space, atol=1e-4)


def test_an_operator_set_where_means_take_their_axes_as_input(tmp_path):
    model = onnx.version_converter.convert_version(network(), 18)
    folder = save(tmp_path / "model", model)
    found = encoded(load(folder, output="map"))
    np.testing.assert_allclose(found, reference(folder, "map").mean(axis=(2, 3)), atol=1e-4)


def test_a_wrong_choice_lists_the_outputs(tmp_path):
    folder = save(tmp_path / "model", network())
    with pytest.raises(
        ConfigError,
        match=r"encoder\.output: the model has no output 'cls'; it has map \(\?, 12, 8, 8\), last_hidden_state "
        r"\(\?, 64, 12\), pooler_output \(\?, 6\)",
    ):
        load(folder, output="cls")
    with pytest.raises(ConfigError, match=r"encoder\.pooling: got None; .* allowed are token, mean_tokens"):
        load(folder, output="last_hidden_state")
    with pytest.raises(ConfigError, match=r"encoder\.pooling: got mean_space; .* allowed are none"):
        load(folder, pooling="mean_space")
    with pytest.raises(ConfigError, match=r"encoder\.layer"):
        load(folder, layer="x")
    with pytest.raises(ConfigError, match=r"encoder\.weights: onnx needs a model"):
        encoders.load("onnx")
    with pytest.raises(ConfigError, match=r"encoder\.pooling: .*only encoder\.name=onnx and keras_hub"):
        encoders.load_configured(EncoderConfig(name="default", pooling="token"))
    model = network()
    del model.graph.output[2]
    with pytest.raises(ConfigError, match=r"encoder\.output: the model has several, name one: map"):
        load(save(tmp_path / "several", model))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_filled_up(tmp_path, batch):
    folder = save(tmp_path / "model", network(batch=batch))
    expected = reference(folder, "pooler_output", batch=batch)
    encoder = load(folder)
    pictures = np.stack([encoder.fit.apply(photo) for photo in photos()])
    np.testing.assert_allclose(encoder.encode(pictures)[0], expected, atol=1e-4)
    engine = load_engine("onnxruntime", str(encoder.files["onnxruntime"]), 4, 1)
    np.testing.assert_allclose(engine.run(pictures[:2])[0], expected[:2], atol=1e-4)


def test_half_precision_and_eight_bits(tmp_path):
    half = save(tmp_path / "half", network(dtype=TensorProto.FLOAT16))
    found = encoded(load(half))
    assert found.dtype == np.float32
    assert cosines(found, reference(half, "pooler_output", dtype=np.float16)).min() >= 0.9999
    whole = save(tmp_path / "whole", network())

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([{"pixel_values": prepared(photo)[None]} for photo in photos()])

        def get_next(self):
            return next(self.rows, None)

    for style in (QuantFormat.QDQ, QuantFormat.QOperator):
        eight = save(tmp_path / style.name, network())
        quantize_static(whole / "model.onnx", eight / "model.onnx", Reader(), quant_format=style, reduce_range=True)
        assert {"QuantizeLinear", "QLinearConv"} & {node.op_type for node in onnx.load(eight / "model.onnx").graph.node}
        assert cosines(encoded(load(eight)), reference(eight, "pooler_output")).min() >= 0.9999
        assert cosines(encoded(load(eight)), reference(whole, "pooler_output")).min() >= 0.98


def test_external_data_are_read_counted_and_kept_inside_the_folder(tmp_path):
    options = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 256}
    folder = save(tmp_path / "model", network(), **options)
    encoder = load(folder)
    np.testing.assert_allclose(encoded(encoder), reference(folder, "pooler_output"), atol=1e-4)
    data = bytearray((folder / "model.onnx.data").read_bytes())
    data[3] ^= 1
    (folder / "model.onnx.data").write_bytes(data)
    assert load(folder).model_version != encoder.model_version
    (folder / "model.onnx.data").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"its external data model\.onnx\.data are missing"):
        load(folder)
    (folder / "model.onnx.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="lead out of the model's folder"):
        load(folder)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../elsewhere"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ConfigError, match=r"external data at '\.\./elsewhere' lie outside"):
        load(folder)


def test_a_cache_of_links(tmp_path):
    """A download cache keeps contents by their hashes and a folder of links with the names."""
    options = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 256}
    blobs = save(tmp_path / "blobs", network(), **options)
    expected = reference(blobs, "pooler_output")
    links = tmp_path / "snapshot"
    links.mkdir()
    for i, name in enumerate(("model.onnx", "model.onnx.data", "preprocessor_config.json")):
        (blobs / name).rename(blobs / f"{i}{i}")
        (links / name).symlink_to(blobs / f"{i}{i}")
    np.testing.assert_allclose(encoded(load(links)), expected, atol=1e-4)


@pytest.mark.parametrize("inside_branch", [False, True])
def test_custom_operators_are_refused_by_name(tmp_path, inside_branch):
    folder = save(tmp_path / "model", with_operator("ai.onnx.contrib", "PythonScript", inside_branch))
    with pytest.raises(ConfigError, match=r"custom operators ai\.onnx\.contrib\.PythonScript, which are code"):
        load(folder)
    folder = save(tmp_path / "context", with_operator("com.microsoft", "EPContext", inside_branch))
    with pytest.raises(ConfigError, match=r"com\.microsoft\.EPContext"):
        load(folder)


def test_the_inputs_of_other_outputs_do_not_matter(tmp_path):
    folder = save(tmp_path / "model", network())
    expected = reference(folder, "pooler_output")
    two = save(tmp_path / "two", with_text_input(network()))
    np.testing.assert_allclose(encoded(load(two)), expected, atol=1e-4)
    with pytest.raises(ConfigError, match=r"this output needs the inputs input_ids \(\?, \?\); expected one"):
        load(two, output="text_embeds")


def test_the_model_version_says_weights_preprocessing_and_output(tmp_path):
    folder = save(tmp_path / "model", network())
    spelled = {"size": {"shortest_edge": 40}, "crop_size": SIDE}
    versions = [
        load(folder).model_version,
        load(folder, output="map").model_version,
        load(folder, output="last_hidden_state", pooling="token").model_version,
        load(folder, output="last_hidden_state", pooling="token", pooling_index=1).model_version,
        load(folder, preprocessing=spelled).model_version,
        load(folder, preprocessing=spelled | {"resample": 2}).model_version,
        load(save(tmp_path / "other", network(batch=1))).model_version,
    ]
    assert len(set(versions)) == len(versions)
    assert load(folder / "model.onnx").model_version == versions[0]


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(ConfigError, match=r"encoder\.weights: .*none: found no such file"):
        load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no \.onnx file"):
        load(tmp_path / "empty")
    for content in (b"", b"<!DOCTYPE html>", b"\x80\x04pickle", b"version https://git-lfs"):
        (tmp_path / "empty" / "model.onnx").write_bytes(content)
        with pytest.raises(ConfigError, match=r"encoder\.(weights|preprocessing)"):
            load(tmp_path / "empty", preprocessing={"size": SIDE})
    whole = save(tmp_path / "half", network(), None)
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json lies beside"):
        load(whole)
    with pytest.raises(ConfigError, match="gives pictures of 48 x 48, the model takes 32 x 32"):
        load(whole, preprocessing={"size": 48})
    data = (whole / "model.onnx").read_bytes()
    (whole / "model.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(ConfigError, match="is no ONNX model"):
        load(whole, preprocessing={"size": SIDE})
    for name in ("a.onnx", "b.onnx"):
        save(tmp_path / "several", network())
        (tmp_path / "several" / "model.onnx").rename(tmp_path / "several" / name)
    with pytest.raises(ConfigError, match=r"holds a\.onnx, b\.onnx; name one"):
        load(tmp_path / "several")


def test_loading_imports_neither_tensorflow_nor_spark(tmp_path):
    folder = save(tmp_path / "model", network())
    script = (
        "import sys; from vsspark import encoders; import numpy as np; e = encoders.load('onnx', sys.argv[1]); "
        "e.encode(np.zeros((2, 50, 60, 3), np.uint8)); "
        "print({'tensorflow', 'keras', 'pyspark', 'mlflow', 'tf2onnx'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["light"]


def test_a_decoder_that_shrinks_keeps_parity(tmp_path):
    folder = save(tmp_path / "model", network())
    encoder = load(folder)
    for photo in photos():
        large = np.asarray(Image.fromarray(photo).resize((photo.shape[1] * 9, photo.shape[0] * 9), 3))
        file = io.BytesIO()
        Image.fromarray(large).save(file, "JPEG", quality=95)
        decoded = np.asarray(Image.open(file).convert("RGB"))
        found = decode_product(file.getvalue(), encoder.picture_size, ImagesConfig())
        assert (found.height, found.width) == large.shape[:2]
        expected = encoder.encode(decoded[None])[0]
        assert cosines(encoder.encode(found.pixels[None])[0], expected).min() >= 0.9999


def test_real_photos_and_a_real_network(real_photos):
    """Decoded by the job's decoder and by Pillow alone."""
    folder = real_photos / "weights" / "efficientnet_lite2"
    encoder = encoders.load("onnx", str(folder))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    files = [sorted((real_photos / name).rglob("*.jpg"))[::step] for name, step in (("luma", 120), ("clothing", 700))]
    for file in [*files[0], *files[1]]:
        found = encoder.encode(decode_product(file.read_bytes(), encoder.picture_size, ImagesConfig()).pixels[None])[0]
        image = Image.open(file).convert("RGB").resize((260, 260), Image.Resampling.BICUBIC)
        pixels = (np.asarray(image, np.float32) / 255 - 0.498) / 0.502
        expected = session.run(None, {"pixel_values": pixels.astype(np.float32).transpose(2, 0, 1)[None]})[0]
        assert cosines(found, expected).min() >= 0.9999, file
