"""From settings to shipped weights: pools, targets, training, calibration, files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vsspark.default_encoder.config import DistillationConfig
from vsspark.default_encoder.feed import Examples, Source
from vsspark.default_encoder.graph import graph_of
from vsspark.default_encoder.pool import Photo, Pool, Recipe, build_pool
from vsspark.default_encoder.solve import fit_outline, solve_generic, take_over
from vsspark.default_encoder.sources import generated_photos, real_photos
from vsspark.default_encoder.student import StudentState, fit_student
from vsspark.default_encoder.targets import Projection, fit_projection, probable_categories
from vsspark.default_encoder.teacher import TEACHER_DIM, TEACHER_LAYERS, TEACHER_SIDE, Teacher, export_teacher
from vsspark.demo.products import KINDS
from vsspark.encoders.default import GENERIC, build
from vsspark.encoders.model_files import content_hash
from vsspark.errors import ConfigError
from vsspark.evaluation.calibration import best_temperature, calibration_error
from vsspark.evaluation.measures import nearest_agrees
from vsspark.progress import log
from vsspark.training.inference import encode, traced
from vsspark.training.views import whole_view

_SAMPLE = 1500  # views of each source that the fixed parts' axes are found from
_SOLVE_VIEWS = 10_000  # views that the generic part's last projection is solved on
_CELL_SAMPLE = 400  # photos, or up to twice as many, that the smaller form of the teacher's cells is found from
_CELL_DIM = 128  # numbers of it
# Product index the held-out generated products start at: families apart from those trained on.
_HELD_OUT_FROM = 1_000_000


def distil_encoder(config: DistillationConfig) -> Path | None:
    """The folder with NAME.weights.h5 (16-bit floats) and NAME.json; None if `config.minutes` ended the call first."""
    import keras

    work = Path(config.work)
    sources = _sources(config, work)
    held_out = _held_out(config)
    keras.utils.set_random_seed(config.seed)
    # Weights stay 32 bits wide; only the convolutions' arithmetic is narrow.
    keras.config.set_dtype_policy(config.precision)
    student = build(len(KINDS), (config.side, config.side))
    keras.config.set_dtype_policy("float32")
    if config.start is not None:
        log.info("%-10s %d layers from %s", "start", take_over(student, Path(config.start)), config.start)
    fit_outline(
        student,
        np.concatenate(
            [views[:: max(1, len(views) // _SAMPLE)] for views in (source.examples.views for source in sources)]
        ),
    )
    run = work / "run"
    state = fit_student(student, sources, partial(_judge, held_out=held_out), config, run)
    if state is None:
        return None
    if state.epoch > 0:
        student.load_weights(run / "best.weights.h5")
    if config.teacher is not None:
        examples = sources[0].examples
        rows = slice(None, None, max(1, len(examples.views) // _SOLVE_VIEWS))
        solve_generic(student, examples.views[rows], examples.target[rows])
    return _write(student, held_out, config, state)


def _teacher(config: DistillationConfig, work: Path, photos: Sequence[Photo]) -> Teacher | None:
    """The teacher, its ONNX file and the smaller form of its cells kept in `work` under the name of the weights and
    photos they came from.
    """
    if config.teacher is None:
        return None
    weights = Path(config.teacher)
    if not weights.exists():
        raise ConfigError(
            f"teacher: {weights} does not exist; give MobileNetV2's weights without its top, "
            "or null to learn from categories and pairs alone"
        )
    onnx = work / f"teacher-{content_hash(weights)}.onnx"
    if not onnx.exists():
        export_teacher(weights, onnx.with_name("partial.onnx")).replace(onnx)
    name = content_hash(weights, json.dumps([config.photos, config.seed, len(photos)]).encode())
    cells_file = work / f"cells-{name}.npz"
    if not cells_file.exists():
        teacher = Teacher(onnx, None, name, config.threads)
        sample = (whole_view(photo.read(), TEACHER_SIDE) for photo in photos[:: max(1, len(photos) // _CELL_SAMPLE)])
        cells = np.concatenate([teacher.cells(view[None]).reshape(-1, TEACHER_DIM) for view in sample])
        projection = fit_projection(cells, tuple(TEACHER_LAYERS.values()), _CELL_DIM)
        np.savez(cells_file.with_name("partial.npz"), mean=projection.mean, matrix=projection.matrix)
        cells_file.with_name("partial.npz").replace(cells_file)
    with np.load(cells_file) as arrays:
        return Teacher(
            onnx,
            Projection(arrays["mean"], arrays["matrix"]),
            f"{name}-{content_hash(arrays['matrix'].tobytes())}",
            config.threads,
        )


def _sources(config: DistillationConfig, work: Path) -> list[Source]:
    """The sources of the training views: generated photos, real ones where there are any, with the teacher's answers
    where there is one.
    """
    generated_set = generated_photos(config.seed, range(config.products))
    photos = generated_set if config.photos is None else real_photos(Path(config.photos), "train", KINDS)
    teacher = _teacher(config, work, photos)
    generated = build_pool(
        work / "generated", generated_set, Recipe(config.generated_crops, 0, config.stored_side, config.seed), teacher
    )
    if config.photos is None:
        examples = _examples(generated, _targets(generated, _axes(generated)), _one_hot(generated.category))
        return [Source(examples, 1.0)]
    pool = build_pool(
        work / "train", photos, Recipe(config.crops, config.mixes, config.stored_side, config.seed), teacher
    )
    axes = _axes(pool)
    target, answer = _targets(pool, axes), _one_hot(pool.category)
    if teacher is not None:
        opinion = probable_categories(target, pool.category, pool.photo, len(KINDS))
        has_label = pool.category >= 0
        log.info(
            "%-10s the teacher knows the category of %.3f of the views",
            "targets",
            float((opinion.argmax(1) == pool.category)[has_label].mean()),
        )
        answer = np.where(has_label[:, None], 0.5 * (answer + opinion), opinion)
    # What the teacher sees in drawn garments is made smaller by what it sees in photos: one network answers for both.
    share = config.generated_share
    examples = _examples(generated, _targets(generated, axes), _one_hot(generated.category))
    return [Source(_examples(pool, target, answer), 1 - share), Source(examples, share)]


def _axes(pool: Pool) -> Projection | None:
    """The principal axes of the teacher's features; None without a teacher."""
    return fit_projection(pool.features, tuple(TEACHER_LAYERS.values()), GENERIC) if pool.features.shape[1] else None


