"""The name under which embeddings are stored."""

from __future__ import annotations

from vsspark.config import EncoderConfig, ImagesConfig
from vsspark.encoders import Encoder
from vsspark.images.product import preprocessing_mark


def stored_version(encoder: Encoder, config: EncoderConfig, images: ImagesConfig) -> str:
    """The value of `embeddings.model_version`: the encoder's own version, with marks for a foreground finder and for
    vectors that are not scaled.
    """
    return f"{encoder.model_version}{preprocessing_mark(images)}{'' if config.unit_norm else '-unscaled'}"
