"""What a stage hands back: the pipeline folds it into the run's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StageResult:
    """counts: rows in and out, the first of them the one whose rate is shown. metrics: figures the gate may judge."""

    counts: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    metrics: Mapping[str, float] = field(default_factory=dict, kw_only=True)
