"""A short real training: it learns, and a run that was killed ends where one that was not killed ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vsspark.config import load_settings
from vsspark.default_encoder.config import DistillationConfig
from vsspark.encoders.default_graph import write_network
from vsspark.errors import ConfigError


def _config(folder, **changed) -> DistillationConfig:
    tiny = {
        "photos": None,
        "teacher": None,
        "work": str(folder / "work"),
        "output": str(folder / "out"),
        "products": 12,
        "held_out": 4,
        "generated_crops": 0,
        "stored_side": 72,
        "side": 64,
        "epochs": 2,
        "steps": 2,
        "batch_size": 8,
        "teacher_weight": 0.0,
        "pair_weight": 1.0,
    }
    return DistillationConfig(**(tiny | changed))


def _shop(folder) -> dict:
    """Settings: a catalogue of drawn photos, and a teacher of random weights."""
    import cv2
    import keras

    from vsspark.default_encoder.sources import generated_photos
    from vsspark.demo.products import KINDS

    rows, pictures = ["image,category,split"], []
    for i, photo in enumerate(generated_photos(11, range(16))):
        pictures.append(cv2.resize(photo.read(), (224, 224)))
        cv2.imwrite(str(folder / f"{i}.png"), pictures[-1])
        rows.append(f"{i}.png,{KINDS[photo.category]},{'validation' if i % 4 == 3 else 'train'}")
    (folder / "catalogue.csv").write_text("\n".join(rows) + "\n")
    teacher = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=None)
    for layer in teacher.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    teacher(np.stack(pictures[:16]) / 127.5 - 1.0, training=True)  # so that every layer has something to say
    teacher.save_weights(folder / "teacher.weights.h5")
    return {
        "photos": str(folder / "catalogue.csv"),
        "teacher": str(folder / "teacher.weights.h5"),
        "crops": 1,
        "mixes": 1,
        "teacher_weight": 4.0,
    }


@pytest.mark.slow  # a shop's trainer, stopped and started again, is in the default run: tests/training
@pytest.mark.parametrize("taught", [False, True])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, taught):
    from vsspark.default_encoder.distil import distil_encoder

    shop = _shop(tmp_path) if taught else {}
    straight, stopped = _config(tmp_path / "a", **shop), _config(tmp_path / "b", **shop)
    distil_encoder(straight)
    assert distil_encoder(stopped.model_copy(update={"minutes": 1e-6})) is None  # ends after its first epoch
    assert len((tmp_path / "b/work/run/history.jsonl").read_text().splitlines()) == 1
    output = distil_encoder(stopped)
    with np.load(tmp_path / "a/work/run/last.npz") as whole, np.load(tmp_path / "b/work/run/last.npz") as resumed:
        assert json.loads(str(resumed["progress"]))["epoch"] == 2
        for name in whole.files:
            if name != "progress":
                # Sums run in another order on every run with more than one thread.
                np.testing.assert_allclose(resumed[name], whole[name], rtol=2e-2, atol=2e-3)
    facts = json.loads((output / "default.json").read_text())
    assert facts["training"]["epochs"] == 2
    real = {"real_top1", "real_category"} if taught else set()
    assert set(facts["figures"]) == {"generated_top1", "generated_product", "held_out", "calibration_error"} | real
    assert (output / "default.weights.h5").stat().st_size < 5 * 2**20
    write_network((output / "default.graph.onnx").read_bytes(), output / "default.weights.h5", output / "whole.onnx")
    with pytest.raises(ConfigError, match=r"work: .*run holds a run with other settings"):
        distil_encoder(stopped.model_copy(update={"batch_size": 16}))


@pytest.mark.slow
def test_a_teacher_is_learnt_from_by_picture_and_by_cell(tmp_path):
    from vsspark.default_encoder.distil import distil_encoder

    distil_encoder(_config(tmp_path, **_shop(tmp_path), epochs=8, steps=6, learning_rate=3e-3))
    history = [json.loads(line) for line in (tmp_path / "work/run/history.jsonl").read_text().splitlines()]
    assert history[-1]["teacher"] < history[0]["teacher"] - 0.05
    assert history[-1]["cells"] < history[0]["cells"] - 0.05
    assert np.load(tmp_path / "work/train/cells.npy", mmap_mode="r").shape[1:] == (7, 7, 128)


@pytest.mark.slow
def test_photos_without_a_teacher_teach_categories(tmp_path):
    from vsspark.default_encoder.distil import distil_encoder

    output = distil_encoder(_config(tmp_path, photos=_shop(tmp_path)["photos"], epochs=1, steps=1, mixes=0, crops=1))
    assert "real_category" in json.loads((output / "default.json").read_text())["figures"]


def test_training_begins_with_what_fits_of_earlier_weights(tmp_path):
    from vsspark.default_encoder.solve import take_over
    from vsspark.encoders.default import build

    earlier, student = build(4, (64, 64)), build(10, (64, 64))
    earlier.save_weights(tmp_path / "earlier.weights.h5")
    own_head = student.get_layer("category").get_weights()[0]
    with_weights = sum(bool(layer.weights) for layer in student.layers)
    assert take_over(student, tmp_path / "earlier.weights.h5") == with_weights - 1  # four categories are not ten
    np.testing.assert_array_equal(
        student.get_layer("stem_conv").get_weights()[0], earlier.get_layer("stem_conv").get_weights()[0]
    )
    np.testing.assert_array_equal(student.get_layer("category").get_weights()[0], own_head)


def test_parts_without_steps_are_solved_from_views():
    import keras

    from vsspark.default_encoder.solve import fit_outline, solve_generic
    from vsspark.encoders.default import GENERIC, OUTLINE, build

    student, rng = build(4, (64, 64)), np.random.default_rng(3)
    views = np.stack(
        [np.kron(rng.integers(0, 255, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(60)]
    )
    fit_outline(student, views)
    axes, offset = student.get_layer("outline_projection").get_weights()
    np.testing.assert_allclose(axes.T @ axes, np.eye(OUTLINE), atol=1e-4)
    cells = keras.Model(student.input, student.get_layer("outline_cells").output)(views.astype(np.float32)).numpy()
    np.testing.assert_allclose((cells @ axes + offset).mean(0), 0, atol=1e-3)
    target = np.linalg.qr(rng.normal(size=(GENERIC, 2)))[0].T[np.arange(60) % 2].astype(np.float32)  # two answers
    views[::2] //= 4  # to pictures that differ
    solve_generic(student, views, target)
    generic = keras.Model(student.input, student.get_layer("generic").output)(views.astype(np.float32)).numpy()
    assert (generic * target).sum(1).min() > 0.9


def test_settings_are_checked(tmp_path):
    file = tmp_path / "training.yaml"
    file.write_text("epochs: 3\nbatch_sise: 4\n")
    with pytest.raises(ConfigError, match=r"batch_sise: unknown key, allowed are .*batch_size"):
        load_settings(DistillationConfig, file, [])
    file.write_text("steps: 0\n")
    with pytest.raises(ConfigError, match="steps: got 0"):
        load_settings(DistillationConfig, file, [])
    file.write_text("epochs: 3\n")
    assert load_settings(DistillationConfig, file, ["steps=9"]).steps == 9
    with pytest.raises(ConfigError, match="key=value"):
        load_settings(DistillationConfig, file, ["steps"])
    with pytest.raises(ConfigError, match="epochs: the value is not YAML"):
        load_settings(DistillationConfig, file, ["epochs=["])
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(DistillationConfig, tmp_path / "nowhere.yaml", [])


def test_the_job_says_what_is_missing(tmp_path, capsys):
    from jobs import train as job

    file = tmp_path / "training.yaml"
    file.write_text(f"photos: {tmp_path}/nowhere.csv\nwork: {tmp_path}/work\n")
    assert job.main(["--config", str(file)]) == 2
    assert "nowhere.csv does not exist" in capsys.readouterr().err
