"""What MkDocs is told of this repository: README and its neighbours are pages, and links to code name the file."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[2]
_PAGES = {
    "index.md": "README.md",
    "changes.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config) -> Files:
    """Adds the pages that lie above docs/, their links as seen from there."""
    for page, source in _PAGES.items():
        text = _rewritten((_ROOT / source).read_text(encoding="utf-8"), "")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "site.css", content=(_ROOT / "conf/docs/site.css").read_text()))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """The page, of whose links those that lead out of docs/ name the file instead."""
    source = page.file.src_uri
    return markdown if source in _PAGES else _rewritten(markdown, posixpath.join("docs", posixpath.dirname(source)))


def _rewritten(markdown: str, folder: str) -> str:
    """folder: the page's, from the repository's root."""
    by_source = {source: page for page, source in _PAGES.items()}

    def rewrite(match: re.Match) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (_ROOT / path).exists():
            return match[0]  # MkDocs says that it leads nowhere
        if path in by_source:
            path = f"docs/{by_source[path]}"
        if path.startswith("docs/") and not (_ROOT / path).is_dir():
            return (
                f"{picture}[{text}]({posixpath.relpath(path, folder if folder.startswith('docs') else 'docs')}{anchor})"
            )
        return text if text.strip("`") == path else f"{text} (`{path}`)"

    return _LINK.sub(rewrite, markdown)
