from __future__ import annotations

import pytest

from vsspark.config import Config, KnnConfig, load_config, recorded_settings
from vsspark.errors import ConfigError
from vsspark.masking import has_user_info, mask_text


def test_defaults_then_file_then_overrides(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text("knn: {k: 7, metric: l2}\ncatalogue:\n  columns: {category: kind}\n")
    config = load_config(file, ["knn.k=9", "catalogue.columns.price=cost", "spark.sql.shuffle.partitions=3"])
    assert (config.knn.k, config.knn.metric, config.knn.tile_rows) == (9, "l2", Config().knn.tile_rows)
    assert (config.catalogue.columns.category, config.catalogue.columns.price) == ("kind", "cost")
    assert config.spark == {"sql.shuffle.partitions": "3"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("knn.kk=5", ["knn.kk", "unknown key", "target_recall"]),
        ("knn.k=0", ["knn.k", "0", "greater than or equal to 1"]),
        ("knn.k=many", ["knn.k", "'many'", "integer"]),
        ("knn.metric=manhattan", ["knn.metric", "manhattan", "'cosine', 'l2', 'l1' or 'hamming'"]),
        ("blocking.probability=2", ["blocking.probability", "2", "less than or equal to 1"]),
        ("catalogue.columns.colour=c", ["catalogue.columns.colour", "unknown key", "in_stock"]),
        ("shop=1", ["shop", "unknown key", "catalogue"]),
        ("knn.k", ["knn.k", "dotted.key=value"]),
        ("blocking.holdout=1", ["blocking.holdout", "less than 1"]),
        ("output.path=", ["output.path"]),
        ("report.path=s3a://bucket/report.html", ["report.path", "s3a://bucket/report.html"]),
        ("knn.k.deep=1", ["knn.k"]),
        (
            "catalogue.images_root=s3a://me:canary@shop/photos",
            ["catalogue.images_root", "'s3a://***@shop/photos'", "spark.hadoop.fs.s3a.* settings"],
        ),
    ],
)
def test_a_mistake_names_the_key_what_was_given_and_what_is_allowed(override, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    for part in expected:
        assert part in str(caught.value)


def test_keys_that_need_each_other():
    with pytest.raises(ConfigError, match=r"recommend\.in_stock_only.*catalogue\.columns\.in_stock"):
        load_config(None, ["recommend.in_stock_only=true", "catalogue.table=shop.csv"])
    load_config(None, ["recommend.in_stock_only=true"])  # the demo catalogue says what is in stock


def test_a_credential_is_text_and_stays_out_of_messages():
    assert load_config(None, ["spark.hadoop.fs.s3a.secret.key=0123"]).spark == {"hadoop.fs.s3a.secret.key": "0123"}
    for override in (
        "spark.hadoop.fs.s3a.secret.key.x.y",
        "mlflow.password=canary",
        "catalogue.images_root=s3a://me:canary@shop/photos",
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(None, [override])
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "hadoop",
    [
        "{fs.s3a.secret.key: canary, fs.s3a.endpoint: shown}",
        "{fs: {s3a: {secret: {key: canary}, endpoint: shown}}}",
        "{fs.s3a.session.token: {value: [canary]}, 1: shown}",
        '["fs.s3a.secret.key=canary", shown]',
    ],
)
def test_a_credential_that_is_nested_stays_out_of_messages(tmp_path, hadoop):
    file = tmp_path / "shop.yaml"
    file.write_text(f"spark: {{hadoop: {hadoop}}}\n")
    with pytest.raises(ConfigError, match=r"spark\.hadoop.*shown") as caught:
        load_config(file)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3a://KEY:ab/canary@bucket/x", "s3a://***@bucket/x"),
        ("s3a://KEY:/canary@bucket/a@2x.jpg", "s3a://***@bucket/a@2x.jpg"),
        ("S3://KEY:12/canary@bucket", "S3://***@bucket"),
        ("no route to https://me:p/canary@host:80/x", "no route to https://***@host:80/x"),
        ("s3a://me:p@canary@bucket/x", "s3a://***@bucket/x"),
    ],
)
def test_a_password_with_a_slash_or_an_at_sign_is_seen(text, expected):
    assert mask_text(text) == expected
    with pytest.raises(ConfigError, match=r"catalogue\.images_root.*without user name") as caught:
        load_config(None, [f"catalogue.images_root={text}"])
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://host/path@2x.png",
        "https://host:8080/path@2x.png",
        "http://[::1]:8080/path@2x.png",
        "s3a://bucket/a:b/c@2x.jpg",
        "hdfs://namenode:8020/a@2x.jpg",
        "file:///a:b/c@2x.jpg",
        "http://host:5000 is down, ask me@shop.example",
        '["s3a://bucket","a:b/c@2x.jpg"]',
    ],
)
def test_an_at_sign_alone_is_no_user(text):
    assert (mask_text(text), has_user_info(text)) == (text, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'fs.s3a.secret.key': 'canary', 'k': 'v'}", "{'fs.s3a.secret.key': ***, 'k': 'v'}"),
        ('{"password": "can\\"ary, canary", "k": 1}', '{"password": ***, "k": 1}'),
        ("fs.s3a.secret.key: canary", "fs.s3a.secret.key: ***"),
    ],
)
def test_a_dict_as_text_hides_its_credentials(text, expected):
    assert mask_text(text) == expected


