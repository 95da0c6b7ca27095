"""The page of the tables below `output.path`: every column with its type and comment."""

from __future__ import annotations

from vsspark import schemas
from vsspark.reference.comments import cell, comments_in, plain

_HEAD = """\
# Every column of the tables

Made from [vsspark/schemas.py](../../vsspark/schemas.py) by `python -m vsspark.reference`: change that file, not this page.

The tables are below `output.path`. Those whose names begin with `_` are kept for the next run alone.
"""


def tables_page() -> str:
    """The page as Markdown."""
    comments = comments_in(schemas)
    parts = [_HEAD]
    for name, schema in schemas.TABLES.items():
        about = [plain(comments.get(name.strip("_").upper(), ""))]
        about += [f"Partitioned by `{schemas.PARTITIONED_BY[name]}`."] if name in schemas.PARTITIONED_BY else []
        rows = [
            f"| `{field.name}` | `{field.dataType.simpleString()}` | {cell(plain(field.metadata['comment']))} |"
            for field in schema.fields
        ]
        table = "\n".join(["| column | type | meaning |", "|---|---|---|", *rows])
        parts.append("\n\n".join([f"## {name}", *filter(None, about), table]) + "\n")
    return "\n".join(parts)
