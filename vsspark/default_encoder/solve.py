"""What of the student is set without a step of training: layers of an earlier encoder, and projections in closed
form.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vsspark.encoders.default import OUTLINE
from vsspark.training.views import whole_view


def take_over(student, weights: Path) -> int:
    """How many of the student's layers got their weights from a Keras weights file that has layers of the same name
    and shapes.
    """
    import h5py

    values_by_layer = {}
    with h5py.File(weights, "r") as file:
        for group in file["layers"].values():
            values = group["vars"]
            values_by_layer[values.attrs["name"]] = [values[str(i)][()].astype(np.float32) for i in range(len(values))]
    count = 0
    for layer in student.layers:
        values = values_by_layer.get(layer.name, [])
        if values and [value.shape for value in values] == [weight.shape for weight in layer.get_weights()]:
            layer.set_weights(values)
            count += 1
    return count


def fit_outline(student, views: np.ndarray) -> None:
    """Sets the projection of the outline, which is not trained, to the principal axes of its input."""
    x = _into(student, "outline_cells", views)
    mean = x.mean(0)
    axes = np.linalg.eigh(np.cov(x.T))[1][:, ::-1][:, :OUTLINE]
    student.get_layer("outline_projection").set_weights([axes, -mean @ axes])


def solve_generic(student, views: np.ndarray, target: np.ndarray, ridge: float = 0.1) -> None:
    """Sets the projection to the generic part to the one that comes nearest to the teacher's features (ridge regression
    on its input).
    """
    x = _into(student, "levels", views)
    mean, deviation = x.mean(0), x.std(0) + 1e-3 * x.std()
    x = (x - mean) / deviation
    weights = (
        np.linalg.solve(
            x.T @ x / len(x) + ridge * np.eye(x.shape[1], dtype=np.float32), x.T @ (target - target.mean(0)) / len(x)
        )
        / deviation[:, None]
    )
    student.get_layer("generic_projection").set_weights([weights, target.mean(0) - mean @ weights])


def _into(student, layer: str, views: np.ndarray) -> np.ndarray:
    """(n, d) float32: the layer's output for the views."""
    import keras

    side = student.input_shape[1]
    images = np.stack([whole_view(view, side) for view in views]).astype(np.float32)
    return keras.Model(student.input, student.get_layer(layer).output).predict(images, batch_size=64, verbose=0)
