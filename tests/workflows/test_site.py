"""Proves that the documentation builds as a site: all pages are there and searchable, and no link is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mkdocs.config import load_config
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from checks.links import tracked
from gitops.forge.links import file_page
from gitops.platform.reader import load_platform
from tests.workflows.workflow import ROOT
from tools.site.hooks import on_page_markdown

BUILD = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir"]
ENVIRONMENT = os.environ | {"NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*BUILD, folder], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_found(site: Path) -> None:
    found = {
        entry["location"].partition("#")[0]
        for entry in json.loads((site / "search/search_index.json").read_text())["docs"]
    }
    for file in tracked(ROOT):
        if file.parts[0] == ".github":
            continue
        place = file.parent if file.name == "README.md" else file.with_suffix("")
        address = "" if place == Path() else f"{place}/"
        assert (site / address / "index.html").is_file(), f"{file} is missing in the site"
        assert address in found, f"searching does not find {file}"


def test_links_to_other_files_lead_to_the_forge(site: Path) -> None:
    assert f'href="{file_page(load_platform(ROOT), "compose.yaml")}"' in (site / "index.html").read_text()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """The only exception is the program that draws diagrams, which the theme loads on pages with a diagram."""
    for page in site.rglob("*.html"):
        for attribute in ('src="http', 'rel="stylesheet" href="http', 'rel="preconnect"'):
            assert attribute not in page.read_text(), page


def test_a_broken_link_stops_the_build() -> None:
    files = Files([])
    config = load_config(str(ROOT / "mkdocs.yml"))
    page = Page(None, File("docs/storage.md", str(ROOT), "", use_directory_urls=True), config)
    with pytest.raises(PluginError, match=r"docs/storage.md: \.\./charts/gone\.md does not exist"):
        on_page_markdown("[gone](../charts/gone.md)", page=page, config=config, files=files)
    code = "`[code](gone.md)`\n\n```sh\n[fenced](gone.md)\n```\n[self](#here) [else](https://example.com/gone)"
    assert on_page_markdown(code, page=page, config=config, files=files) == code
