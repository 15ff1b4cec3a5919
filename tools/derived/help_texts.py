"""The help of every `gitops` command, as a terminal of 80 columns shows it."""

import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from unittest.mock import patch

from cyclopts import App

from gitops.cli import app, execute
from tools.derived.blocks import replaced


def written(text: str) -> str:
    """Return services/gitops/README.md with the help of every command."""
    return replaced(text, "help", "\n\n".join(_block(verb) for verb in ("", *verbs(app))))


def verbs(group: App, before: str = "") -> Iterator[str]:
    """Yield every command, with subcommands."""
    for name in group:
        if not name.startswith("-"):
            yield f"{before}{name}"
            yield from verbs(group[name], f"{before}{name} ")


def _block(verb: str) -> str:
    shown = StringIO()
    with redirect_stdout(shown), patch.dict(os.environ, COLUMNS="80"):
        execute([*verb.split(), "--help"])
    lines = [line.rstrip() for line in shown.getvalue().rstrip().splitlines()]
    return "\n".join(["```console", " ".join(["$ gitops", *verb.split(), "--help"]), *lines, "```"])
