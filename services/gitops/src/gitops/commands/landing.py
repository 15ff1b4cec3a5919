"""What the commands that write have in common: where their commit goes, and how its outcome is shown."""

from dataclasses import dataclass

from cyclopts import Parameter

from gitops.commands.options import Flag
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.git.trunk import BRANCH, Landing, Trunk, land_here
from gitops.pins.wording import words
from gitops.terminal import Terminal


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LandingOptions:
    """What becomes of the commit: it is pushed to the main branch of the remote, unless something else is said."""

    no_push: Flag = False
    """Commit to what is checked out, and push nothing."""
    dry_run: Flag = False
    """Print what would be committed, and do nothing."""

    def start(self, repository: Repository) -> Snapshot:
        """The files that the commit would start from."""
        if self.no_push:
            return Snapshot(repository, repository.commit_named("HEAD"))
        return Trunk.find(repository).newest()


NO_LANDING = LandingOptions()


def land_and_show(start: Snapshot, environment: str, edit: Edit, options: LandingOptions, *, json: bool) -> str | None:
    """Make an edit as the options say, and show what came of it; returns the commit, if there is one."""
    terminal, repository = Terminal(), start.repository
    if options.dry_run:
        _show(terminal, environment, edit(start), None, json=json)
        return None
    with terminal.working("Committing"):
        landing = land_here(start, edit) if options.no_push else Trunk.find(repository).land(start, edit)
    _show(terminal, environment, landing.proposal, landing, json=json)
    if not landing.local:
        terminal.note(f"Your own {BRANCH} has commits or edits that differ, so it stays as it is: git pull --rebase.")
    return landing.commit


def _show(terminal: Terminal, environment: str, proposal: Proposal, landing: Landing | None, *, json: bool) -> None:
    if json:
        outcome = {"commit": landing.commit if landing else None, "attempts": landing.attempts if landing else 0}
        files = [str(path) for path in proposal.files]
        terminal.json({"environment": environment, "files": files, "changes": proposal.changes, **outcome})
        return
    if not proposal.changes:
        terminal.line(f"{environment} is like that already.")
        return
    rows = [[change.pin, words(change.before), words(change.after)] for change in proposal.changes]
    terminal.rows(proposal.message.partition("\n")[0], ("pin", "before", "after"), rows)
    terminal.line(_fate(landing))


def _fate(landing: Landing | None) -> str:
    if landing is None or landing.commit is None:
        return "Nothing was committed."
    tries = f", at attempt {landing.attempts}" if landing.attempts > 1 else ""
    where = f"pushed to {BRANCH}{tries}" if landing.pushed else "push it to deploy it"
    return f"Committed as {landing.commit[:7]}; {where}."
