"""Credentials masked in logs, tables and trackers: recognised by their key or their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_SECRET = (
    r"(?:secret|password|passwd|token|credential|signature|(?:access|account|api|private|encryption)[._-]?key|\.key)"
)
_SECRET_KEY = re.compile(rf"(?i){_SECRET}|(?:^|[._-])(?:key|sas|pwd)(?:$|[._-])")
# scheme://user:password@host. AWS's secret keys may hold a slash; so may the path behind a port, which buckets do not
# have.
_USER_INFO = re.compile(
    r"""(?ix) (?: (?<=://) (?: [^/\s@]+ | [^/\s@:\["']+ : (?!\d+/) [^\s@"']* )
                | (?: (?<=s3://) | (?<=s3[an]://) ) [^/\s@:\["']+ : [^\s@"']* )
              @ (?: [^/\s@"']* @ )*"""
)
# -Dx.password=..., ?X-Amz-Signature=..., {'secret.key': '...'}
_ASSIGNED = re.compile(
    rf"""(?i)([\w.\-]*{_SECRET}[\w.\-]*["']?\s*[=:]\s*)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&;,]+)"""
)
_SAS = re.compile(r"(?i)([?&](?:sig|sv|se)=)[^\s&]+")  # Azure's shared access signatures


def masked(tree: Any) -> Any:
    """The same tree of dicts, lists and scalars with every credential replaced by ***, and all that lies below a
    credential's name.
    """
    if isinstance(tree, Mapping):
        return {key: MASK if _is_secret(key, value) else masked(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [masked(value) for value in tree]
    return mask_text(tree) if isinstance(tree, str) else tree


def mask_text(text: str) -> str:
    """The text without user names and passwords in URIs, signatures in query strings and passwords in Java options."""
    return _SAS.sub(rf"\1{MASK}", _ASSIGNED.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text)))


def has_user_info(text: str) -> bool:
    """Whether the text holds a URI with a user name or password before the host."""
    return bool(_USER_INFO.search(text))


def is_secret_name(key: str) -> bool:
    """Whether a setting of that name holds a credential."""
    return bool(_SECRET_KEY.search(key))


def _is_secret(key: Any, value: Any) -> bool:
    # YAML has keys that are numbers.
    return value is not None and not isinstance(value, bool) and is_secret_name(str(key))