def _targets(pool: Pool, axes: Projection | None) -> np.ndarray:
    """(n, d) float32: the pool's features on those axes; zeros, which train nothing, without axes."""
    return np.zeros((len(pool.views), GENERIC), np.float32) if axes is None else axes(pool.features)


def _examples(pool: Pool, target: np.ndarray, answer: np.ndarray) -> Examples:
    return Examples(pool.views, target, pool.cells, pool.product, answer)


def _one_hot(category: np.ndarray) -> np.ndarray:
    """(n, c) float32; a row of zeros for -1."""
    return np.where(category[:, None] >= 0, np.eye(len(KINDS), dtype=np.float32)[category], 0)


def _held_out(config: DistillationConfig) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """views, product, category of the photos that training never sees, as the encoder will see them."""
    sets: dict[str, list[Photo]] = {
        "generated": generated_photos(config.seed, range(_HELD_OUT_FROM, _HELD_OUT_FROM + config.held_out))
    }
    if config.photos is not None:
        sets["real"] = real_photos(Path(config.photos), "validation", KINDS)
    return {
        name: (
            np.stack([whole_view(p.read(), config.side) for p in photos]),
            np.array([p.product for p in photos]),
            np.array([p.category for p in photos]),
        )
        for name, photos in sets.items()
    }


def _judge(student, held_out: dict) -> dict[str, float]:
    """Figures on the held-out photos; "held_out" is their mean: category and product count alike, and real photos as
    much as generated ones.
    """
    figures = {}
    for name, (views, product, category) in held_out.items():
        embedding, probabilities = encode(traced(student), views)
        figures[f"{name}_top1"] = float((probabilities.argmax(1) == category).mean())
        if name == "generated":
            figures["generated_product"] = nearest_agrees(embedding, product)
        else:
            figures["real_category"] = nearest_agrees(embedding, category)
    return figures | {"held_out": float(np.mean(list(figures.values())))}


def _write(student, held_out: dict, config: DistillationConfig, state: StudentState) -> Path:
    """Calibrates the head on held-out photos, and stores weights, graph and facts."""
    views, _, category = held_out.get("real", held_out["generated"])
    head = student.get_layer("category")
    kernel, bias = head.get_weights()
    logits = np.log(encode(traced(student), views)[1] + 1e-9)
    temperature = best_temperature(logits, category)
    head.set_weights([kernel / temperature, bias / temperature])
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    weights = output / f"{config.name}.weights.h5"
    student.save_weights(weights)
    _halve(weights)
    student.load_weights(weights)  # what is shipped is what is judged
    _, probabilities = encode(traced(student), views)
    figures = _judge(student, held_out) | {"calibration_error": calibration_error(probabilities, category)}
    facts = {
        "input_size": [config.side, config.side],
        "categories": list(KINDS),
        "dim": student.output[0].shape[1],
        "trained_on": {
            "photos": config.photos and "clothing (CC0 1.0), train split",
            "generated_products": config.products,
            "teacher": config.teacher and "MobileNetV2, ImageNet (Apache-2.0)",
        },
        "training": {
            "started_from": config.start,
            "seed": config.seed,
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "minutes": round(state.seconds / 60, 1),
            "views": state.images,
        },
        "figures": {name: round(value, 4) for name, value in figures.items()},
    }
    (output / f"{config.name}.graph.onnx").write_bytes(graph_of(student, weights))
    (output / f"{config.name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    log.info("%-10s %s", "held out", json.dumps(facts["figures"]))
    return output


def _halve(weights: Path) -> None:
    """Rewrites a Keras weights file with 16-bit floats, compressed; Keras widens them when it loads."""
    import h5py

    partial_file = weights.with_name("partial.h5")
    with h5py.File(weights, "r") as full, h5py.File(partial_file, "w") as half:

        def copy(name: str, item) -> None:
            if isinstance(item, h5py.Dataset):
                narrow = item.dtype == np.float32
                copy_of_item = half.create_dataset(
                    name,
                    data=item[()].astype(np.float16) if narrow else item[()],
                    **({"compression": "gzip", "shuffle": True} if item.size > 1024 else {}),
                )
            else:
                copy_of_item = half.require_group(name)
            copy_of_item.attrs.update(item.attrs)

        half.attrs.update(full.attrs)
        full.visititems(copy)
    partial_file.replace(weights)
