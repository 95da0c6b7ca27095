"""How many labelled images of each category the head is fitted on."""

from __future__ import annotations

from collections.abc import Mapping

from vsspark.errors import ConfigError

_LEAST = 20  # images of a category, where it has them and the sample has room: fewer say little about it


def category_quotas(images: Mapping[str, int], rows: int) -> dict[str, int]:
    """Rows by category, at least 1 each and at most its images; their sum is at most `rows`.

    images: the catalogue's labelled images by category. All of them where they fit. Else each category first gets up to
    20 rows (fewer where that would take more than half of `rows`), and what is left goes in proportion to the rest.
    Raises ConfigError where there are more categories than rows.
    """
    if sum(images.values()) <= rows:
        return dict(images)
    if len(images) > rows:
        raise ConfigError(
            f"blocking.fit_sample: got {rows:,}, expected {len(images):,} or more: the catalogue has"
            " that many categories, and each needs an image in the sample; or set blocking.by=cluster"
        )
    least = max(1, min(_LEAST, rows // (2 * len(images))))
    quotas = {name: min(count, least) for name, count in images.items()}
    remainder = rows - sum(quotas.values())
    rest = sum(images.values()) - sum(quotas.values())
    return {name: quota + (images[name] - quota) * remainder // rest for name, quota in quotas.items()}
