"""The results of a comparison as plain values: from `evaluate`, for `files` and MLflow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vsspark.config import EvaluationConfig
from vsspark.evaluation.compare import HeadFigures, Row

# What MLflow refuses in a metric's name, and the slash, which makes folders.
_NOT_IN_A_METRIC = re.compile(r"[^\w.: -]")


def metric_name(name: str) -> str:
    """The name as MLflow takes it."""
    return _NOT_IN_A_METRIC.sub("_", name)


@dataclass(frozen=True)
class Unusable:
    """An image of the sample that an encoder could not use."""

    image_id: int
    uri: str
    reason: str
    detail: str


@dataclass(frozen=True)
class EncoderLine:
    title: str  # name and layer, as the configuration gives them
    model_version: str
    dim: int
    unit_norm: bool
    seconds: float  # wall, to embed the sample
    has_head: bool
    head: HeadFigures | None  # None: no head of its own, or one that knows none of the catalogue's categories


@dataclass(frozen=True)
class Results:
    run_id: str
    table: str  # the catalogue's
    images: int  # sampled
    usable: int  # of them, by every encoder
    queries: int
    several_images: bool  # whether any sampled product has more than one image
    settings: EvaluationConfig
    encoders: tuple[EncoderLine, ...]
    rows: tuple[Row, ...]  # the random control first
    unusable: tuple[Unusable, ...]

    def columns(self) -> dict[str, str]:
        """Name -> heading of the figures that this catalogue has."""
        headings = {
            "category_at_1": "category@1",
            "precision_at_k": f"precision@{self.settings.k}",
            "same_product_at_1": "same product@1",
            "category_at_1_other_product": "category@1, other products",
            "category_at_1_other_sender": "category@1, other senders",
            "precision_at_k_other_sender": f"precision@{self.settings.k}, other senders",
        }
        return {name: heading for name, heading in headings.items() if any(row.figures.get(name) for row in self.rows)}

    def metrics(self) -> dict[str, float]:
        """MODEL.FIGURE -> value of every figure there is."""
        metrics = {
            "images": self.images,
            "usable": self.usable,
            "quarantined": len(self.unusable),
            "queries": self.queries,
        }
        for row in self.rows:
            values = {name: figure.value for name, figure in row.figures.items() if figure}
            values |= {"hub": row.hub, "hub_skewness": row.hub_skewness, "search_seconds": row.seconds}
            metrics |= {f"{row.model}.{name}": value for name, value in values.items() if value is not None}
        for line in self.encoders:
            metrics[f"{line.title}.embed_seconds"] = line.seconds
            if line.head:
                metrics |= {
                    f"{line.title}.head_top1": line.head.top1.value,
                    f"{line.title}.calibration_error": line.head.calibration_error,
                }
        return {metric_name(name): float(value) for name, value in metrics.items()}

    def as_table(self) -> dict[str, list]:
        """Columns of equal length, one entry per row: what MLflow shows as a table."""
        table: dict[str, list] = {"model": [row.model for row in self.rows]}
        for name in self.columns():
            figures = [row.figures.get(name) for row in self.rows]
            for part in ("value", "low", "high", "count"):
                table[name if part == "value" else f"{name}_{part}"] = [
                    getattr(figure, part) if figure else None for figure in figures
                ]
        return table | {name: [getattr(row, name) for row in self.rows] for name in ("hub", "hub_skewness", "seconds")}
