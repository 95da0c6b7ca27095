"""The teacher: ImageNet's MobileNetV2, run by ONNX Runtime; its features are what the student learns to give."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TEACHER_SIDE = 224
TEACHER_LAYERS = {"out_relu": 1280, "block_16_project_BN": 320, "block_12_add": 96}  # layer: channels; the last one still knows pattern and colour
TEACHER_DIM = sum(TEACHER_LAYERS.values())


def export_teacher(weights: Path, to: Path) -> Path:
    """An ONNX file: float RGB 0..255 (n, 224, 224, 3) -> pooled features (n, 1696) of TEACHER_LAYERS side by side."""
    import keras

    base = keras.applications.MobileNetV2(input_shape=(TEACHER_SIDE, TEACHER_SIDE, 3), include_top=False, weights=str(weights), pooling="avg")
    image = keras.Input((TEACHER_SIDE, TEACHER_SIDE, 3), name="image")
    taps = keras.Model(base.input, [base.get_layer(name).output for name in TEACHER_LAYERS])(image / 127.5 - 1.0)
    pooled = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(tap) for tap in taps])
    to.parent.mkdir(parents=True, exist_ok=True)
    model = keras.Model(image, pooled)
    model(np.zeros((1, TEACHER_SIDE, TEACHER_SIDE, 3), np.float32))  # Keras exports only models that have been called
    model.export(str(to), format="onnx", verbose=False)
    return to


class Teacher:
    """Teacher.encode(views uint8 (n, 224, 224, 3)) -> (n, 1696) float32."""

    def __init__(self, onnx_file: Path, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def encode(self, views: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: views.astype(np.float32)})[0]
