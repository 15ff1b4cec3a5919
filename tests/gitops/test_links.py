"""Alerts and dashboards link to the runbooks' pages on the forge, for every kind of forge."""

import re
from pathlib import Path

import pytest

from gitops.forge import links
from gitops.platform.forges import FORGES
from gitops.platform.model import Platform
from gitops.platform.reader import read_platform
from tests.support.helm import ROOT, run

PLATFORM = (ROOT / "platform.yaml").read_text()
HTTPS = "https://git.example.com/flora/petals.git"


@pytest.mark.parametrize(
    ("repository", "forge", "files"),
    [
        ("https://github.com/flora/petals.git", "github", "https://github.com/flora/petals/blob/main"),
        ("git@gitlab.com:flora/shop/petals.git", "gitlab", "https://gitlab.com/flora/shop/petals/-/blob/main"),
        (
            "http://git.example.com:3000/flora/petals",
            "gitea",
            "http://git.example.com:3000/flora/petals/src/branch/main",
        ),
        (
            "ssh://git@git.example.com:2222/flora/petals.git",
            "gitea",
            "https://git.example.com/flora/petals/src/branch/main",
        ),
        (HTTPS, "{kind: gitlab, api: https://api.example.com}", "https://git.example.com/flora/petals/-/blob/main"),
        (
            HTTPS,
            "{kind: gitea, url: https://code.example.com/}",
            "https://code.example.com/flora/petals/src/branch/main",
        ),
        (
            "https://example.com/git/flora/petals.git",
            "{kind: gitea, url: https://example.com/git}",
            "https://example.com/git/flora/petals/src/branch/main",
        ),
        (
            "http://gitea.forge:3000/flora/petals.git",
            "{kind: gitea, url: https://example.com/git}",
            "https://example.com/git/flora/petals/src/branch/main",
        ),
    ],
)
def test_alerts_lead_to_the_files_of_the_repository(repository: str, forge: str, files: str, tmp_path: Path) -> None:
    platform, rendered = adopted(repository, forge, tmp_path)
    assert links.file_page(platform, "docs") == f"{files}/docs"
    assert set(re.findall(r"https?://\S+(?:/blob|/src/branch)/main", rendered)) == {files}
    web = re.sub(r"(/-/blob|/blob|/src/branch)/main", "", files)
    assert links.new_pull_request(platform, "promote/x").startswith(web)


@pytest.mark.parametrize("kind", FORGES)
def test_the_chart_and_the_command_find_the_same_pages(kind: str, tmp_path: Path) -> None:
    platform, rendered = adopted(HTTPS, kind, tmp_path)
    files = links.file_page(platform, "").removesuffix("/")
    assert f"{{repository: {files}}}" in rendered


def adopted(repository: str, forge: str, folder: Path) -> tuple[Platform, str]:
    """Return what platform.yaml says of a fork there, and what the chart of applications makes of it."""
    text = PLATFORM.replace("https://github.com/OWNER/NAME.git", repository).replace("forge: github", f"forge: {forge}")
    text = text.replace("ghcr.io/OWNER/NAME", "registry.example.com/flora")
    (folder / "platform.yaml").write_text(text)
    done = run("helm", "template", "apps", ROOT / "apps", "--values", folder / "platform.yaml")
    assert done.code == 0, done.errors
    return read_platform(text), done.output
