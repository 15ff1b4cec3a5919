"""The command that judges a pull request to production."""

from gitops.commands.options import Json
from gitops.errors import NotWantedError
from gitops.repository import Repository
from gitops.review import review as reviewing
from gitops.terminal import Terminal
from gitops.wording import words


def review(*, base: str = "origin/main", json: Json = False) -> int:
    """Judge what the checked-out commit would do to production: move pins as a whole to known ones, and nothing else.

    Refused, with exit code 3, where the pins are neither those of staging nor any that production ran, where production
    is held, and where anything else changes beside them.

    Args:
        base: The commit or branch that it would go into.
        json: Print the verdict as JSON.
    """
    terminal = Terminal()
    found = reviewing(Repository.find(), base)
    if json:
        terminal.json(found)
    elif found.changes:
        rows = [[change.pin, words(change.before), words(change.after)] for change in found.changes]
        terminal.rows(f"What changes in production; its pins: {found.origin}", ("pin", "before", "after"), rows)
    elif not found.problems:
        terminal.line(f"Nothing changes in what production runs: {found.origin}.")
    if found.problems:
        raise NotWantedError("\n".join(found.problems))
    return 0
