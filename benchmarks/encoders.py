"""What ONNX encoders reach, cost and hold in memory.

python -m benchmarks.encoders [--data ../shared/data]

Quality: EfficientNet-Lite2's and MobileNetV2's single views by plain cosine, leave one out; nothing is fitted.
Cost: images/s of one thread in batches of 4, as a Python worker embeds, of networks with random weights: time does not
depend on them. Memory: of two processes that embed at once, what each has to itself and what they share (PSS).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.default_encoder import clothing_figures, labels, read_photos, shop_figures
from benchmarks.harness import MOBILENET, catalogue_rows, photo_folder, write_results
from vsspark import encoders
from vsspark.encoders.export import export
from vsspark.encoders.quiet import import_tensorflow
from vsspark.evaluation.measures import nearest_agrees

_LITE2 = "weights/efficientnet_lite2"
_WORKER = """
import sys, numpy as np, psutil
from vsspark import encoders
from vsspark.encoders.engines import load_engine
encoder = encoders.load(sys.argv[1], sys.argv[2])
before = psutil.Process().memory_full_info().pss
engine = load_engine("onnxruntime", str(encoder.files["onnxruntime"]), 4, 1)
engine.run(np.zeros((4, *encoder.input_size, 3), np.uint8))
print("ready", flush=True); sys.stdin.readline()
print((psutil.Process().memory_full_info().pss - before) / 2**20, flush=True); sys.stdin.readline()
"""


def main(argv: list[str] | None = None) -> int:
    data = photo_folder("encoders", argv)
    if data is None:
        return 0
    cases = []
    for name, weights in (("onnx", str(data / _LITE2)), ("mobilenet_v2", str(data / MOBILENET))):
        encoder = encoders.load(name, weights)
        case = {"case": f"{name} {encoder.model_version}", "images_per_s": _speed(encoder)}
        case["pss_mib_a_worker"] = _memory(name, weights)
        cases.append(case | _quality(encoder, data))
        print(case, cases[-1], flush=True)
    for name, network in _random_networks():
        encoder = export(name, f"{name}-random", network, None)
        folder = Path("build/encoders/bench") / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(encoder.files["onnxruntime"], folder / "model.onnx")
        side = encoder.input_size[0]
        steps = {"size": side, "do_rescale": False, "do_normalize": False, "image_mean": [0] * 3, "image_std": [1] * 3}
        (folder / "preprocessor_config.json").write_text(json.dumps(steps))
        as_onnx = encoders.load("onnx", str(folder))
        cases.append({"case": name, "images_per_s": _speed(as_onnx), "pss_mib_a_worker": _memory("onnx", str(folder))})
        print(cases[-1], flush=True)
    print(write_results("encoders", cases))
    return 0


def _random_networks():
    """(name, network) for each of the sizes that are asked for most; the vision transformers need keras-hub."""
    import_tensorflow()
    import keras

    try:
        import keras_hub
    except ImportError:
        return
    size = {"image_shape": (224, 224, 3), "num_layers": 12}
    for name, network in (
        (
            "vit_s14",
            lambda: keras_hub.models.DINOV2Backbone(
                patch_size=14, hidden_dim=384, num_heads=6, intermediate_dim=1536,
                position_embedding_shape=(224, 224, 3), **size,
            ),
        ),
        ("vit_b16", lambda: keras_hub.models.ViTBackbone(patch_size=16, hidden_dim=768, num_heads=12, mlp_dim=3072, **size)),
    ):  # fmt: skip
        pixels = keras.Input((224, 224, 3))
        yield name, keras.Model(pixels, network()(pixels / 255)[:, 0])


def _quality(encoder: encoders.Encoder, data) -> dict[str, float]:
    clothing = [row for row in catalogue_rows(data / "clothing") if row["split"] == "test"]
    luma = catalogue_rows(data / "luma")
    shop = _embed(encoder, read_photos(data / "luma", luma))
    category, product = labels(row["category"] for row in luma), labels(row["product"] for row in luma)
    return (
        shop_figures(shop, luma)
        | {"luma_category_other_product": nearest_agrees(shop, category, exclude=product)}
        | clothing_figures(_embed(encoder, read_photos(data / "clothing", clothing)), None, clothing, ())
    )


def _embed(encoder: encoders.Encoder, photos: list[np.ndarray]) -> np.ndarray:
    rows = np.concatenate([encoder.encode(np.ascontiguousarray(photo)[None], 1)[0] for photo in photos])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _speed(encoder: encoders.Encoder, repeats: int = 9) -> float:
    from vsspark.encoders.engines import load_engine

    engine = load_engine("onnxruntime", str(encoder.files["onnxruntime"]), 4, 1)
    images = np.random.default_rng(0).integers(0, 256, (4, *encoder.input_size, 3), np.uint8)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        engine.run(images)
        seconds.append(time.perf_counter() - begin)
    return 4 / float(np.median(seconds))


def _memory(name: str, weights: str) -> float:
    """MiB of one of two processes, pages that they share counted by half each."""
    command = [sys.executable, "-c", _WORKER, name, weights]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    found = []
    for worker in workers:
        print(file=worker.stdin)
        found.append(float(worker.stdout.readline()))
    for worker in workers:
        print(file=worker.stdin)
        worker.wait()
    return max(found)


if __name__ == "__main__":
    raise SystemExit(main())
