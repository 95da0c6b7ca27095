"""The keys of `encoder`: the network, its weights, and how pictures are made ready for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vsspark.config.section import Positive, Section


class PreprocessingConfig(Section):
    """What a published image model's `preprocessor_config.json` says, key by key; see docs/encoders.md."""

    size: Positive | dict[Literal["height", "width", "shortest_edge"], Positive]  # one number: both sides
    crop_size: Positive | dict[Literal["height", "width"], Positive] | None = None  # cut from the centre; null = no cut
    resample: Annotated[int, Field(ge=0, le=5)] = (
        3  # Pillow's: 0 nearest 1 Lanczos 2 bilinear 3 bicubic 4 box 5 Hamming
    )
    rescale_factor: Annotated[float, Field(gt=0)] = 1 / 255  # what values of 0 to 255 are multiplied by
    do_rescale: bool = True  # whether they are
    do_normalize: bool = True  # whether image_mean is subtracted, then divided by image_std
    # By channel: red, green, blue.
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    # The same.
    image_std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (
        0.5,
        0.5,
        0.5,
    )
    do_flip_channel_order: bool = False  # the network wants blue, green, red


class EncoderConfig(Section):
    name: str = "default"  # a registered encoder, `onnx`, `keras_hub`, or an MLflow model URI
    # A weights file, or "imagenet" for Keras's own download; of `onnx` a model file or its folder, of `keras_hub` a
    # preset's folder or handle; null = the encoder's own.
    weights: str | None = None
    output: str | None = None  # of `onnx`: the output by name; null = the only one, or pooler_output or image_embeds
    # Of `onnx`: what becomes of that output. null = none where it is (n, d), mean_space where it is a feature map.
    pooling: Literal["none", "token", "mean_tokens", "mean_space"] | None = None
    pooling_index: int = 0  # for `token`: which; 0 = CLS
    pooling_skip: Annotated[int, Field(ge=0)] = 0  # for `mean_tokens`: leading tokens left out, CLS and registers
    preprocessing: PreprocessingConfig | None = None  # of `onnx`; null = preprocessor_config.json beside the model
    layer: str | None = None  # the layer whose output is the embedding; null = the encoder's own choice
    engine: Literal["auto", "onnxruntime", "tensorflow"] = "auto"  # auto: TensorFlow on a GPU, ONNX Runtime on CPU
    batch_size: Positive = 32  # images per forward pass, on CPUs at most 4; the last batch is padded to it
    unit_norm: bool = True  # scale every embedding to length 1
