"""The site of the documentation is built strictly: no link of any page leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_is_built_and_every_local_link_of_it_is_there(tmp_path):
    venv, site = tmp_path / "venv", tmp_path / "site"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", "-r", ROOT / "conf/docs/requirements.txt"], check=True)
    command = [venv / "bin/mkdocs", "build", "-q", "-f", ROOT / "conf/docs/mkdocs.yml", "-d", site]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        if page.name == "404.html":  # its links are of a server's root
            continue
        for link in re.findall(r'(?:href|src)="([^"#]+)', page.read_text(encoding="utf-8")):
            if "://" not in link and not link.startswith(("mailto:", "data:", "/")):
                assert (page.parent / link).exists(), (page, link)
    search = [link for page in pages for link in re.findall(r'src="(https?://[^"]+)', page.read_text(encoding="utf-8"))]
    assert search == []  # nothing is fetched from elsewhere
