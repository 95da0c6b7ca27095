"""The keys of `training`: what an encoder of the shop's own is fitted with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vsspark.config.section import Positive, Section, Share


class TrainingConfig(Section):
    """An encoder fitted to the catalogue by `jobs/train.py`: a backbone with ImageNet weights, an embedding head, a
    category head behind it.
    """

    # Transfer: frozen base, Dense(4096, relu) "fc1", softmax, Adadelta.
    recipe: Literal["two_headed", "transfer"] = "two_headed"
    backbone: str = "mobilenet_v2"  # a network of keras.applications
    weights: str | None = None  # its weights without the top: an HDF5 file, or "imagenet" for Keras's own download
    # Of the backbone, averaged over the picture, side by side; null = see training.networks.build_trunk.
    layers: tuple[str, ...] | None = None
    side: Positive = 224  # pixels the network sees
    # The features are averaged over so many bands of the picture, from top to bottom; 3 helps where figures stand
    # alike.
    bands: Positive = 1
    # The finished encoder sees every picture at its side divided by each of these, and takes the mean of the
    # features: (1, 2) finds near among far.
    pyramid: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1,)
    flip: bool = False  # the finished encoder sees every picture and its mirror image, at twice the cost
    stored_side: Positive = 288  # pixels of the pictures in the training set; views are cut from them
    views: Positive = 6  # of every picture whose features are computed: the whole picture and random parts of it
    backgrounds: Share = 0.0  # of the random views, laid before a drawn background where a foreground is found
    # Learn only the n commonest categories, and only from their pictures; null = all.
    top_categories: Positive | None = None
    # Share of the products that choices and figures are made on; the last heads see them too.
    holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    embedding_dim: Positive = 384  # numbers of an embedding
    batch_size: Positive = 128  # pairs per step
    epochs: Positive = 40  # at most; an epoch takes every picture once as an anchor
    patience: Positive = 6  # epochs without a better held-out figure before it stops
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4  # of AdamW, for the heads
    temperature: Annotated[float, Field(gt=0)] = 0.1  # of the pair loss
    pair_weight: Annotated[float, Field(ge=0)] = 1.0  # of the pair loss: a product's pictures near each other
    category_weight: Annotated[float, Field(ge=0)] = 1.0  # of the category head's loss
    # Of the same loss with categories in the place of products.
    category_pair_weight: Annotated[float, Field(ge=0)] = 0.3
    # How often another product of the same category counts in the pair loss; 1 = as any other.
    hard_negatives: Annotated[float, Field(ge=1)] = 1.0
    unfreeze: Annotated[int, Field(ge=0)] = 0  # last layers of the backbone that learn too, after the heads have
    unfrozen_rate: Share = 0.1  # their learning rate, as a share of the heads'
    unfrozen_epochs: Positive = 5  # in which they learn
    threads: Positive = 2  # that read, decode and cut views
    seed: int = 7  # of views, splits and starting weights
    # The training set, features and checkpoints, on a disk that driver and executors share.
    path: str = "build/training-set"
    register_as: str = "vsspark"  # the model's name in MLflow's registry
    alias: str = "live"  # put on the new version

    @model_validator(mode="after")
    def _pyramid_divides_the_side(self) -> TrainingConfig:
        wrong = [
            shrink
            for shrink in self.pyramid
            if self.side % shrink or (shrink > 1 and self.side // shrink < 32) or self.pyramid.count(shrink) > 1
        ]
        if wrong:
            raise ValueError(
                f"pyramid: got {wrong[0]}, expected different numbers that divide side ({self.side}) "
                "and leave 32 pixels or more"
            )
        return self
