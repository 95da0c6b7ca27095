"""The file of rules that merchandisers write: read, checked, and those that hold on a date. No Spark.

- id: summer            # YAML: a list of rules; CSV: a header and a row a rule
  when: category=Shoes; gender=women|unisex    # on whose pages; nothing: on all
  action: pin@1         # or block, boost, bury, only, never_together
  target: product=MH01  # fields by `;`, values of one by `|`
  from: 2026-06-01      # first and last day, both may be left out
  until: 2026-08-31
  surface: similar      # nothing: on every list
  note: agreed with Ms Berg
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from vsspark.errors import ConfigError

ACTIONS = ("block", "boost", "bury", "never_together", "only", "pin@N")
FIELDS = ("id", "when", "action", "target", "from", "until", "surface", "note")
PRODUCT = "product"  # the field of a selector that is product_id
_PIN = re.compile(r"pin\s*@\s*([1-9][0-9]*)")

Selector = Mapping[
    str, tuple[str, ...]
]  # field -> its values; a product matches that has one of each; {}: every product


@dataclass(frozen=True)
class WrittenRule:
    """action: of ACTIONS, without the place; place: of a pin, 1 = first. surface: a list's name; None = every list.
    line: where the rule begins in its file."""

    id: str
    action: str
    target: Selector
    when: Selector = field(default_factory=dict)
    place: int | None = None
    begins: dt.date | None = None
    ends: dt.date | None = None
    surface: str | None = None
    note: str = ""
    line: int = 0

    def holds_on(self, day: dt.date) -> bool:
        """Whether the rule is in force on a day: its first and last are."""
        return (self.begins is None or self.begins <= day) and (self.ends is None or day <= self.ends)

    def is_of(self, surface: str) -> bool:
        """Whether the rule is one of a list's."""
        return self.surface in (None, surface)

    @property
    def said(self) -> str:
        """The action as it is written."""
        return self.action if self.place is None else f"{self.action}@{self.place}"


def parse_rules(text: str, name: str) -> tuple[list[WrittenRule], list[str]]:
    """(the rules of a file that can be read, a sentence per mistake with its line). name: says CSV or YAML.

    Raises ConfigError where the file as a whole is neither.
    """
    text = text.removeprefix("\ufeff")
    rows = _csv_rows(text, name) if name.lower().endswith((".csv", ".tsv")) else _yaml_rows(text, name)
    rules, mistakes = [], []
    for line, row in rows:
        try:
            rules.append(_rule(line, row))
        except ValueError as error:
            mistakes.append(f"line {line}: {error}")
    lines: dict[str, int] = {}
    for rule in rules:
        if rule.id in lines:
            mistakes.append(
                f"line {rule.line}: id {rule.id!r} is that of line {lines[rule.id]}, expected an id of its own"
            )
        lines.setdefault(rule.id, rule.line)
    return [rule for rule in rules if lines[rule.id] == rule.line], mistakes


def contradictions(rules: Sequence[WrittenRule], longest: Mapping[str, int]) -> dict[str, str]:
    """id -> mistake, with lines, of rules that cannot hold: of two that contradict each other the later one. longest: k
    by the name of the list."""
    found: dict[str, str] = {}
    pins: dict[tuple, WrittenRule] = {}
    for rule in rules:
        names = [name for name in longest if rule.is_of(name)]
        if not names:
            found[rule.id] = f"line {rule.line}: surface {rule.surface!r} is no list, expected {', '.join(longest)}"
            continue
        if rule.action != "pin":
            continue
        most = max(longest[name] for name in names)
        if rule.place > most:
            found[rule.id] = f"line {rule.line}: {rule.said}: the list has {most} places"
            continue
        pages = tuple(sorted((key, tuple(sorted(values))) for key, values in rule.when.items()))
        for name in names:
            for about in (("place", rule.place), ("product", rule.target[PRODUCT])):
                earlier = pins.setdefault((name, pages, *about), rule)
                if earlier is not rule and _overlap(earlier, rule):
                    found[rule.id] = (
                        f"line {rule.line}: {rule.said} contradicts line {earlier.line}: {about[0]} {_one(about[1])}"
                    )
    return found


