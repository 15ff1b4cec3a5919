"""Since when a commit is in an environment, by records of Argo CD and the forge.

The date of the commit is no evidence: it says when the commit was made, and a fast-forward keeps it.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct, structs

from gitops.errors import GitopsError
from gitops.forge.api import HiddenError, LongListError
from gitops.forge.protocol import Forge, Move
from gitops.git.repository import Commit
from gitops.git.snapshot import Snapshot
from gitops.rendering.manifests import Manifest

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Arrival(Struct, frozen=True, kw_only=True):
    """The time at which an environment got a commit, or a later one, and who recorded it."""

    when: datetime
    witness: str


class Arrivals:
    """The arrivals of commits of the branch. The forge is asked once, and only if it is needed.

    Attributes:
        problem: Why the forge does not know an arrival.
    """

    def __init__(self, start: Snapshot, forge: Forge | None) -> None:
        """Take the newest files of the branch, and the forge, if there is a token for it."""
        self._repository = start.repository
        self._tip = start.commit
        self._known: list[Move] = []
        self._more = forge.moves() if forge else iter(())
        self._error: GitopsError | None = None
        self.problem = "it has no record of that" if forge else "there is no token for it"

    def of(self, commit: Commit, application: Manifest | None) -> Arrival | None:
        """Return when an environment got a commit; None if no record shows it.

        The record of Argo CD counts before that of the forge, because it may have synced later.

        Args:
            commit: A commit of the branch.
            application: The Argo CD application, if it is known.

        Raises:
            BadInputError: The forge refuses.
            OutageError: It does not answer.
        """
        within = self._repository.descendants(commit.sha, self._tip)
        if application and (when := _synced(application, within)):
            return Arrival(when=when, witness="as Argo CD recorded")
        if when := self._received(within):
            return Arrival(when=when, witness="as the forge recorded")
        return None

    def dated(self, commit: Commit) -> Commit:
        """Return a commit with the time at which the branch got it; with its own date if the forge does not know.

        Raises:
            BadInputError: The forge refuses.
            OutageError: It does not answer.
        """
        when = self._received(self._repository.descendants(commit.sha, self._tip))
        return structs.replace(commit, when=max(when, commit.when)) if when else commit

    def _received(self, within: frozenset[str]) -> datetime | None:
        """Return the time of the first move of the branch to one of the commits; later moves are newer than these."""
        when = None
        for move in self._moves():
            if move.head in within:
                when = move.when
            elif self._repository.has(move.head):
                break
        return when

    def _moves(self) -> Iterator[Move]:
        yield from self._known
        if self._error:
            raise self._error
        try:
            for move in self._more:
                self._known.append(move)
                yield move
        except (HiddenError, LongListError) as error:
            # Of a long list, the oldest move that was read counts: the age is then too low and never too high.
            self.problem = str(error).partition("\n")[0]
        except GitopsError as error:
            self._error = error
            raise


def revisions(said: Manifest) -> list[str]:
    """Return the commits in a status of Argo CD; the revisions of an application include versions of charts."""
    named = [*(said.get("revisions") or []), said.get("revision") or ""]
    return [revision for revision in named if _COMMIT.fullmatch(revision)]


def _synced(application: Manifest, within: frozenset[str]) -> datetime | None:
    """Return when Argo CD had first applied one of the commits, without an older one since then.

    Argo CD keeps the last ten syncs, so it may have been earlier.
    """
    when = None
    for entry in reversed((application.get("status") or {}).get("history") or []):
        if within.isdisjoint(revisions(entry)):
            break
        when = datetime.fromisoformat(entry["deployedAt"])
    return when
