"""The comments beside assignments, read from a module's source."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import lru_cache
from pathlib import Path
from types import ModuleType

_FOR_TOOLS = re.compile(r"#\s*(fmt:|noqa|type:)")


def comments_in(module: ModuleType) -> dict[str, str]:
    """The comment of each name that the module, or a class in it, assigns: `NAME` or `Class.name` -> text, "" for none.

    A comment is on the lines right above the assignment, or behind it; of both, the upper one comes first.
    """
    return _comments(Path(module.__file__))


@lru_cache
def _comments(file: Path) -> dict[str, str]:
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    behind = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not _FOR_TOOLS.match(token.string)
    }
    found = {}
    tree = ast.parse(source)
    for prefix, body in [("", tree.body), *((f"{c.name}.", c.body) for c in tree.body if isinstance(c, ast.ClassDef))]:
        for statement in body:
            for name in _assigned(statement):
                above = statement.lineno
                while lines[above - 2].lstrip().startswith("#"):
                    above -= 1
                texts = (behind.get(number) for number in range(above, statement.end_lineno + 1))
                found[prefix + name] = " ".join(text for text in texts if text)
    return found


def _assigned(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def plain(text: str) -> str:
    """The text for Markdown, which takes <name> for HTML."""
    return text.replace("<", "&lt;")


def cell(text: str) -> str:
    """The text as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
