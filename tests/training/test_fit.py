"""A short real training: it learns, and a run that was killed ends where one that was not killed ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vsspark.errors import ConfigError
from vsspark.training.config import TrainingConfig, load_training_config


def _config(folder, **changed) -> TrainingConfig:
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
        "early_side": 64,
        "epochs": 2,
        "steps": 2,
        "batch_size": 8,
        "teacher_weight": 0.0,
        "pair_weight": 1.0,
    }
    return TrainingConfig(**(tiny | changed))


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    from vsspark.training.train import train

    straight, stopped = _config(tmp_path / "a"), _config(tmp_path / "b")
    train(straight)
    assert train(stopped.model_copy(update={"minutes": 1e-6})) is None  # ends after its first epoch
    assert len((tmp_path / "b/work/run/history.jsonl").read_text().splitlines()) == 1
    output = train(stopped)
    with np.load(tmp_path / "a/work/run/last.npz") as whole, np.load(tmp_path / "b/work/run/last.npz") as resumed:
        assert json.loads(str(resumed["progress"]))["epoch"] == 2
        for name in whole.files:
            if name != "progress":
                # Sums run in another order on every run with more than one thread.
                np.testing.assert_allclose(resumed[name], whole[name], rtol=2e-2, atol=2e-3)
    facts = json.loads((output / "default.json").read_text())
    assert facts["training"]["epochs"] == 2
    assert set(facts["figures"]) == {"generated_top1", "generated_product", "held_out", "calibration_error"}
    assert (output / "default.weights.h5").stat().st_size < 5 * 2**20


def test_settings_are_checked(tmp_path):
    file = tmp_path / "training.yaml"
    file.write_text("epochs: 3\nbatch_sise: 4\n")
    with pytest.raises(ConfigError, match=r"batch_sise: unknown key, allowed are .*batch_size"):
        load_training_config(file)
    file.write_text("epochs: 0\n")
    with pytest.raises(ConfigError, match="epochs: got 0"):
        load_training_config(file)
    file.write_text("epochs: 3\n")
    assert load_training_config(file, ["steps=9"]).steps == 9
    with pytest.raises(ConfigError, match="key=value"):
        load_training_config(file, ["steps"])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_training_config(tmp_path / "nowhere.yaml")


def test_the_job_says_what_is_missing(tmp_path, capsys):
    from jobs import train as job

    file = tmp_path / "training.yaml"
    file.write_text(f"photos: {tmp_path}/nowhere.csv\nwork: {tmp_path}/work\n")
    assert job.main(["--config", str(file)]) == 2
    assert "nowhere.csv does not exist" in capsys.readouterr().err
