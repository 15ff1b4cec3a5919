"""The command that migrates a fork from an earlier layout to the current one."""

from gitops.commands.options import Json
from gitops.fork.migrate import migrate_fork
from gitops.git.repository import Repository
from gitops.terminal import Terminal


def migrate(*, service: str = "", json: Json = False) -> int:
    """Migrate a fork from the layout before version 0.2 to the current one, in the working tree. Nothing is committed.

    Run it again after an interruption: it continues there. Objects in the cluster keep their names.

    Args:
        service: Name of the one service. [default: by its model, iris for iris-classifier]
        json: Print what was written and removed as JSON.
    """
    terminal = Terminal()
    outcome = migrate_fork(Repository.find(), service)
    if json:
        terminal.json(outcome)
        return 0
    for path in outcome.written:
        terminal.line(f"written: {path}")
    for path in outcome.removed:
        terminal.line(f"removed: {path}")
    for sentence in outcome.by_hand:
        terminal.line(f"by hand: {sentence}")
    terminal.line("Look at `git status` and `gitops check`, commit with git add --all, merge upstream, and push.")
    terminal.line("Then `gitops bootstrap`: it moves the running pods to the new applications without a restart.")
    return 0
