"""What a session is given where nobody has said it."""

from __future__ import annotations

import pytest

from vsspark.spark import session


@pytest.mark.parametrize(("slots", "local", "partitions"), [(2, True, 4), (2, False, 200), (400, False, 800)])
def test_shuffle_partitions_follow_the_slots(slots, local, partitions):
    assert session.shuffle_partitions(slots, local) == partitions
