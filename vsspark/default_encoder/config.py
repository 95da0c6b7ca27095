"""The settings of a training run, read from a YAML file of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vsspark.config.sections import Positive, Section, Share


class DistillationConfig(Section):
    """What the encoder learns from, for how long, and where the result goes."""

    # Catalogue.csv of real photos with the columns image, category, split; null = generated pictures alone.
    photos: str | None = None
    # Weights file of MobileNetV2 without its top, whose answers are learnt; null = categories and pairs alone.
    teacher: str | None = None
    work: str = "build/default-encoder"  # views, targets and checkpoints; a killed run goes on from here
    output: str = "build/default-encoder/result"  # where NAME.weights.h5 and NAME.json are written
    name: str = "default"
    seed: int = 7

    crops: Positive = 7  # random views kept per real photo
    mixes: Annotated[int, Field(ge=0)] = 2  # views that mix two photos, kept per real photo
    products: Positive = 1500  # generated products to learn from
    generated_crops: Annotated[int, Field(ge=0)] = 1  # random views kept per generated photo
    held_out: Positive = 80  # generated products kept aside, to stop early by

    stored_side: Positive = 144  # pixels of the views on disk
    side: Positive = 128  # pixels the network sees
    # Weights file of an earlier encoder, whose layers of the same name and shape training begins with; null = from
    # scratch.
    start: str | None = None
    epochs: Annotated[int, Field(ge=0)] = 30  # 0 = only what is solved without steps
    steps: Positive = 150  # per epoch
    batch_size: Positive = 128  # views per step
    generated_share: Share = 0.3  # of every batch
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3  # at its peak; a warm-up before, half a cosine after
    weight_decay: Annotated[float, Field(ge=0)] = 2e-2
    patience: Positive = 8  # epochs without a better held-out figure before it stops
    # Of the teacher's features, averaged over the view, in the loss.
    teacher_weight: Annotated[float, Field(ge=0)] = 4.0
    cell_weight: Annotated[float, Field(ge=0)] = 4.0  # of the teacher's features cell by cell
    category_weight: Annotated[float, Field(ge=0)] = 1.0  # of the categories
    pair_weight: Annotated[float, Field(ge=0)] = 0.5  # of same-product pairs against all others in the batch
    # Mixed_bfloat16 doubles the speed on CPUs that have it and halves it on others.
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    threads: Positive = 2  # of the teacher
    # Ends the call cleanly after the epoch that passes it; the next call goes on.
    minutes: Annotated[float, Field(gt=0)] | None = None
