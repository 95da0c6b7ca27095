"""The teacher: ImageNet's MobileNetV2, run by ONNX Runtime; what it sees in each cell of a picture is what the
student learns to give.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vsspark.default_encoder.targets import Projection

TEACHER_SIDE = 224
# Layer: channels; the last one still knows pattern and colour.
TEACHER_LAYERS = {"out_relu": 1280, "block_16_project_BN": 320, "block_12_add": 96}
TEACHER_DIM = sum(TEACHER_LAYERS.values())
TEACHER_CELLS = 7  # a side


def export_teacher(weights: Path, to: Path) -> Path:
    """An ONNX file: float RGB 0..255 (n, 224, 224, 3) -> features by cell (n, 7, 7, 1696) of TEACHER_LAYERS side by
    side.
    """
    import keras

    base = keras.applications.MobileNetV2(
        input_shape=(TEACHER_SIDE, TEACHER_SIDE, 3), include_top=False, weights=str(weights)
    )
    image = keras.Input((TEACHER_SIDE, TEACHER_SIDE, 3), name="image")
    taps = keras.Model(base.input, [base.get_layer(name).output for name in TEACHER_LAYERS])(image / 127.5 - 1.0)
    cells = keras.layers.Concatenate()(
        [keras.layers.AveragePooling2D(tap.shape[1] // TEACHER_CELLS)(tap) for tap in taps]
    )
    to.parent.mkdir(parents=True, exist_ok=True)
    model = keras.Model(image, cells)
    model(np.zeros((1, TEACHER_SIDE, TEACHER_SIDE, 3), np.float32))  # Keras exports only models that have been called
    model.export(str(to), format="onnx", verbose=False)
    return to


class Teacher:
    """Answers for views (n, 224, 224, 3) uint8."""

    def __init__(self, onnx_file: Path, by_cell: Projection | None, name: str, threads: int):
        """by_cell: what `answer` makes each cell smaller with; name: of teacher and projection, equal where their
        answers are.
        """
        import onnxruntime

        self.by_cell, self.name = by_cell, name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def cells(self, views: np.ndarray) -> np.ndarray:
        """(n, 7, 7, 1696) float32."""
        return self._session.run(None, {self._input: views.astype(np.float32)})[0]

    def answer(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features averaged over the picture, (n, 1696) float32, and by cell as `by_cell` gives them, (n, 7, 7, d)
        float32, unit norm each.
        """
        cells = self.cells(views)
        return cells.mean((1, 2)), self.by_cell(cells.reshape(-1, TEACHER_DIM)).reshape(*cells.shape[:3], -1)
