"""Single stages after a rollback or a refusal: they go on from the run that is published again, not from the last one
that embedded.
"""

from __future__ import annotations

import pytest
from invariants import check, connect, content
from shops import arguments, draw_shop

from jobs import neighbours, publish, recommend, rollback

OTHER_MODEL = "encoder.unit_norm=false"  # its vectors are stored unscaled: another model version


def _versions(output: str) -> list[tuple]:
    return (
        connect(output)
        .sql(
            "select distinct model_version from neighbours "
            "union all select distinct model_version from similar_products"
        )
        .fetchall()
    )


@pytest.mark.slow
def test_stages_after_a_rollback_go_on_from_the_run_that_is_current_again(spark, tmp_path):
    """The first run lacks a photo that the second has: its quarantine, too, is the one to count by."""
    rows = draw_shop(tmp_path, products=8, images=2)
    output, photo = f"{tmp_path}/out", tmp_path / rows[3]["photo"]
    own = arguments(tmp_path, output, "gate.max_changed=1.0", "gate.max_drift=1.0")
    photo.rename(tmp_path / "later.jpg")
    assert recommend.main([*own, "--run-id", "first"]) == 0
    (first,) = connect(output).sql("select distinct model_version from embeddings").fetchall()
    before = content(output)
    (tmp_path / "later.jpg").rename(photo)
    assert recommend.main([*own, "--set", OTHER_MODEL, "--run-id", "second"]) == 0
    assert set(_versions(output)) == {(f"{first[0]}-unscaled",)}
    assert rollback.main([*own, "--run-id", "back"]) == 0
    assert neighbours.main([*own, "--run-id", "searched"]) == 0
    assert set(_versions(output)) == {first}
    assert publish.main([*own, "--run-id", "published"]) == 0
    assert content(output) == before
    check(connect(output), 5, "first")
    # The run that is published now embedded nothing itself; going back to it, and on from there, still finds whose
    # embeddings it has.
    assert recommend.main([*own, "--set", OTHER_MODEL, "--run-id", "third"]) == 0
    assert rollback.main([*own, "--to", "published", "--run-id", "back-again"]) == 0
    assert publish.main([*own, "--run-id", "published-again"]) == 0
    assert content(output) == before


@pytest.mark.slow
def test_stages_after_a_refusal_go_on_from_the_published_run(spark, tmp_path):
    draw_shop(tmp_path, products=6, images=1)
    output = f"{tmp_path}/out"
    own = arguments(tmp_path, output)
    assert recommend.main([*own, "--run-id", "good"]) == 0
    before = content(output)
    assert recommend.main([*own, "--set", OTHER_MODEL, "--set", "gate.min_products=50", "--run-id", "refused"]) == 3
    assert neighbours.main([*own, "--run-id", "searched"]) == 0
    assert publish.main([*own, "--run-id", "published"]) == 0
    assert content(output) == before