def test_every_mistake_is_listed_at_once(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text("knn: {k: -1}\noutput: {format: orc}\n")
    with pytest.raises(ConfigError, match=r"shop\.yaml.*knn\.k.*output\.format.*'delta' or 'parquet'"):
        load_config(file)


@pytest.mark.parametrize(("text", "expected"), [(None, "does not exist"), ("a: [", "YAML"), ("- a\n- b\n", "list")])
def test_a_file_that_is_no_configuration(tmp_path, text, expected):
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_config(file)


def test_public_masks_secrets_and_keeps_the_rest():
    config = load_config(
        None,
        [
            "spark.hadoop.fs.s3a.secret.key=canary-1",
            "spark.hadoop.fs.s3a.access.key=canary-2",
            "mlflow.tracking_uri=http://me:canary-3@host/x",
            "knn.k=3",
        ],
    )
    text = str(config.public())
    assert "canary" not in text
    assert config.public()["knn"]["k"] == 3
    assert config.public()["mlflow"]["tracking_uri"] == "http://***@host/x"


def test_the_roots_bind_links_too():
    assert load_config(None, ["catalogue.allowed_roots=[/shop]"]).images.link_roots == ("/shop",)
    assert load_config(
        None, ["catalogue.allowed_roots=[/shop]", "images.link_roots=[/shop, /disks]"]
    ).images.link_roots == ("/shop", "/disks")
    assert load_config().images.link_roots is None


def test_local_paths_are_seen_from_the_drivers_folder(tmp_path, monkeypatch):
    """Executors have working directories of their own."""
    monkeypatch.chdir(tmp_path)
    given = "[photos, ../disk, /shop/, s3a://bucket/photos/, 'file:/disk']"
    config = load_config(None, ["output.path=out", "demo.path=./demo/", f"catalogue.allowed_roots={given}"])
    expected = (f"{tmp_path}/photos", f"{tmp_path.parent}/disk", "/shop/", "s3a://bucket/photos/", "file:/disk")
    assert (config.output.path, config.demo.path) == (f"{tmp_path}/out", f"{tmp_path}/demo")
    assert config.catalogue.allowed_roots == config.images.link_roots == expected
    assert load_config(None, ["images.link_roots=[photos]"]).images.link_roots == (f"{tmp_path}/photos",)
    assert load_config().output.path == f"{tmp_path}/build/out"
    for uri in ("s3a://bucket/out", "file:///disk/out", "dbfs:/out", "/disk/out"):
        assert load_config(None, [f"output.path={uri}"]).output.path == uri


def test_what_a_run_records_of_its_settings_can_be_read_back():
    """A key whose name is taken for a credential's would be recorded as ***, and the report drawn later would fail."""
    config = load_config(None, [])
    recorded = config.public()
    assert "***" not in str(recorded)
    for name in recorded:
        section = getattr(config, name)
        if hasattr(section, "model_dump"):
            assert recorded_settings(type(section), recorded[name]) == section


def test_settings_that_another_release_has_recorded_are_read_as_far_as_they_are_known():
    recorded = Config().public()["knn"] | {"k": 7, "metric": "angular", "a_key_of_later": 3}
    found = recorded_settings(KnnConfig, recorded)
    assert (found.k, found.metric) == (7, KnnConfig().metric)
