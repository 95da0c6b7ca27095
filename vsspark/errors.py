"""Every error vsspark raises on purpose, and the reasons an image can be quarantined for.

Bad set-up raises (`ConfigError`, `SchemaError`, ...) and ends a job with the exit code beside it;
bad data is a row in `quarantine` with a `Reason`.
"""

from __future__ import annotations

import re
from enum import StrEnum


class VssparkError(Exception):
    """Base of the errors a user can cause and fix; the message says what, where, got, expected."""

    exit_code = 2


class ConfigError(VssparkError):
    """A config key, command-line argument or weights file that cannot be used."""


class SchemaError(VssparkError):
    """A table whose columns are not those the stage needs."""


class DataQualityError(VssparkError):
    """An input table whose rows cannot be used as they are: duplicates, nulls, prices that are no numbers."""


class StorageError(VssparkError):
    """A path that cannot be read or written."""


class GateRefused(VssparkError):
    """The quality gate refused the run; nothing was published."""

    exit_code = 3


class PublishedIncomplete(VssparkError):
    """The table is published; what follows it (report, tracking) is not done. The next call does it."""

    exit_code = 1


class Reason(StrEnum):
    """Why an image could not be used. The value is what `quarantine.reason` holds."""

    MISSING = "missing"  # no such file or object
    UNREADABLE = "unreadable"  # it exists and cannot be read: a directory, no permission, the store kept failing
    REFUSED = "refused"  # never read: another scheme, a private web address, a redirect to another host
    OUTSIDE_ROOT = "outside_root"  # the name leads outside the roots the catalogue may read from
    EMPTY = "empty"  # zero bytes
    TOO_MANY_BYTES = "too_many_bytes"  # larger than images.max_bytes
    NOT_AN_IMAGE = "not_an_image"  # the bytes are in no format that is decoded here: HTML, text, video
    NO_LIBRARY = "no_library"  # HEIC or JPEG XL, and the optional library that reads it is not installed
    TRUNCATED = "truncated"  # a known format that ends early
    CORRUPT = "corrupt"  # a known format whose content the decoder refuses
    TOO_MANY_PIXELS = "too_many_pixels"  # more than images.max_pixels: a decompression bomb, or a scan
    TOO_SLOW = "too_slow"  # not decoded within images.decode_timeout_s: a file made to keep the decoder busy
    TOO_SMALL = "too_small"  # a side shorter than images.min_side
    BAD_BOX = "bad_box"  # the catalogue's box is no box, or not one in this picture
    PLACEHOLDER = "placeholder"  # more products than images.shared_by_at_most share its bytes: "no image available"
    NOT_FINITE = "not_finite"  # the network gave NaN or infinity


class ImageError(VssparkError):
    """One image cannot be used; caught around that image and written to `quarantine`."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def raised_in_task(error: BaseException) -> VssparkError | None:
    """The VssparkError that ended a Spark task, from Spark's account of it; None where it was another error."""
    # The worker's traceback comes as text; its last line names the error.
    lines = re.findall(r"^(?:Caused by: )?(?:\S+: )?vsspark\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)
    for name, message in lines[-1:]:
        kind = globals().get(name)
        if isinstance(kind, type) and issubclass(kind, VssparkError):
            known = VssparkError(message.strip())
            known.exit_code = kind.exit_code
            return known
    return None
