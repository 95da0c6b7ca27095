"""Ratings read back from the sheets: each model's mean, and how far the raters agree."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsspark.config import EvaluationConfig
from vsspark.errors import ConfigError
from vsspark.evaluation.measures import Figure, figure
from vsspark.evaluation.rating_sheet import KEY, SCALE
from vsspark.evaluation.results import metric_name

_ENOUGH = 5  # mistakes named in one message


@dataclass(frozen=True)
class Ratings:
    """The ratings of one sheet."""

    sheet: str
    raters: int
    models: dict[str, Figure]  # model -> mean rating and its 95 % interval over pairs, best first
    alpha: float | None  # Krippendorff's, see `krippendorff_alpha`
    shared_pairs: int  # rated by more than one

    def metrics(self) -> dict[str, float]:
        metrics = {"raters": float(self.raters)} | {
            metric_name(f"{model}.rating"): mean.value for model, mean in self.models.items()
        }
        return metrics if self.alpha is None else metrics | {"alpha": self.alpha}

    def as_table(self) -> dict[str, list]:
        """Columns of equal length, one entry per model."""
        return {"model": list(self.models)} | {
            part: [getattr(mean, part) for mean in self.models.values()] for part in Figure._fields
        }

    def to_markdown(self) -> str:
        lines = [
            f"Ratings of sheet {self.sheet} by {self.raters} rater{'s' * (self.raters > 1)}, "
            f"1 = {SCALE[1]} to 5 = {SCALE[5]}.",
            "",
        ]
        lines += ["| model | mean rating | pairs |", "| --- | --- | --- |"]
        lines += [
            f"| {model} | {mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}] | {mean.count} |"
            for model, mean in self.models.items()
        ]
        agreement = (
            "no pair was rated differently, or twice"
            if self.alpha is None
            else f"{self.alpha:.2f} (1 = perfect, 0 = chance)"
        )
        return (
            "\n".join(
                [
                    *lines,
                    "",
                    f"Krippendorff's alpha, interval scale, over {self.shared_pairs} pairs "
                    f"with several ratings: {agreement}.",
                ]
            )
            + "\n"
        )


def summarise_ratings(files: Sequence[str], config: EvaluationConfig) -> Ratings:
    """The sheet's ratings, one filled CSV per rater. The key is read from evaluation.path/SHEET/rating_key.csv.

    Raises ConfigError, one message that lists what is wrong in which file and line.
    """
    sheets, ratings_by_rater, wrong = set(), [], []
    for file in files:
        sheet, ratings, mistakes = read_ratings(Path(file))
        sheets |= sheet
        ratings_by_rater.append(ratings)
        wrong += mistakes
    if wrong:
        more = f"; and {len(wrong) - _ENOUGH} more" if len(wrong) > _ENOUGH else ""
        raise ConfigError(f"--ratings: {'; '.join(wrong[:_ENOUGH])}{more}")
    if len(sheets) != 1:
        raise ConfigError(
            f"--ratings: the files are of {len(sheets)} sheets ({', '.join(sorted(sheets)) or 'they hold no rating'}), "
            "expected those of one"
        )
    sheet = sheets.pop()
    key = _read_key(Path(config.path) / sheet / KEY, sheet)
    strange = sorted(
        {pair for ratings in ratings_by_rater for pair in ratings} - set(key), key=lambda pair: (len(pair), pair)
    )
    if strange:
        raise ConfigError(
            f"--ratings: sheet {sheet} has no pair {', '.join(strange[:_ENOUGH])}; it has 1 to {len(key)}"
        )
    values_of = {pair: [ratings[pair] for ratings in ratings_by_rater if pair in ratings] for pair in key}
    by_model: dict[str, list[float]] = {}
    for pair, models in key.items():
        if values_of[pair]:
            for model in models:
                by_model.setdefault(model, []).append(float(np.mean(values_of[pair])))
    means = {model: figure(np.array(values), config.resamples, config.seed) for model, values in by_model.items()}
    best_first = dict(sorted(means.items(), key=lambda entry: (-entry[1].value, entry[0])))
    return Ratings(
        sheet,
        len(files),
        best_first,
        krippendorff_alpha(values_of.values()),
        sum(len(values) > 1 for values in values_of.values()),
    )


def read_ratings(file: Path) -> tuple[set[str], dict[str, int], list[str]]:
    """(sheets named, pair -> rating, mistakes found) of one filled CSV; pairs without a rating are left out."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return set(), {}, [f"{file} cannot be read: {error}"]
    lines = text.splitlines()
    header = lines[0] if lines else ""
    # Spreadsheets in half of Europe write semicolons.
    rows = csv.DictReader(lines, delimiter=";" if ";" in header else ",")
    missing = [name for name in ("sheet", "pair", "rating") if name not in (rows.fieldnames or ())]
    if missing:
        return set(), {}, [f"{file}: no column {', '.join(missing)}; its first line is {header[:80]!r}"]
    sheets, ratings, wrong = set(), {}, []
    for row in rows:
        sheet, pair, rating = ((row[name] or "").strip() for name in ("sheet", "pair", "rating"))
        if not rating:
            continue
        where = f"{file}, line {rows.line_num}"
        if rating not in map(str, SCALE):
            wrong.append(f"{where}: rating {rating!r}, expected {min(SCALE)} to {max(SCALE)}, or nothing")
        elif pair in ratings:
            wrong.append(f"{where}: pair {pair} is rated twice")
        # It becomes a folder's name.
        elif not sheet or not all(c.isalnum() or c in "._:+=@-" for c in sheet) or sheet.startswith("."):
            wrong.append(f"{where}: sheet {sheet!r} is no name of a run")
        else:
            sheets.add(sheet)
            ratings[pair] = int(rating)
    return sheets, ratings, wrong


def krippendorff_alpha(units: Iterable[Sequence[float]]) -> float | None:
    """Agreement beyond chance of any number of raters, gaps allowed, squared differences: 1 = perfect, 0 = as by
    chance, below 0 = worse.

    units: each pair's ratings. None where nothing was rated twice, or every such rating is the same. Krippendorff
    2011, Computing Krippendorff's Alpha-Reliability.
    """
    several = [np.asarray(values, float) for values in units if len(values) > 1]
    if not several:
        return None
    every = np.concatenate(several)
    # The sum of squared differences over ordered pairs of m values is 2 * m^2 * their variance.
    disagreement = sum(2 * len(values) ** 2 * values.var() / (len(values) - 1) for values in several) / len(every)
    by_chance = 2 * len(every) * every.var() / (len(every) - 1)
    return float(1 - disagreement / by_chance) if by_chance > 0 else None


def _read_key(path: Path, sheet: str) -> Mapping[str, list[str]]:
    """Pair -> its models."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(row["pair"], row["model"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise ConfigError(
            f"--ratings: the key of sheet {sheet} is expected in {path}, set evaluation.path: {error}"
        ) from None
    key: dict[str, list[str]] = {}
    for pair, model in rows:
        key.setdefault(pair, []).append(model)
    return key
