"""The main job while its pictures' store throttles, hangs up and loses the end of what it sends: every image
embedded, or set aside with its reason.
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import pytest
from invariants import check, connect
from shops import arguments, draw_shop, write_catalogue

from jobs import recommend

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))
from unreliable_store import KEYS, Faults, s3_server, unreliable

COUNT = 2_000


@pytest.fixture
def hadoop(spark):
    """Sets Hadoop properties for the time of the test."""
    settings = spark.sparkContext._jsc.hadoopConfiguration()
    names: set[str] = set()

    def use(options: dict[str, str]) -> None:
        for name, value in options.items():
            settings.set(name, value)
            names.add(name)

    yield use
    for name in names:
        settings.unset(name)


def _objects(folder: Path, rows: list[dict]) -> dict[str, bytes]:
    """2,000 pictures by key, each of its own content; two in three of a size that others have, so that they are
    hashed before they are embedded.
    """
    pictures = [(folder / row["photo"]).read_bytes() for row in rows]
    return {
        f"{i:04d} ü.jpg": pictures[i % len(pictures)] + f"{i:04d}".encode() * (1 if i % 3 else i) for i in range(COUNT)
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tenth_of_the_requests_fail_and_no_image_is_lost(hadoop, tmp_path):
    drawn = draw_shop(tmp_path, products=50, images=1)
    objects = _objects(tmp_path, drawn)
    keys = list(objects)
    dice = random.Random(7)
    bad = dict.fromkeys(dice.sample(keys[10:], 25), "missing") | {
        keys[1]: "empty",
        keys[2]: "not_an_image",
        keys[3]: "unreadable",
        keys[4]: "unreadable",
    }
    objects |= {keys[1]: b"", keys[2]: b"<html>busy</html>"}
    write_catalogue(
        tmp_path,
        [
            {"sku": f"P{i // 2:04d}", "photo": key, "kind": drawn[i % 50]["kind"], "cost": "1"}
            for i, key in enumerate(keys)
        ],
    )
    own = arguments(
        tmp_path,
        f"{tmp_path}/out",
        "catalogue.images_root=s3a://shop/a folder",
        "images.attempts=8",
        "images.timeout_s=2",
        "gate.max_changed=1",
    )
    # A key in the proxy's eyes is a quoted path, of which the number is enough.
    faults = Faults(
        failing=0.1,
        truncated=0.01,
        silent_s=2.5,
        always={f"/{keys[3][:4]}": "forbidden", f"/{keys[4][:4]}": "slow_down"},
    )
    with s3_server() as (port, client):
        for key, body in objects.items():
            if bad.get(key) != "missing":
                client.put_object(Bucket="shop", Key=f"a folder/{key}", Body=body)
        with unreliable(port, faults) as options:
            hadoop(options)
            assert recommend.main([*own, "--run-id", "night"]) == 0
            con = connect(f"{tmp_path}/out")
            check(con, 5, "night")
            name = "replace(uri, 's3a://shop/a folder/', '')"
            refused = con.sql(f"select {name}, reason, detail from quarantine").fetchall()
            embedded = con.sql(f"select {name}, content_hash from image_embeddings").fetchall()
            counts, config = con.execute("select counts, config from runs").fetchone()
            print(f"{faults.seen.total()} requests: {dict(faults.seen)}")
        assert {key: reason for key, reason, _ in refused} == bad
        assert len(refused) == len(bad)
        assert dict(embedded) == {
            key: hashlib.sha256(body).hexdigest() for key, body in objects.items() if key not in bad
        }
        assert len(embedded) == COUNT - len(bad)
        assert (counts["images"], counts["embedded"], counts["quarantined"]) == (COUNT, COUNT - len(bad), len(bad))
        assert KEYS["secret"] not in config + str(refused)
        failed = sum(times for fault, times in faults.seen.items() if not fault.endswith("none"))
        assert failed > 0.08 * faults.seen.total()
        assert faults.seen["GET truncated"] > 10
        # The store is well again: what could not be used is asked for once more, and nothing else.
        faults.failing, faults.truncated, faults.always = 0.0, 0.0, {}
        with unreliable(port, faults) as options:
            hadoop(options)
            assert recommend.main([*own, "--run-id", "next"]) == 0
            counts = connect(f"{tmp_path}/out").execute("select counts from runs where run_id = 'next'").fetchone()[0]
            assert (counts["inferred"], counts["embedded"], counts["quarantined"]) == (
                len(bad),
                COUNT - len(bad) + 2,
                len(bad) - 2,
            )
