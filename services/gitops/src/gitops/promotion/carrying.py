"""Combine a bump with one of the same service that waits in a pull request: one pull request has both.

Images and models are bumped at different times. A bump starts from the branch that Argo CD reads, and with pull
requests also from what waits there. Otherwise the second bump would overwrite the first one, which nobody makes again.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from gitops.errors import GitopsError
from gitops.forge.protocol import Forge
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.git.trunk import Trunk
from gitops.pins.bump import proposal
from gitops.pins.release import Release, read_release
from gitops.pins.wording import reason_in, trained_because
from gitops.platform.reader import platform_at
from gitops.platform.targets import Target, targets


class _Waiting(Struct, frozen=True, kw_only=True):
    """A target's file at the newest commit with an open pull request applied, and the message of its commit."""

    target: Target
    text: str
    message: str


def with_what_waits(trunk: Trunk, start: Snapshot, edit: Edit, forge: Forge) -> Sequence[Proposal]:
    """Return the proposals of an edit, combined with those in open pull requests from the same branches.

    If both change a pin, the edit wins. A pull request that conflicts with the newest commit is ignored. A pull request
    that would change nothing any more is closed, because a merge would undo the edit.

    Args:
        trunk: The remote with the branches.
        start: The newest files of the main branch.
        edit: An edit of bumps; other proposals do not change.
        forge: The forge with the pull requests.

    Raises:
        BadInputError: The edit is not possible, or the remote or the forge refuses.
        OutageError: The remote or the forge does not answer.
    """
    first = edit(start)
    found = {one.subject: waits for one in first if (waits := _waiting(trunk, start, one, forge))}
    if not found:
        return first
    beside = start.with_texts({waits.target.file: waits.text for waits in found.values()})
    again = {one.subject: one for one in edit(beside)}
    whole = [_against(start, again[one.subject], found) if one.subject in found else one for one in first]
    for one in whole:
        if one.subject in found and not (one.files or one.left_alone):
            forge.close(one.branch, f"The branch has the pins of {one.subject} already.")
    return whole


def _waiting(trunk: Trunk, start: Snapshot, one: Proposal, forge: Forge) -> _Waiting | None:
    target = next((each for each in targets(platform_at(start)) if str(each) == one.subject), None)
    if target is None or one.verb != "bump" or one.left_alone or forge.open_from(one.branch) is None:
        return None
    repository, head = start.repository, trunk.branch_head(one.branch)
    fork_point = repository.fork_point(start.commit, head) if head else None
    if fork_point is None:
        return None
    ours, left, theirs = (Snapshot(repository, name).read(target.file) for name in (start.commit, fork_point, head))
    if ours is None or left is None or theirs is None:
        return None
    text = theirs if ours == left else repository.merged(ours, left, theirs)
    if text is None or _readable(text) is None:
        return None
    return _Waiting(target=target, text=text, message="\n".join(repository.messages(head, target.file)))


def _against(start: Snapshot, one: Proposal, found: Mapping[str, _Waiting]) -> Proposal:
    """Return a proposal that starts from a waiting one as a proposal that starts from the main branch."""
    waits = found[one.subject]
    target = waits.target
    after = _readable(one.files.get(target.file) or waits.text)
    if one.left_alone or after is None:
        return one
    text, before = start.release(target)
    moves = before is None or not before.model.is_version(after.model)
    reason = (reason_in(one.message) or reason_in(waits.message)) if moves else ""
    return proposal("bump", target, text, before, after, reason=trained_because(reason))


def _readable(text: str) -> Release | None:
    try:
        return read_release(text, "")
    except GitopsError:
        return None
