"""README's and docs' tables of quality, made from figures: `python -m benchmarks.readme`.

Copies build/bench/quality.json, where there is one, to docs/figures/quality.json, and rewrites what is between
`<!-- quality:NAME -->` and `<!-- /quality:NAME -->` in README.md and docs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import RESULTS

FIGURES = Path("docs/figures/quality.json")
_SHOPS = {
    "demo": "demo (drawn), `default`",
    "luma": "a studio shop, 191 products in 10 categories, `mobilenet_v2` with ImageNet weights",
    "clothing": "hand-held photos, one a product, 10 categories, `mobilenet_v2` with ImageNet weights",
}
_EVALUATION = {
    "category_at_1": "category@1",
    "precision_at_k": "precision@10",
    "same_product_at_1": "same product@1",
    "category_at_1_other_product": "category@1, other products",
}
_ENCODERS = {
    "clothing: category": "category",
    "clothing: category, another sender's photo": "category_other_sender",
    "clothing: head's top-1": "head_top1",
    "clothing: head's calibration error": "head_calibration_error",
    "luma: product": "product",
    "luma: product, in halves": "product_in_halves",
    "luma: gender + category, another product": "kind_other_product",
    "luma: the same, in halves": "kind_other_product_in_halves",
}
_FOREGROUND = {
    "clothing: category": "clothing_category",
    "clothing: category, another sender's photo": "clothing_category_other_sender",
    "luma: product": "luma_product",
    "luma: gender + category, another product": "luma_kind_other_product",
    "studio, everything before one background: the garment": "studio_same_world",
    "studio, the garment's other views before another background: the garment": "studio_other_world",
    "studio, backgrounds by lot: the garment": "studio_mixed_garment",
    "studio, backgrounds by lot: the background (chance .33)": "studio_mixed_background",
    "drawn, one background and two figures: the garment": "drawn_same_world",
    "drawn, the garment on another figure before another background: the garment": "drawn_other_world",
    "drawn, by lot: the garment": "drawn_mixed_garment",
    "drawn, by lot: the background (chance .33)": "drawn_mixed_background",
}

Cases = dict[str, dict]


def main() -> int:
    measured = RESULTS / "quality.json"
    if measured.exists():
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(measured.read_text(encoding="utf-8"), encoding="utf-8")
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    for file in TABLES:
        path = Path(file)
        path.write_text(rewrite(path.read_text(encoding="utf-8"), figures, file), encoding="utf-8")
        print(file)
    return 0


def rewrite(text: str, figures: dict, file: str) -> str:
    """The text with every marked section of TABLES[file] made anew. Raises ValueError where a marker is missing."""
    for name, table in TABLES[file].items():
        part = {case["case"]: case for case in figures["cases"] if case["part"] == name.partition("-")[0]}
        marked = re.compile(f"(<!-- quality:{name} -->\n).*?(<!-- /quality:{name} -->)", re.DOTALL)
        if len(marked.findall(text)) != 1:
            raise ValueError(f"{file}: expected one section between <!-- quality:{name} --> and its end")
        made = f"{table(part)}\n\n{_venue(figures)}\n"
        text = marked.sub(lambda found, made=made: found[1] + made + found[2], text)
    return text


def _venue(figures: dict) -> str:
    return f"`make bench NAME=quality`, {figures['cores']} cores of {figures['cpu']}."


def _shops(cases: Cases) -> str:
    heading = ("shop", "images", "whole run, cold", "same product at rank 1", "rank-1 product of the same category")
    rows = []
    for name, title in _SHOPS.items():
        case = cases[name]
        shares = [_share(case.get(key)) for key in ("same_product_at_1", "rank1_same_category", "head_accuracy")]
        rows.append((title, f"{case['images']:,.0f}", f"{case['seconds']:.0f} s", *shares))
    return _table((*heading, "head, on products held out"), rows)


def _heads(cases: Cases) -> str:
    names = ("rank1_same_category", "probes", "held_accuracy", "held_log_loss", "held_calibration_error")
    names = (*names, "held_own_category_searched", "fit_core_seconds")
    heading = ("head", "rank-1 category", "probes a query", "held out: accuracy", "log loss", "calibration error")
    many = cases["many categories"]
    rows = [(name, *(_number(case[key], key) for key in names)) for name, case in cases.items() if case is not many]
    table = _table((*heading, "own category searched", "seconds of a core, both fits"), rows)
    size = f"{many['rows']:,} drawn rows of {many['dim']:,} numbers in {many['categories']:,} categories"
    return f"{table}\n\n{size}: {many['fit_core_seconds']:.0f} seconds of a core, {many['memory_gib']:.1f} GiB."


def _default(cases: Cases) -> str:
    kept = ("default", "mobilenet_v2, flip-averaged", "raw 32x32 pixels", "random pick")
    rows = [(what, *(_share(cases[name].get(key)) for name in kept)) for what, key in _ENCODERS.items()]
    return _table(("the nearest picture has the same", *kept), rows)


def _evaluation(cases: Cases) -> str:
    rows = []
    for name, case in cases.items():
        shares = [f"{_share(case[k])} [{_share(case[f'{k}_low'])}, {_share(case[f'{k}_high'])}]" for k in _EVALUATION]
        hub = ("", "") if case["hub"] is None else (f"{case['hub']:.0f}", f"{case['hub_skewness']:.1f}")
        rows.append((name, *shares, *hub))
    return _table(("model", *_EVALUATION.values(), "largest 10-occurrence", "skewness"), rows)


def _foreground(cases: Cases) -> str:
    columns = [f"{encoder}, {way}" for encoder in ("mobilenet_v2", "default") for way in ("none", "crop", "blank")]
    rows = [(what, *(_share(cases[name][key]) for name in columns)) for what, key in _FOREGROUND.items()]
    return _table(("the nearest neighbour has the same", *columns), rows)


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ("---",) * len(heading), *rows))


def _number(value: float, key: str) -> str:
    return f"{value:.2f}".removeprefix("0") if key in ("probes", "fit_core_seconds", "held_log_loss") else _share(value)


def _share(value: float | None) -> str:
    """.873, 1.000, or nothing."""
    return "" if value is None else f"{value:.3f}".removeprefix("0")


TABLES: dict[str, dict[str, Callable[[Cases], str]]] = {
    "README.md": {"shops": _shops, "encoders": _default},
    "docs/encoders.md": {"encoders": _default, "foreground": _foreground, "heads": _heads},
    "docs/evaluation.md": {"evaluation": _evaluation},
}


if __name__ == "__main__":
    raise SystemExit(main())
