"""Where a fit stands, kept in files that a killed run goes on from."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np


@dataclass
class FitState:
    """Where a fit stands; saved in each checkpoint."""

    epoch: int = 0  # finished
    best: float = -math.inf  # the best held-out figure; the start's own counts
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


_State = TypeVar("_State", bound=FitState)


def save(file: Path, variables: list, state: FitState) -> None:
    """Writes one file, moved into place when it is whole: a kill leaves the checkpoint before it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    arrays = {f"v{i}": np.asarray(variable) for i, variable in enumerate(variables)}
    with partial.open("wb") as out:
        np.savez(out, progress=json.dumps(asdict(state)), **arrays)
    partial.replace(file)


def read_state(file: Path, kind: type[_State] = FitState) -> _State | None:
    """The state in a checkpoint; None where there is no file."""
    if not file.exists():
        return None
    with np.load(file) as saved:
        return kind(**json.loads(str(saved["progress"])))


def restore(file: Path, variables: list, kind: type[_State] = FitState) -> _State | None:
    """Sets the variables from a checkpoint and returns its state; None, and nothing set, where there is no file."""
    state = read_state(file, kind)
    if state is not None:
        with np.load(file) as saved:
            for i, variable in enumerate(variables):
                variable.assign(saved[f"v{i}"])
    return state