def _one(value: Any) -> str:
    return str(value[0] if isinstance(value, tuple) else value)


def _overlap(one: WrittenRule, other: WrittenRule) -> bool:
    first, last = dt.date.min, dt.date.max
    return max(one.begins or first, other.begins or first) <= min(one.ends or last, other.ends or last)


def _rule(line: int, row: Mapping[str, Any]) -> WrittenRule:
    """The rule of a row. Raises ValueError that says what is wrong with it."""
    unknown = [str(name) for name in row if name not in FIELDS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}, allowed are {', '.join(FIELDS)}")
    name, action = _text(row.get("id")), _text(row.get("action")).lower()
    if not name:
        raise ValueError("expected an id")
    pin = _PIN.fullmatch(action)
    if not pin and action not in ACTIONS[:-1]:
        raise ValueError(f"action {action!r}, allowed are {', '.join(ACTIONS)}")
    when, target = _selector("when", row.get("when")), _selector("target", row.get("target"))
    if not target:
        raise ValueError("expected a target, such as product=ID or brand=NAME")
    if pin and (list(target) != [PRODUCT] or len(target[PRODUCT]) != 1):
        raise ValueError("a pin shows one product: expected target product=ID")
    begins, ends = _date("from", row.get("from")), _date("until", row.get("until"))
    if begins and ends and begins > ends:
        raise ValueError(f"from {begins} is after until {ends}")
    return WrittenRule(
        name,
        "pin" if pin else action,
        target,
        when,
        int(pin[1]) if pin else None,
        begins,
        ends,
        _text(row.get("surface")) or None,
        _text(row.get("note")),
        line,
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _date(key: str, value: Any) -> dt.date | None:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(_text(value)) if _text(value) else None
    except ValueError:
        raise ValueError(f"{key} {_text(value)!r}, expected a date such as 2026-12-24") from None


def _selector(key: str, value: Any) -> dict[str, tuple[str, ...]]:
    """A selector of a mapping, or of a text `field=value|value; field=value`."""
    pairs: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        for part in filter(str.strip, _text(value).split(";")):
            name, equals, values = part.partition("=")
            if not equals:
                raise ValueError(f"{key} {part.strip()!r}, expected field=value")
            pairs.append((name, values.split("|")))
    selector: dict[str, tuple[str, ...]] = {}
    for name, values in pairs:
        texts = tuple(filter(None, map(_text, values if isinstance(values, list) else [values])))
        if not _text(name) or not texts or _text(name) in selector:
            raise ValueError(f"{key} {_text(name)}: expected a field once, and a value for it")
        selector[_text(name)] = tuple(dict.fromkeys(texts))
    return selector


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, cells by column) of the rows that hold anything."""
    header = text.partition("\n")[0]
    separator = max("\t;,", key=lambda character: Counter(header)[character])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] | None = None
    begins = 1
    try:
        for cells in reader:
            line, begins = begins, reader.line_num + 1
            if not any(map(str.strip, cells)):
                continue
            if names is None:
                names = [cell.strip().lower() for cell in cells]
                continue
            extra = {f"column {number}": cell for number, cell in enumerate(cells[len(names) :], len(names) + 1)}
            yield (
                line,
                dict(zip(names, cells, strict=False)) | {key: cell for key, cell in extra.items() if cell.strip()},
            )
    except csv.Error as error:
        raise ConfigError(f"recommend.rules: {name}, line {begins}: {error}") from None


def _yaml_rows(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, values by key) of the mappings of a list."""
    try:
        node, rows = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"recommend.rules: {name} cannot be read as YAML: {error}") from None
    if rows is None:
        return
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"recommend.rules: {name}: expected a list of rules, each with id, action and target")
    for item, row in zip(node.value, rows, strict=True):
        yield item.start_mark.line + 1, row
