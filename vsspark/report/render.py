"""The report's HTML: one file with its style and pictures inside, no script, nothing fetched from a network."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from datetime import datetime

from jinja2 import Environment, StrictUndefined

from vsspark.config import Config, RecommendConfig
from vsspark.errors import Reason
from vsspark.report.contents import CATEGORIES_SHOWN, Contents, longest_list

REASONS = {
    Reason.MISSING: "The file does not exist",
    Reason.UNREADABLE: "The file exists but could not be read",
    Reason.REFUSED: "The address is not one that pictures are read from",
    Reason.OUTSIDE_ROOT: "The path leads outside the picture folders",
    Reason.EMPTY: "The file is empty",
    Reason.TOO_MANY_BYTES: "The file is too large",
    Reason.NOT_AN_IMAGE: "The file is not a picture",
    Reason.NO_LIBRARY: "The picture is HEIC or JPEG XL, and the library that reads it is not installed",
    Reason.TRUNCATED: "The picture is cut off before its end",
    Reason.CORRUPT: "The picture is damaged",
    Reason.TOO_MANY_PIXELS: "The picture has too many pixels",
    Reason.TOO_SLOW: "The picture takes too long to open",
    Reason.TOO_SMALL: "The picture is too small",
    Reason.BAD_BOX: "The box the catalogue gives is no box, or none in this picture",
    Reason.PLACEHOLDER: "Too many products share the picture: a stand-in for a missing photo",
    Reason.NOT_FINITE: "The network could not make sense of the picture",
}

VERDICTS = {
    "published": ("good", "Published", "passed the quality gate"),
    "staged": ("warn", "Staged", "not published"),
    "refused": ("bad", "Refused", "the quality gate refused this run, nothing was published"),
    "failed": ("bad", "Failed", "the run failed, nothing was published"),
    "rolled_back": ("warn", "Rolled back", "an earlier run is current again"),
}


def render_report(contents: Contents, run: Mapping, config: Config, thumbnails: Mapping[str, str]) -> str:
    """The HTML document.

    run: a RUNS row as a dict. thumbnails: data URIs by image URI; a picture that is not there is said to be unreadable.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        whole=_whole, percent=_percent, price=_price, seconds=_seconds, file_name=_file_name, figure=_figure
    )
    source = importlib.resources.files("vsspark.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    seconds = dict(run.get("seconds") or {})
    verdict = VERDICTS.get(run["status"], ("warn", run["status"], ""))
    return environment.from_string(source).render(
        run=run,
        totals=contents.totals,
        contents=contents,
        verdict=verdict,
        sections=_sections(contents),
        timings=[(stage, value, value / max(seconds.values())) for stage, value in seconds.items()]
        if any(seconds.values())
        else [],
        total_seconds=_total_seconds(run, seconds),
        reasons={reason.value: text for reason, text in REASONS.items()},
        by_rule=(run.get("counts") or {}).get("short_lists", 0),
        longest=longest_list(contents.totals.usable_products, config.recommend.k),
        settings=_settings(config),
        categories_shown=CATEGORIES_SHOWN,
        neighbours_across=min(config.report.neighbours, 10),
        thumbnails=thumbnails,
    )


def _settings(config: Config) -> dict[str, str]:
    """The few settings that explain the page; the whole configuration is in the `runs` table."""
    layer = f", layer {config.encoder.layer}" if config.encoder.layer else ""
    return {
        "encoder": f"{config.encoder.name}{layer}",
        "metric": config.knn.metric,
        "search": config.knn.mode,
        "blocks": config.blocking.by,
        "recommendations per product": str(config.recommend.k),
        "output": config.output.format,
    } | ({"rules": rules} if (rules := _rules(config.recommend)) else {})


def _rules(recommend: RecommendConfig) -> str:
    """The rules that are set, as the configuration has them."""
    given = recommend.model_dump(exclude_defaults=True, exclude={"k", "backfill"}, exclude_none=True)
    return "; ".join(f"{name}: {_plain(value)}" for name, value in given.items())


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _sections(contents: Contents) -> list[tuple[str, str, str, tuple]]:
    best = "The closest matches the run found, the categories taking turns. They should look right at a glance."
    worst = (
        "The products whose best recommendation is the least similar, the categories taking turns. "
        "Judge the run by these."
    )
    return [("best", "Best first", best, contents.best), ("worst", "Worst first", worst, contents.worst)]


def _total_seconds(run: Mapping, seconds: Mapping[str, float]) -> float:
    start, end = run.get("started_at"), run.get("finished_at")
    if isinstance(start, datetime) and isinstance(end, datetime):
        return (end - start).total_seconds()
    return sum(seconds.values())


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float | None) -> str:
    """One decimal, and never rounded up to 100 % or down to 0 %: "100 %" promises that nothing is missing."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "99.9 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _price(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _file_name(uri: str) -> str:
    """The last part of a path or URI; '#' and '%' are ordinary characters in it."""
    return uri.rstrip("/").rpartition("/")[2] or uri
