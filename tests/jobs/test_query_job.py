"""`jobs/query.py` against published runs: a garment of the shop finds itself, a stranger's picture finds its
category.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from invariants import connect
from shops import arguments, draw_shop

from jobs import query, recommend
from vsspark.config import OutputConfig
from vsspark.schemas import RUNS
from vsspark.storage.store import Store


@pytest.fixture
def shop(published):
    """(folder of the shop, its good rows, arguments) of the published run."""
    photos, output, rows = published
    return photos.parent, [row for row in rows if row["sku"].startswith("P")], arguments(photos, output)


def _answers(capsys, *args):
    capsys.readouterr()
    code = query.main([*args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_shops_own_picture_finds_its_product_and_then_its_likes(shop, capsys):
    folder, rows, own = shop
    pictures = [f"{folder}/photos/{rows[i]['photo']}" for i in (0, 7)]
    code, said = _answers(capsys, *own, "--k", "4", *pictures)
    assert (code, said["run_id"]) == (0, "night-1")
    con = connect(f"{folder}/out")
    items = con.sql(
        "select product_id, images.uri, embedding, images.predicted_category "
        "from images join image_embeddings using (image_id) order by image_id"
    ).fetchall()
    x = np.array([item[2] for item in items])
    for picture, row, answer in zip(pictures, (rows[0], rows[7]), said["answers"], strict=True):
        assert answer["image"] == picture
        best = answer["similar"][0]
        assert (best["rank"], best["product_id"], best["image_uri"], best["category"]) == (
            1,
            row["sku"],
            picture,
            row["kind"],
        )
        assert best["price"] == pytest.approx(float(row["cost"]))
        assert best["similarity"] == pytest.approx(1, abs=1e-5)
        values = x @ next(item[2] for item in items if item[1] == picture)
        probed = {name for name, _ in answer["categories"]}
        near = sorted(range(len(items)), key=lambda i: -values[i])
        by_category = list(dict.fromkeys(items[i][0] for i in near if items[i][3] in probed))[:4]
        everywhere = [p for p in dict.fromkeys(items[i][0] for i in near) if p not in by_category]
        assert [s["product_id"] for s in answer["similar"]] == (by_category + everywhere)[:4]
        assert [s["source"] for s in answer["similar"]] == ["visual"] * len(by_category) + ["backfill"] * (
            4 - len(by_category)
        )


def test_the_table_for_people(shop, capsys):
    folder, rows, own = shop
    capsys.readouterr()
    assert query.main([*own, f"{folder}/photos/{rows[0]['photo']}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["rank", "product", "similarity", "category", "price", "source", "uri"]
    assert lines[2].split()[:3] == ["1", "P00", "1.0000"]
    assert len(lines) == 2 + 10  # the default of --k


def test_unusable_pictures_say_why_and_only_where_none_is_left_the_job_fails(shop, capsys):
    folder, rows, own = shop
    (folder / "page.jpg").write_text("<html>")
    good, bad = f"{folder}/photos/{rows[0]['photo']}", [f"{folder}/page.jpg", f"{folder}/none.jpg"]
    code, said = _answers(capsys, *own, bad[0], good, bad[1])
    assert code == 0
    assert [answer["reason"] for answer in said["answers"]] == ["not_an_image", None, "missing"]
    assert [len(answer["similar"]) for answer in said["answers"]] == [0, 10, 0]
    capsys.readouterr()
    assert query.main([*own, *bad]) == 2
    caught = capsys.readouterr()
    assert caught.out.startswith(f"{bad[0]}: not used, not_an_image: ")
    assert "query: none of the 2 pictures could be used, the first is not_an_image" in caught.err.splitlines()[-1]


def _copy(spark, shop, tmp_path, model_version=None, **recorded):
    """The published tables again, with another `runs` row: what a run with these settings, or another encoder, would
    have left.
    """
    folder, _, own = shop
    shutil.copytree(folder / "out", tmp_path / "out")
    store = Store(spark, OutputConfig(path=str(tmp_path / "out")))
    row = store.read("runs").where("run_id = 'night-1'").first().asDict()
    config = json.loads(row["config"])
    for section, values in recorded.items():
        config[section] |= values
    row |= {"config": json.dumps(config), "model_version": model_version or row["model_version"]}
    store.replace(
        "runs",
        spark.createDataFrame([tuple(row[name] for name in RUNS.names)], RUNS),
        RUNS,
        by="run_id",
        value="night-1",
        run_id="night-1",
    )
    return [*own, "--set", f"output.path={tmp_path}/out"]


def test_another_encoder_than_the_tables_is_refused(spark, shop, tmp_path, capsys):
    own = _copy(spark, shop, tmp_path, model_version="default-older")
    assert query.main([*own, "picture.jpg"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("query: encoder: got model version default-")
    assert "the published run night-1 has default-older: give its encoder, name=default" in message


@pytest.mark.parametrize(
    ("by", "metric"), [("none", "l2"), pytest.param("catalogue_category", "l1", marks=pytest.mark.slow)]
)
def test_the_runs_own_settings_count_not_todays(spark, shop, tmp_path, capsys, by, metric):
    folder, rows, _ = shop
    own = _copy(spark, shop, tmp_path, blocking={"by": by, "probes": 1}, knn={"metric": metric})
    _, said = _answers(capsys, *own, "--k", "12", f"{folder}/photos/{rows[0]['photo']}")
    (answer,) = said["answers"]
    assert answer["similar"][0]["similarity"] == pytest.approx(1, abs=1e-3)  # 1 / (1 + distance)
    assert answer["similar"][0]["product_id"] == "P00"
    assert len(answer["similar"]) == 12
    if by == "none":
        assert answer["categories"] == []
        assert {s["source"] for s in answer["similar"]} == {"visual"}
    else:
        (probed,) = [name for name, _ in answer["categories"]]
        assert {s["category"] for s in answer["similar"] if s["source"] == "visual"} == {probed}


@pytest.mark.slow
def test_a_run_by_clusters_in_parquet_is_asked_with_the_head_it_fitted(spark, tmp_path, capsys):
    rows = draw_shop(tmp_path, products=10, images=1)  # even: no median is a picture's own number
    settings = [
        "output.format=parquet",
        "blocking.by=cluster",
        "blocking.clusters=3",
        "knn.metric=hamming",
        "recommend.backfill=false",
    ]
    own = arguments(tmp_path, f"{tmp_path}/out", *settings)
    assert recommend.main([*own, "--set", "gate.min_coverage=0", "--run-id", "c"]) == 0
    stored = {row.uri: row.predicted_category for row in spark.read.parquet(f"{tmp_path}/out/images").collect()}
    pictures = [f"{tmp_path}/{row['photo']}" for row in rows]
    _, said = _answers(capsys, *own, *pictures)
    for picture, row, answer in zip(pictures, rows, said["answers"], strict=True):
        assert answer["categories"][0][0] == stored[picture]
        best = answer["similar"][0]
        assert (best["product_id"], best["image_uri"], best["similarity"]) == (row["sku"], picture, 1)
        assert {s["source"] for s in answer["similar"]} == {"visual"}


def test_the_index_is_what_is_searched_and_without_it_the_table_gives_the_same(shop, tmp_path, capsys):
    folder, rows, own = shop
    picture = f"{folder}/photos/{rows[3]['photo']}"
    capsys.readouterr()
    assert query.main([*own, "--json", picture]) == 0
    with_index = capsys.readouterr()
    assert "not used" not in with_index.err
    shutil.copytree(folder / "out", tmp_path / "out", ignore=shutil.ignore_patterns("_index"))
    assert query.main([*own, "--set", f"output.path={tmp_path}/out", "--json", picture]) == 0
    without = capsys.readouterr()
    lines = [line for line in without.err.splitlines() if "the table embeddings is read instead" in line]
    assert len(lines) == 1
    assert f"there is no index at {tmp_path}/out/_index/neighbours" in lines[0]
    assert without.out == with_index.out


def test_a_query_starts_no_jvm(shop):
    """In a process of its own with no Java to be found; from another folder, as the installed command would."""
    folder, rows, own = shop
    code = (
        "import sys; from vsspark.job.cli import main; code = main(sys.argv[1:]); print(*sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "query", *own, "--json", f"{folder}/photos/{rows[0]['photo']}"]
    environment = {"PATH": "/nowhere", "HOME": str(folder)}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert process.returncode == 0, process.stderr
    assert '"product_id": "P00"' in process.stdout
    assert {"pyspark", "tensorflow", "numba", "pandas"}.isdisjoint(process.stdout.splitlines()[-1].split())


def test_nothing_published_and_wrong_usage(spark, tmp_path, capsys):
    assert query.main(["--set", f"output.path={tmp_path}", "picture.jpg"]) == 2
    assert "nothing is published below" in capsys.readouterr().err
    assert query.main(["--k", "0", "picture.jpg"]) == 2
    assert "got 0, expected at least 1" in capsys.readouterr().err
    assert query.main([]) == 2
