"""Check the links in this repository's Markdown: paths, headings and, on request, addresses of other sites.

It also checks the pages of docs/ that other files name, such as messages of programs and comments of workflows.

python -m checks.links [--external]

Addresses that mean nothing elsewhere (this machine's, a fork's placeholder) are left out. An address whose server
refuses programs counts as reachable.
"""

import argparse
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(
    r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE
)
_NAMED = re.compile(r"(?<![\w/.-])(docs/[\w/-]+\.md)(?:#([\w-]+))?")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_NOWHERE = re.compile(r"^https?://(localhost|127\.|[^/]*\.example\.com|[^/]*/OWNER/)")
# The tests of this check name pages that do not exist.
_MADE_UP = Path("tests/workflows/test_links.py")
# The statuses of servers that refuse programs, or too many requests.
_REFUSED = frozenset({401, 403, 405, 429})
_SECONDS = 20.0
_TRIES = 3


@dataclass(frozen=True)
class Link:
    """A link: the file that has it, and its target."""

    file: Path
    target: str


def links(root: Path, file: Path) -> list[Link]:
    """Return the links of one file, except those in code."""
    text = _CODE.sub("", _FENCE.sub("", (root / file).read_text(encoding="utf-8")))
    return [Link(file=file, target=match[1] or match[2]) for match in _LINK.finditer(text)]


def anchors(text: str) -> set[str]:
    """Return the anchors of a text's headings, as GitHub makes them."""
    names: dict[str, int] = {}
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found.add(f"{name}-{names[name]}" if name in names else name)
        names[name] = names.get(name, 0) + 1
    return found


def broken(root: Path, files: list[Path]) -> Iterator[str]:
    """Yield a sentence for each link inside the repository whose target does not exist."""
    for file in files:
        for link in links(root, file):
            if urlsplit(link.target).scheme:
                continue
            path, _, fragment = unquote(link.target).partition("#")
            target = root / path.removeprefix("/") if path.startswith("/") else (root / file).parent / path
            if path and not target.exists():
                yield f"{file}: {link.target} does not exist"
                continue
            goal = target if path else root / file
            if fragment and goal.suffix == ".md" and fragment not in anchors(goal.read_text(encoding="utf-8")):
                yield f"{file}: {link.target} is not a heading of {goal.name}"


def misnamed(root: Path, files: list[Path]) -> Iterator[str]:
    """Yield a sentence for each page of docs/, or heading of it, that code names and that does not exist."""
    for file in files:
        if file.suffix == ".md":
            continue
        for match in _NAMED.finditer((root / file).read_text(encoding="utf-8", errors="ignore")):
            page, heading = root / match[1], match[2]
            if not page.is_file():
                yield f"{file}: {match[0]} does not exist"
            elif heading and heading not in anchors(page.read_text(encoding="utf-8")):
                yield f"{file}: {match[0]} is not a heading of {page.name}"


def unreachable(root: Path, files: list[Path], problem: Callable[[str], str | None]) -> Iterator[str]:
    """Yield a sentence for each address with a problem; `problem` checks one address and returns what is wrong."""
    addresses: dict[str, Path] = {}
    for file in files:
        for link in links(root, file):
            if link.target.startswith(("http://", "https://")) and not _NOWHERE.match(link.target):
                addresses.setdefault(link.target, file)
    with ThreadPoolExecutor(max_workers=8) as pool:
        for (address, file), found in zip(addresses.items(), pool.map(problem, addresses), strict=True):
            if found:
                yield f"{file}: {address}: {found}"


def ask(address: str) -> str | None:
    """Request an address, several times if it does not answer, and return what is wrong, if anything."""
    request = urllib.request.Request(address, headers={"User-Agent": "link-check"})  # noqa: S310  http(s) only
    found = ""
    for _ in range(_TRIES):
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310  as above
                return None
        except urllib.error.HTTPError as error:
            if error.code in _REFUSED:
                return None
            found = f"answers {error.code}"
            if error.code < 500:
                return found
        except OSError as error:
            found = f"does not answer ({error})"
    return found


def tracked(root: Path, *patterns: str) -> list[Path]:
    """Return the files in git that match one of the patterns; by default the Markdown files."""
    command = ["git", "ls-files", "-z", *(patterns or ("*.md",))]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m checks.links", description="Check the links in Markdown.")
    parser.add_argument("--external", action="store_true", help="also check addresses of other sites")
    options = parser.parse_args(arguments)
    files = tracked(ROOT)
    problems = [*broken(ROOT, files), *misnamed(ROOT, [file for file in tracked(ROOT, "*") if file != _MADE_UP])]
    if options.external:
        problems += unreachable(ROOT, files, ask)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
