"""From a catalogue to a registered encoder: training set, features, heads, optionally the backbone's last layers,
calibration, MLflow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from vsspark.config import Config, TrainingConfig
from vsspark.encoders import Encoder
from vsspark.encoders.export import export, exported
from vsspark.encoders.model_files import content_hash
from vsspark.encoders.quiet import import_tensorflow
from vsspark.progress import log
from vsspark.training.cluster import Cluster, join_cluster
from vsspark.training.networks import (
    PLAIN,
    build_backbone,
    build_encoder,
    build_heads,
    build_trunk,
    check_backbone,
    mixed,
    with_mirror_image,
)
from vsspark.training.training_set import TrainingSet, prepare_training_set

_NOT_OF_THE_HEADS = {"register_as", "alias", "threads", "path", "unfreeze", "unfrozen_rate", "unfrozen_epochs"}


def train_encoder(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """The job: fits an encoder to the catalogue, registers it, prints its URI. Run again after a kill, it goes on
    where it was.
    """
    check_backbone(config.training)
    import_tensorflow()
    cluster = join_cluster()
    training_set = prepare_training_set(spark, config, args.run_id, cluster)
    import keras

    from vsspark.training.inference import encode, traced
    from vsspark.training.judge import (
        choose_mixture,
        features_and_colours,
        judge_finished,
        set_temperature,
        temperature_of,
        validation_pictures,
    )
    from vsspark.training.register import Outcome, register

    start = time.monotonic()
    keras.utils.set_random_seed(config.training.seed)
    trunk, heads, last_heads, curves = fit_encoder(training_set, config.training, cluster)
    if not cluster.first:
        return
    flip, pictures = config.training.flip, validation_pictures(training_set.folder, config.training.side)
    # What heads have never seen says nothing of how sure they may be; -1, none, is last.
    has_pictures = np.array([*training_set.category_counts, 0]) > 0
    category = np.where(has_pictures[pictures.category], pictures.category, -1)
    features, colours = features_and_colours(with_mirror_image(trunk, flip), pictures.pixels)
    temperature = temperature_of(encode(traced(heads), features)[1], category)
    set_temperature(heads.get_layer("category"), temperature)
    embedding, probabilities = encode(traced(heads), features)
    mixture = PLAIN
    if config.training.recipe == "two_headed":
        mixture = choose_mixture(embedding, probabilities, colours, pictures.product, pictures.category)
        log.info(
            "%-10s beside the embedding: roots of the probabilities %g of its length, colours %g of its share",
            "mixture",
            *mixture,
        )
    figures, confusion = judge_finished(
        np.asarray(mixed(embedding, probabilities, colours, mixture)), probabilities, pictures
    )
    log.info("%-10s %s", "held out", json.dumps({name: round(value, 4) for name, value in figures.items()}))
    facts = {
        "pictures": json.dumps(training_set.pictures),
        "products": json.dumps(training_set.products),
        "quarantined": str(training_set.quarantined),
    }
    facts["beside_the_embedding"] = json.dumps(mixture._asdict())
    facts["fitted_on"] = "train"
    if last_heads is not None:  # the figures stay those of the heads that had not seen what they were judged by
        set_temperature(last_heads.get_layer("category"), temperature)
        heads, facts["fitted_on"] = last_heads, "train and validation"
    facts["minutes"] = f"{(time.monotonic() - start) / 60:.1f}"
    network = build_encoder(trunk, heads, flip, mixture)
    uri = register(network, training_set.categories, config, Outcome(facts, curves, figures, confusion))
    print(f"train: {uri}")


def fit_encoder(training_set: TrainingSet, config: TrainingConfig, cluster: Cluster):
    """(trunk, heads, heads fitted on the held-out products too, curves): RGB (n, side, side, 3) -> features ->
    [embedding, probabilities], and the figures of every epoch by part. Heads that have learnt with the backbone stay
    as they are: there are no second ones.
    """
    from vsspark.training.checkpoint import restore
    from vsspark.training.fit import FITTED, Objective, Workplace, class_weights
    from vsspark.training.judge import judge_on, validation_pictures
    from vsspark.training.unfreeze import fit_unfrozen, unfreeze

    weights = class_weights(np.array(training_set.category_counts), config)
    work = _work_folder(training_set, config)
    last_heads = _fit_heads(training_set, config, weights, work / "heads") if cluster.first else None
    cluster.await_first((work / "heads" / FITTED).exists)
    with cluster.strategy.scope() if cluster.strategy else contextlib.nullcontext():
        backbone = build_backbone(config)
        trunk_network = build_trunk(config, backbone)
        heads = build_heads(trunk_network.output_shape[1], len(weights), config)
        curves = {"heads": restore(work / "heads" / FITTED, heads.variables).history}
        unfreeze(backbone, config.unfreeze)
        # Mirror images are among the views learnt from.
        network, complete = (build_encoder(trunk_network, heads, flip) for flip in (False, config.flip))
    if config.unfreeze:
        held_out = validation_pictures(training_set.folder, config.side)
        folder = work / f"unfrozen-{config.unfreeze}-{config.unfrozen_rate}-{config.unfrozen_epochs}"
        with cluster.strategy.scope() if cluster.strategy else contextlib.nullcontext():
            judge = judge_on(complete, held_out.pixels, held_out.product, held_out.category)
        objective, workplace = Objective(weights, config), Workplace(folder, cluster)
        curves["unfrozen"] = fit_unfrozen(network, objective, training_set, judge, workplace).history
    return trunk_network, heads, last_heads, curves


def _fit_heads(training_set: TrainingSet, config: TrainingConfig, weights: np.ndarray, folder: Path):
    """Leaves the fitted heads in the folder; returns those fitted on all products, or None where the backbone is
    still to learn.
    """
    from vsspark.training.features import Features, compute_features
    from vsspark.training.fit import class_weights
    from vsspark.training.heads import fit_heads, refit_heads

    trunk = _export_trunk(build_trunk(config, build_backbone(config)), config)
    # Judged by the whole picture alone.
    splits = {"train": config.views, "validation": 1 if config.unfreeze else config.views}
    train, validation = (
        compute_features(training_set.folder, split, views, trunk, config) for split, views in splits.items()
    )
    if config.unfreeze:
        fit_heads(train, validation, weights, config, folder)
        return None
    everything, train_rows = (
        Features(*(np.concatenate(columns) for columns in zip(train, validation, strict=True))),
        len(train.product),
    )
    del train, validation  # held once
    _, progress = fit_heads(
        everything.rows(slice(train_rows)), everything.rows(slice(train_rows, None)), weights, config, folder
    )
    counts = np.bincount(everything.category[everything.category >= 0], minlength=len(weights))
    return refit_heads(everything, class_weights(counts, config), config, folder, progress.best_epoch)


def _export_trunk(network, config: TrainingConfig) -> Encoder:
    """The frozen trunk for ONNX Runtime, three times as fast as Keras on CPU."""
    shape = json.dumps(network.get_config(), sort_keys=True, default=str).encode()
    version = f"trunk-{config.backbone}-{content_hash(shape, *(value.tobytes() for value in network.get_weights()))}"
    return exported("trunk", version) or export("trunk", version, network, None)


def _work_folder(training_set: TrainingSet, config: TrainingConfig) -> Path:
    """The folder of this recipe's checkpoints; other settings or weights have another one."""
    file = [] if config.weights == "imagenet" else [Path(config.weights)]
    return (
        Path(training_set.folder).parent
        / f"run-{content_hash(config.model_dump_json(exclude=_NOT_OF_THE_HEADS).encode(), *file)}"
    )
