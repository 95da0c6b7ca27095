"""Written rules night by night: one that begins or ends today takes effect though nothing else has changed."""

from __future__ import annotations

import json

import pytest
from deltalake import DeltaTable
from invariants import connect
from shops import arguments, draw_shop

from jobs import recommend

ANY = ["gate.max_changed=1.0", "gate.max_drift=1.0", "gate.max_products_lost=1.0"]


def _rows(folder):
    rows = DeltaTable(f"{folder}/out/similar_products").to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row["product_id"], row["surface"], row["rank"]))


def _runs(folder):
    found = connect(f"{folder}/out").sql("select run_id, status from runs").fetchall()
    return dict(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_rule_holds_from_its_first_day_to_its_last(spark, tmp_path, capfd):
    rows = draw_shop(tmp_path, products=14, images=1)
    names = sorted({row["sku"] for row in rows})
    own = arguments(
        tmp_path, f"{tmp_path}/out", *ANY, "recommend.surfaces={cheaper: {price: {at_most_times: 0.9}, k: 2}}"
    )
    file = tmp_path / "rules.csv"
    file.write_text(
        "id,when,action,target,from,until,surface\n"
        f"front,,pin@2,product={names[0]},2026-12-01,2026-12-24,similar\n"
        f"never,product={names[1]}|{names[2]},block,product={names[3]},,2026-12-10,\n"
    )

    def night(run_id, day, *more):
        code = recommend.main([*own, "--run-id", run_id, "--run-date", day, "--rules", str(file), *more])
        return code, capfd.readouterr()

    assert night("before", "2026-11-30")[0] == 0
    plain = _rows(tmp_path)
    assert {row["reason"] for row in plain} == {None}
    assert {row["surface"] for row in plain} == {"similar", "cheaper"}
    assert night("same", "2026-11-30")[0] == 0
    assert _runs(tmp_path)["same"] == "unchanged"
    code, said = night("look", "2026-12-01", "--dry-run")
    assert code == 0
    front = next(line for line in said.out.splitlines() if line.startswith("front")).split()
    assert "look" not in _runs(tmp_path)
    assert night("begun", "2026-12-01")[0] == 0
    assert _runs(tmp_path)["begun"] == "published"
    pinned = [row for row in _rows(tmp_path) if row["reason"] == "pin front"]
    assert {(row["rank"], row["similar_product_id"], row["surface"]) for row in pinned} == {(2, names[0], "similar")}
    assert {row["product_id"] for row in pinned} == set(names[1:])
    assert front == ["front", "pin@2", str(len(pinned)), "0", "0"]
    for row in _rows(tmp_path):
        assert row["product_id"] not in names[1:3] or row["similar_product_id"] != names[3]
    applied = DeltaTable(f"{tmp_path}/out/applied_rules").to_pyarrow_table().to_pylist()
    assert [(rule["id"], rule["line"], json.loads(rule["target"])) for rule in applied] == [
        ("front", 2, {"product": [names[0]]}),
        ("never", 3, {"product": [names[3]]}),
    ]
    assert night("begun-again", "2026-12-02")[0] == 0
    assert _runs(tmp_path)["begun-again"] == "unchanged"
    assert night("over", "2026-12-25")[0] == 0
    assert _runs(tmp_path)["over"] == "published"
    named = {"run_id", "run_date"}
    assert [{k: v for k, v in row.items() if k not in named} for row in _rows(tmp_path)] == [
        {k: v for k, v in row.items() if k not in named} for row in plain
    ]
    file.write_text("id,action,target\nodd,block,product=nobody\n")
    code, said = night("wrong", "2026-12-25")
    assert code == 2
    assert f"{file}: line 2: the catalogue has no product 'nobody'" in said.err
    assert night("lenient", "2026-12-25", "--lenient")[0] == 0
    assert _runs(tmp_path)["lenient"] == "unchanged"
    assert not (tmp_path / "out" / "_lock").exists()
