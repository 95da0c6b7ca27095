"""Two processes train one network over loopback, each on its own share of the pictures, and end with the same
weights.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

from shops import arguments, draw_shop
from standalone import free_port

REPO = Path(__file__).parents[2]
PICTURES, SIDE = 40, 24

WORKER = """
import os, sys
from pathlib import Path
import numpy as np
from vsspark.encoders.quiet import import_tensorflow
import_tensorflow()
from vsspark.training.cluster import join_cluster
cluster = join_cluster()
import keras
from vsspark.config import TrainingConfig
from vsspark.training.fit import Objective, Workplace
from vsspark.training.judge import judge_on, validation_pictures
from vsspark.training.training_set import TrainingSet
from vsspark.training.unfreeze import fit_unfrozen

folder, own = sys.argv[1:]
keras.utils.set_random_seed(1)
config = TrainingConfig(side=%d, batch_size=8, unfrozen_epochs=2, unfrozen_rate=1.0, threads=1)
with cluster.strategy.scope():
    rgb = keras.Input((config.side, config.side, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(rgb)))
    embedding = keras.layers.UnitNormalization()(keras.layers.Dense(6)(x))
    network = keras.Model(rgb, [embedding, keras.layers.Dense(2, activation="softmax")(embedding)])
learnt = TrainingSet(folder, ("hat", "shoe"), (%d, %d), {"train": %d, "validation": 8}, {}, 0)
pictures, workplace = validation_pictures(folder, config.side), Workplace(Path(folder).parent / "run", cluster)
judge = judge_on(network, pictures.pixels, pictures.product, pictures.category)
progress = fit_unfrozen(network, Objective(np.ones(2, np.float32), config), learnt, judge, workplace)
weights = {f"w{i}": w for i, w in enumerate(network.get_weights())}
np.savez(own, epochs=progress.epoch, workers=cluster.strategy.num_replicas_in_sync, **weights)
"""


@pytest.mark.slow
def test_two_workers_end_with_the_same_weights(spark, tmp_path):
    from vsspark.training.reader import read_groups
    from vsspark.training.spark import encode_picture, write_training_set

    rng, folder = np.random.default_rng(0), f"{tmp_path}/set"
    rows = []
    for index in range(PICTURES + 8):
        picture = encode_picture(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
        rows.append(
            (
                index,
                index // 2,
                f"P{index // 2}",
                index // 2 % 2,
                "train" if index < PICTURES else "validation",
                picture,
            )
        )
    schema = "image_id long, product long, product_id string, category int, split string, picture binary"
    write_training_set(spark, spark.createDataFrame(rows, schema).repartition(4), folder, SIDE)
    shares = [
        {int(i) for group in read_groups(folder, "train", shard=(worker, 2)) for i in group.image_id}
        for worker in (0, 1)
    ]
    assert shares[0].isdisjoint(shares[1])
    assert shares[0] | shares[1] == set(range(PICTURES))

    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    code = WORKER % (SIDE, PICTURES // 2, PICTURES // 2, PICTURES)
    running = []
    for index in range(2):
        place = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(place), "PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": ""}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", code, folder, f"{tmp_path}/{index}.npz"],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        _, said = process.communicate(timeout=500)
        assert process.returncode == 0, said[-3000:]
    with np.load(f"{tmp_path}/0.npz") as first, np.load(f"{tmp_path}/1.npz") as second:
        assert first["workers"] == second["workers"] == 2
        assert first["epochs"] == 2
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name])
    assert (tmp_path / "run" / "fitted.npz").exists()


@pytest.mark.slow
def test_the_job_on_two_machines_registers_once(tmp_path):
    import keras

    folder = tmp_path / "photos"
    draw_shop(folder, products=12, images=2)
    keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3)).save_weights(
        tmp_path / "born.weights.h5"
    )
    learn = {
        "side": 64,
        "stored_side": 80,
        "views": 2,
        "epochs": 2,
        "embedding_dim": 32,
        "batch_size": 8,
        "holdout": 0.3,
        "unfreeze": 3,
        "unfrozen_epochs": 1,
    }
    learn |= {"weights": tmp_path / "born.weights.h5", "path": tmp_path / "set", "register_as": "both"}
    command = [
        sys.executable,
        "jobs/train.py",
        *arguments(folder, f"{tmp_path}/out", *(f"training.{key}={value}" for key, value in learn.items())),
    ]
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    running = []
    for index in range(2):
        place = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(place), "PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": ""}
        with (tmp_path / f"{index}.out").open("w") as out, (tmp_path / f"{index}.err").open("w") as err:
            running.append(subprocess.Popen(command, cwd=REPO, env=environment, stdout=out, stderr=err))
    try:
        for index, process in enumerate(running):
            assert process.wait(timeout=500) == 0, (tmp_path / f"{index}.err").read_text()[-3000:]
    finally:
        for process in running:
            process.kill()
    # The first worker registers what both have learnt.
    assert [(tmp_path / f"{index}.out").read_text().strip() for index in range(2)] == ["train: models:/both@live", ""]
