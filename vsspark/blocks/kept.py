"""When a head that an earlier run fitted is good for another night: one fitted anew moves images of every category,
and all their neighbours with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vsspark.blocks.head import Head

# A catalogue that has grown or shrunk by so much is another one: its sample, or its number of clusters, would be.
_GROWTH = 0.5


@dataclass(frozen=True)
class Labels:
    """The catalogue's categories, and the share of its labelled images that are predicted to be in theirs, in [0, 1];
    None where no image has a label.
    """

    names: frozenset[str] = frozenset()
    agreement: float | None = None


@dataclass(frozen=True)
class Fitted:
    """A head, and what it was fitted to: the labels as it predicted them, and the number of usable images."""

    head: Head
    labels: Labels
    images: int

    def refit_reason(self, now: Labels, images: int, tolerance: float | None) -> str | None:
        """Why it is to be fitted again; None where it is good for tonight's labels and images.

        tolerance: by how much its agreement with the labels may have fallen; None = it is fitted in every run.
        """
        if tolerance is None:
            return "blocking.refit_loss is null"
        new = sorted(now.names - self.labels.names)
        if new:
            return f"{len(new)} new categories, the first is {new[0]}"
        if abs(images - self.images) > _GROWTH * self.images:
            return f"{images:,} images, it was fitted to {self.images:,}"
        was, is_now = self.labels.agreement, now.agreement or 0.0
        if was is not None and is_now < was - tolerance:
            return f"right for {is_now:.3f} of the labelled images, {was:.3f} when it was fitted"
        return None
