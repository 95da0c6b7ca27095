"""The product's box in a picture: left, top, right, bottom in pixels of the picture as a viewer shows it, right and
bottom exclusive.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vsspark.errors import ImageError, Reason

_NUMBER = re.compile(r"-?\d{1,16}")


class Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int

    def clipped(self, width: int, height: int, min_side: int) -> Box:
        """The part of it inside a picture of that size. Raises ImageError(BAD_BOX) where a side of that part is
        shorter than min_side.
        """
        inside = Box(max(0, self.left), max(0, self.top), min(width, self.right), min(height, self.bottom))
        across, down = (
            max(0, end - start) for start, end in ((inside.left, inside.right), (inside.top, inside.bottom))
        )
        if min(across, down) < min_side:
            of = f"{across}x{down} pixels of it are" if across and down else "nothing of it is"
            raise ImageError(
                Reason.BAD_BOX,
                f"box {' '.join(map(str, self))}: {of} inside the picture of {width}x{height}, "
                f"the shorter side must have {min_side}",
            )
        return inside

    def as_stored(self, width: int, height: int, turns: int, mirrored: bool) -> Box:
        """The same box in the picture as its file stores it, which is shown after `turns` quarter turns
        counter-clockwise and then mirrored left to right.

        width, height: of the picture as it is shown.
        """
        left, top, right, bottom = self
        if mirrored:
            left, right = width - right, width - left
        for _ in range(turns):
            left, top, right, bottom = height - bottom, left, height - top, right
            width, height = height, width
        return Box(left, top, right, bottom)


def parse_box(text: str | None) -> Box | None:
    """The box that `images.box` holds, four whole numbers with spaces in between; None where there is none.

    Raises ImageError(BAD_BOX) for anything else, and for a box without width or height.
    """
    if text is None:
        return None
    numbers = text.split()
    if len(numbers) != 4 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise ImageError(Reason.BAD_BOX, f"box {text[:80]!r}: expected four numbers, left top right bottom, in pixels")
    box = Box(*map(int, numbers))
    if box.right <= box.left or box.bottom <= box.top:
        raise ImageError(Reason.BAD_BOX, f"box {text}: right must be beyond left, and bottom below top")
    return box
