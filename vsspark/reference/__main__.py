"""`python -m vsspark.reference`: writes docs/reference of this checkout anew."""

from __future__ import annotations

from pathlib import Path

from vsspark.reference.config_keys import config_page
from vsspark.reference.tables import tables_page

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES = {"config.md": config_page, "tables.md": tables_page}


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
