"""The command that reports inconsistencies in a fork."""

from gitops.commands.options import Json
from gitops.errors import BadInputError
from gitops.fork.check import find_inconsistencies
from gitops.git.repository import Repository
from gitops.terminal import Terminal


def check(*, json: Json = False) -> int:
    """Report everything in the working tree that does not fit together. Needs no cluster and no network.

    The exit code is 2 if there is a problem, and 0 if there are only notes.

    Args:
        json: Print problems and notes as JSON.
    """
    terminal = Terminal()
    found = find_inconsistencies(Repository.find())
    if json:
        terminal.json(found)
    else:
        for problem in found.problems:
            terminal.error(problem)
        for note in found.notes:
            terminal.note(note)
        if not found.problems:
            terminal.line("Everything fits together.")
    return BadInputError.exit_code if found.problems else 0
