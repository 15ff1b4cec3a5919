"""Which workflows an event in the repository starts: GitHub's filters, evaluated here."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.workflows.workflow import Files, Workflow


@dataclass(frozen=True)
class Push:
    """A push of commits to a branch, or of a tag; `paths` are the changed files."""

    ref: str
    paths: tuple[str, ...] = ()

    @property
    def is_tag(self) -> bool:
        """Whether it is a tag."""
        return self.ref.startswith("refs/tags/")

    @property
    def name(self) -> str:
        """The branch or tag."""
        return self.ref.split("/", 2)[2]


def started(files: Files, push: Push) -> set[str]:
    """Return the workflows that a push starts."""
    return {workflow.name for workflow in files.workflows if _starts(workflow, push)}


def dispatched(files: Files, kind: str) -> set[str]:
    """Return the workflows that a repository_dispatch of a type starts."""
    return {
        workflow.name
        for workflow in files.workflows
        if kind in workflow.events.get("repository_dispatch", {}).get("types", [])
    }


def selected(patterns: Sequence[str], names: Iterable[str]) -> bool:
    """Return whether patterns select any of the names; later patterns win, and `!` excludes."""
    return any(_selected(patterns, name) for name in names)


def _starts(workflow: Workflow, push: Push) -> bool:
    if "push" not in workflow.events:
        return False
    filters = workflow.events["push"]
    mine, others = ("tags", "branches") if push.is_tag else ("branches", "tags")
    if mine in filters:
        if not selected(filters[mine], [push.name]):
            return False
    elif others in filters:
        return False
    # GitHub does not apply filters of paths to tags.
    if push.is_tag:
        return True
    if "paths" in filters:
        return selected(filters["paths"], push.paths)
    return not all(selected(filters.get("paths-ignore", []), [path]) for path in push.paths)


def _selected(patterns: Sequence[str], name: str) -> bool:
    verdict = False
    for pattern in patterns:
        if re.fullmatch(_expression(pattern.removeprefix("!")), name):
            verdict = not pattern.startswith("!")
    return verdict


def _expression(pattern: str) -> str:
    """Return a regular expression for GitHub's glob: `*` stays within a folder, `**` does not."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "."}
    return "".join(known.get(part, re.escape(part)) for part in parts)
