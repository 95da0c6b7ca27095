"""The embed stage on Spark: one row out per row in, the model shipped, several batches per task."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as F

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.embed.spark import EMBEDDED, embed_images, prepare, spread
from vsspark.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))
from colours import colour_encoder, colour_of, write_pictures


@pytest.fixture
def images(spark, tmp_path):
    paths = write_pictures(tmp_path, 50)
    paths[13] = str(tmp_path / "none.jpg")
    return spark.createDataFrame(
        [(i, path, f"f{i}") for i, path in enumerate(paths)], "image_id long, uri string, fingerprint string"
    )


def test_one_row_out_per_row_in(spark, images, tmp_path):
    config = EncoderConfig(unit_norm=False)
    encoder = colour_encoder(tmp_path, head=True)
    model = prepare(spark, encoder, config)
    assert prepare(spark, encoder, config) == model
    embedded = embed_images(spread(images, 50, 2), model, ImagesConfig(), config, {})
    assert embedded.schema.simpleString() == spark.createDataFrame([], EMBEDDED).schema.simpleString()
    rows = {row.image_id: row for row in embedded.collect()}
    assert embedded.count() == len(rows) == 50
    for i, row in rows.items():
        assert (row.uri.endswith(f"picture {i} 100%#.png") or i == 13, row.fingerprint) == (True, f"f{i}")
        if i == 13:
            assert (row.stage, row.reason, row.embedding, row.probabilities) == ("fetch", "missing", None, None)
        else:
            np.testing.assert_allclose(row.embedding, np.subtract(colour_of(i), 20), atol=0.01)
            assert row.probabilities == [0.5, 0.25, 0.25]
            assert row.reason is None


def test_an_empty_table_gives_an_empty_table(spark, images, tmp_path):
    config = EncoderConfig()
    model = prepare(spark, colour_encoder(tmp_path), config)
    assert embed_images(images.where("false"), model, ImagesConfig(), config, {}).collect() == []


def test_spread_deals_a_folder_of_large_photos_out_to_every_partition(spark):
    images = spark.range(2000).selectExpr("id AS image_id", "id < 240 AS large").repartition(1)
    counted = (
        spread(images, 2000, 3).where("large").groupBy(F.spark_partition_id().alias("partition")).count().collect()
    )
    assert len(counted) == 12
    assert max(row["count"] for row in counted) <= 2 * 240 / 12


def test_spread_gives_every_slot_several_partitions_of_bounded_size(spark):
    assert spread(spark.range(1000).toDF("image_id"), 1000, 3).rdd.getNumPartitions() == 12
    assert spread(spark.range(10).toDF("image_id"), 10, 16).rdd.getNumPartitions() == 1
    assert spread(spark.range(10).toDF("image_id"), 1_000_000, 16).rdd.getNumPartitions() == 500


def test_spread_gives_large_files_more_partitions(spark):
    assert spread(spark.range(1000).toDF("image_id"), 1000, 3, total_bytes=64 * 2**29).rdd.getNumPartitions() == 64
    assert spread(spark.range(3).toDF("image_id"), 3, 3, total_bytes=64 * 2**29).rdd.getNumPartitions() == 3


def test_an_onnx_encoder_in_two_workers(spark, tmp_path, monkeypatch):
    """Preprocessing, network and weights reach the workers as files, and give what the driver computes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from PIL import Image

    from vsspark import encoders

    monkeypatch.chdir(tmp_path)
    kernel = numpy_helper.from_array(np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32), "kernel")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixel_values", "kernel"], ["map"], strides=[8, 8])],
        "net",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [3, 3, 32, 32])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [3, 16, 4, 4])],
        [kernel],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    preprocessing = {"size": {"shortest_edge": 40}, "crop_size": 32}
    config = EncoderConfig(
        name="onnx", weights=str(tmp_path / "model.onnx"), preprocessing=preprocessing, unit_norm=False
    )
    encoder = encoders.load_configured(config)
    assert encoder.tensors.stat().st_size >= kernel.ByteSize() - 100
    paths, expected = [], []
    for i in range(40):
        coarse = np.random.default_rng(i).integers(0, 255, (5, 4 + i % 3, 3), np.uint8)
        image = Image.fromarray(coarse).resize((60 + i, 90), Image.Resampling.BICUBIC)
        paths.append(str(tmp_path / f"{i}.png"))
        image.save(paths[-1])
        expected.append(encoder.encode(np.asarray(image)[None])[0][0])
    images = spark.createDataFrame(
        [(i, path, f"f{i}") for i, path in enumerate(paths)], "image_id long, uri string, fingerprint string"
    )
    model = prepare(spark, encoder, config)
    partitions = images.repartition(2, "image_id")
    rows = embed_images(partitions, model, ImagesConfig(), config, {}).collect()
    found = np.array([row.embedding for row in sorted(rows, key=lambda row: row.image_id)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"encoder\.engine: got tensorflow; onnx runs on onnxruntime"):
        prepare(spark, encoder, config.model_copy(update={"engine": "tensorflow"}))
