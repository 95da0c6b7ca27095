"""Published `preprocessor_config.json` files, and those that ask for more than is done here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from vsspark.config import EncoderConfig
from vsspark.encoders.preprocessing import arithmetic_of, fit_of, read_preprocessing
from vsspark.errors import ConfigError
from vsspark.images.fit import Fit

NORM = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
# As published with models of each kind.
PUBLISHED = {
    "ViT": ({"image_processor_type": "ViTImageProcessor", "size": 224, "do_resize": True, "resample": 2}, (224, 224), None, 2),
    "ViT, new": ({"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 192}}, (224, 192), None, 2),
    "CLIP, old": (
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "do_center_crop": True, "crop_size": 224},
        (224, 224), 224, 3,
    ),
    "DINOv2": (
        {
            "image_processor_type": "BitImageProcessor", "do_center_crop": True, "crop_size": {"height": 224, "width": 224},
            "size": {"shortest_edge": 256}, "resample": 3,
        },
        (224, 224), 256, 3,
    ),
    "SigLIP": ({"image_processor_type": "SiglipImageProcessor", "size": {"height": 256, "width": 256}, "resample": 2}, (256, 256), None, 2),
    "ConvNeXt": (
        {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875, "size": {"shortest_edge": 224}},
        (224, 224), 256, 3,
    ),
    "ConvNeXt, large": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.95, "size": 384}, (384, 384), None, 3,
    ),
    "no cut": ({"do_center_crop": False, "crop_size": {"height": 9, "width": 9}, "size": {"height": 8, "width": 8}}, (8, 8), None, 3),
    "numbers": ({"size": 64, "image_mean": 0.5, "image_std": 0.5}, (64, 64), None, 3),
}  # fmt: skip


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_files(kind):
    given, size, edge, resample = PUBLISHED[kind]
    fit = fit_of(read_preprocessing(json.dumps(NORM | given), "file"), "file")
    assert (fit.size, fit.shortest_edge, fit.resample) == (size, edge, resample)
    assert (fit.resized is None) == (edge is not None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 224, "do_pad": True}, "do_pad is not done here"),
        ({"size": 224, "do_thumbnail": True}, "do_thumbnail"),
        ({"size": 224, "do_resize": False}, "do_resize is false"),
        ({}, "size is missing"),
        ({"size": {"shortest_edge": 224}}, "crop_size must say"),
        ({"size": {"longest_edge": 224}}, "size"),
        ({"size": {"height": 224}}, "expected height and width"),
        ({"size": 0}, "size"),
        ({"size": 224, "resample": 9}, "resample"),
        ({"size": 224, "image_std": [0, 1, 1]}, "image_std"),
        ({"size": 224, "image_mean": None}, "image_mean and image_std are missing"),
        ({"size": 224, "do_center_crop": True}, "crop_size is missing"),
    ],
)
def test_what_is_not_done_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        fit_of(read_preprocessing(json.dumps(NORM | given), "file"), "file")


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_what_is_no_object(text):
    with pytest.raises(ConfigError, match="file: "):
        read_preprocessing(text, "file")


def test_steps_that_are_switched_off():
    given = {"size": 8, "do_rescale": False, "do_normalize": False, "do_flip_channel_order": True}
    assert arithmetic_of(read_preprocessing(json.dumps(given), "file")) == ((1.0,) * 3, (0.0,) * 3, True)
    given = {"size": 8, "do_rescale": True, "rescale_factor": 0.5, "do_normalize": False}
    assert arithmetic_of(read_preprocessing(json.dumps(given), "file")).scale == (0.5,) * 3


@pytest.mark.parametrize("sides", [(50, 90), (90, 50), (33, 33), (12, 31), (7, 300)])
def test_a_cut_is_pillows(sides):
    """Also of pictures that are smaller than the cut: black around them, the odd pixel before."""
    pixels = np.random.default_rng(0).integers(1, 255, (*sides, 3), np.uint8)
    found = Fit((20, 24), None, 16, 2).apply(pixels)
    short = min(sides)
    height, width = (int(16 * side / short) if side > short else 16 for side in sides)
    image = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    paper = np.zeros((height + 40, width + 48, 3), np.uint8)
    paper[20 : 20 + height, 24 : 24 + width] = image
    top = 20 + (height - 20) // 2
    left = 24 + (width - 24) // 2
    np.testing.assert_array_equal(found, paper[top : top + 20, left : left + 24])


def test_a_spelled_out_section_knows_its_keys():
    with pytest.raises(ValueError, match="extra"):
        EncoderConfig(name="onnx", preprocessing={"size": 8, "mean": [0, 0, 0]})
    given = EncoderConfig(name="onnx", preprocessing={"size": {"shortest_edge": 9}, "crop_size": 8}).preprocessing
    assert fit_of(given, "x") == Fit((8, 8), None, 9, 3)
