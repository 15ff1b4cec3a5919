"""Hooks of MkDocs, besides mkdocs.yml: which files are pages, patterns in the navigation, and targets of links.

Pages have the same paths as their files in the repository, so relative links between them stay valid. A link to any
other file leads to the forge.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gitops.forge.links import file_page
from gitops.platform.reader import load_platform

ROOT = Path(__file__).resolve().parents[2]
_PAGES = ("*.md", "*.svg", "*.png")
# Code comes first, so that text in it that looks like a link does not change.
_CODE_OR_LINK = re.compile(
    r"(?P<code>^(?P<fence>```|~~~).*?^(?P=fence)|`[^`\n]*`)|(?<=\]\()(?P<target>[^)\s]+)", re.MULTILINE | re.DOTALL
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the repository, and replace patterns by files."""
    config.repo_url = load_platform(ROOT).web
    config.repo_name = urlsplit(config.repo_url).path.strip("/")
    config.nav = list(_expanded(config.nav or []))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add all tracked Markdown files and pictures under their own paths; keep the theme's files."""
    for file in list(files.documentation_pages()) + list(files.media_files()):
        if file.generated_by is None and Path(file.abs_src_path or "").is_relative_to(config.docs_dir):
            files.remove(file)
    listed = subprocess.run(["git", "ls-files", "-z", *_PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        # Only regular files: pages in a linked folder would appear twice.
        if (ROOT / name).is_file() and (ROOT / name).resolve() == ROOT / name:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  named by MkDocs
    """Point links to files that are not pages to the forge.

    Raises:
        PluginError: A link leads to nothing in the repository.
    """

    def led(match: re.Match[str]) -> str:
        target = match["target"]
        if match["code"] or urlsplit(target).scheme or target.startswith("#"):
            return match[0]
        path, hash_sign, fragment = target.partition("#")
        place = normpath(join(dirname(page.file.src_uri), unquote(path)))
        if files.get_file_from_path(place):
            return match[0]
        if not (ROOT / place).exists():
            raise PluginError(f"{page.file.src_uri}: {target} does not exist")
        return file_page(load_platform(ROOT), place) + hash_sign + fragment

    return _CODE_OR_LINK.sub(led, markdown)


def _expanded(entries: list[Any]) -> Iterator[Any]:
    for entry in entries:
        if isinstance(entry, dict):
            yield {title: list(_expanded(inner)) for title, inner in entry.items()}
        elif "*" in entry:
            found = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(entry))
            if not found:
                raise PluginError(f"mkdocs.yml: nav: {entry} matches no file")
            yield from found
        else:
            yield entry
