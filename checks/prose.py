"""Check the prose of the documentation: phrases that are hard to read, long sentences, and proselint's checks.

The phrases also apply to the texts of programs (`checks.texts`): help, messages and alerts.

python -m checks.prose [FILE...]

`checks/prose.yaml` has the phrases, each with better words and a reason. Code, addresses of links and diagrams are not
prose. The help of a command is prose, although it is shown as code.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import msgspec
from proselint.checks import __register__ as known
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

from checks.links import ROOT, tracked
from checks.texts import programs, texts

RULES = Path(__file__).with_suffix(".yaml")

_FENCE = re.compile(r"^( *)(```|~~~)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_HELP = re.compile(r"\$ .* --help\n")
_FRAME = re.compile(r"[\u2500-\u257f]")
_CODE = re.compile(r"`(?:[^`\n]|\n(?!\s*\n))+`")
_ADDRESS = re.compile(r"(?<=\])\([^)\s]*\)|<https?://[^>]*>|<!--.*?-->|<br>", re.DOTALL)
# The start of a block: a heading, an item of a list, a row of a table.
_BLOCK = re.compile(r"^\s*(#|[-*+] |\d+[.)] |\||>\s*$)")
_SENTENCE = re.compile(r"(?<=[.!?:;])[\s*_)\"]+(?=[^a-z\s]|x\b)")
_TABLE = re.compile(r"^\s*(>\s*)?\|")


class Phrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A phrase to avoid: a regular expression, what to write instead, why, and texts that it must and must not find."""

    find: str
    say: str
    why: str
    example: str
    allowed: str = ""

    def found(self, text: str) -> Iterator[re.Match[str]]:
        """Yield each match; a space in the expression also matches the end of a line."""
        return re.finditer(self.find.replace(" ", r"\s+"), text, re.IGNORECASE | re.MULTILINE)


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """All rules, the documents to leave out, and the folders of programs to check."""

    phrases: list[Phrase]
    proselint: list[str]
    words: int
    without: list[str]
    programs: list[str]
    text: int

    @classmethod
    def read(cls, path: Path = RULES) -> "Rules":
        """Read the rules.

        Raises:
            msgspec.ValidationError: The file is invalid. The error names the field.
        """
        return msgspec.yaml.decode(path.read_bytes(), type=cls)

    @cached_property
    def checks(self) -> dict[str, bool]:
        """The groups of proselint's checks, in the form of its own configuration."""
        return dict.fromkeys(self.proselint, True)


class Problem(msgspec.Struct, frozen=True, order=True):
    """A problem, at a line that counts from 1."""

    line: int
    text: str


def prose(text: str, *, help_too: bool = True) -> str:
    """Return a text without code, addresses and diagrams, and without help of commands if asked; lines are kept."""

    def blank(match: re.Match[str], word: str = "") -> str:
        return word + "\n" * match[0].count("\n")

    def fenced(match: re.Match[str]) -> str:
        if not (help_too and _HELP.match(match[3])):
            return blank(match)
        return "\n" + _FRAME.sub(" ", match[3])

    text = _FENCE.sub(fenced, text)
    text = _CODE.sub(lambda match: blank(match, "x"), text)
    return _ADDRESS.sub(blank, text)


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph and list item with the line where it starts. Tables are left out: they have no sentences."""
    start, lines = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if lines and (not line.strip() or _BLOCK.match(line)):
            yield start, "\n".join(lines)
            lines = []
        if line.strip() and not _TABLE.match(line):
            start = start if lines else number
            lines.append(line)


def long_sentences(text: str, words: int) -> Iterator[Problem]:
    """Yield a problem for each sentence with more words than allowed."""
    for line, block in blocks(text):
        begin = 0
        for end, after in [*(match.span() for match in _SENTENCE.finditer(block)), (len(block), len(block))]:
            sentence = block[begin:end]
            count = len(re.findall(r"\w[\w'/.-]*", sentence))
            if count > words:
                shown = " ".join(sentence.split()[:6])
                yield Problem(
                    line + block.count("\n", 0, begin), f"a sentence of {count} words; write two ({shown} ...)"
                )
            begin = after


def phrases(text: str, rules: Rules) -> Iterator[Problem]:
    """Yield a problem for each phrase to avoid in a text."""
    for phrase in rules.phrases:
        for match in phrase.found(text):
            line = text.count("\n", 0, match.start() + len(match[0]) - len(match[0].lstrip())) + 1
            yield Problem(line, f"{' '.join(match[0].split())!r}: {phrase.why}. Write: {phrase.say}")


def problems_of_program(path: Path, rules: Rules) -> list[Problem]:
    """Return the phrases to avoid in the texts of a program, at the lines where the texts begin."""
    found = {
        Problem(line, problem.text)
        for line, text in texts(path, rules.text)
        for problem in phrases(_CODE.sub("x", text), rules)
    }
    return sorted(found)


def problems(text: str, rules: Rules) -> list[Problem]:
    """Return all problems of a text, in the order of its lines."""
    plain = prose(text)
    found = set(long_sentences(prose(text, help_too=False), rules.words))
    found |= set(phrases(plain, rules))
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(known)
    for result in LintFile("text", plain).lint({"checks": rules.checks, "max_errors": 1000}):
        found.add(Problem(result.pos[0], f"{result.check_result.message} (proselint)"))
    return sorted(found)


def documents(root: Path, rules: Rules) -> list[Path]:
    """Return the documents to check, relative to the root."""
    return [path for path in tracked(root) if not any(path.match(pattern) for pattern in rules.without)]


def main(arguments: Iterable[str] | None = None) -> int:
    """Check the documentation and the texts of programs, or these files; return 1 if there is a problem."""
    parser = argparse.ArgumentParser(
        prog="python -m checks.prose", description="Check the prose of the documentation and of programs."
    )
    parser.add_argument("files", nargs="*", type=Path, help="the files to check [default: all]")
    options = parser.parse_args(None if arguments is None else list(arguments))
    rules = Rules.read()
    failed = False
    for path in options.files or [*documents(ROOT, rules), *programs(rules.programs)]:
        if path.suffix == ".md":
            found = problems((ROOT / path).read_text(encoding="utf-8"), rules)
        else:
            found = problems_of_program(path, rules)
        for problem in found:
            print(f"{path}:{problem.line}: {problem.text}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
