"""Files that somebody broke: each ends as a picture or as an ImageError with its reason, soon and in little memory."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from vsspark.errors import Reason

sys.path.insert(0, str(Path(__file__).parent))
from decode_files import decoded
from mutations import mutated, seeds

MAX_PIXELS = 4_000_000
MEMORY_MIB = 19 * MAX_PIXELS / 2**20 + 24  # what `decode` says of a decode, and some room for the allocator
SECONDS = 5
REASONS = {Reason.NOT_AN_IMAGE, Reason.TRUNCATED, Reason.CORRUPT, Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL}


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_broken_files_are_decoded_or_refused(tmp_path, count):
    originals = seeds()
    names, dice = sorted(originals), random.Random(count)
    paths = []
    for i in range(count):
        name = names[i % len(names)]
        data = mutated(originals[name], originals[dice.choice(names)], dice)
        paths.append(tmp_path / f"{i:05d}-{name}")
        paths[-1].write_bytes(data)
    outcomes = decoded(paths, MAX_PIXELS)
    assert list(outcomes) == paths
    reasons = Counter(outcome["reason"] for outcome in outcomes.values())
    slowest = max(outcomes, key=lambda path: outcomes[path]["seconds"])
    largest = max(outcomes, key=lambda path: outcomes[path]["mib"])
    print(
        f"{count} files: {dict(reasons)}; slowest {slowest.name} {outcomes[slowest]['seconds']:.2f} s; "
        f"largest {largest.name} {outcomes[largest]['mib']:.0f} MiB"
    )
    assert set(reasons) - {None} <= {reason.value for reason in REASONS}
    # Neither a decoded nor a refused file may be the exception.
    assert reasons[None] > count / 20, reasons
    assert sum(reasons.values()) - reasons[None] > count / 3, reasons
    assert outcomes[slowest]["seconds"] < SECONDS, slowest
    assert outcomes[largest]["mib"] < MEMORY_MIB, largest


def test_every_original_is_decoded(tmp_path):
    paths = []
    for name, data in seeds().items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(data)
    assert {
        path.name: outcome["reason"] for path, outcome in decoded(paths, MAX_PIXELS).items() if outcome["reason"]
    } == {}
