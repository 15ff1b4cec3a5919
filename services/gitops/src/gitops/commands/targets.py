"""The command that lists services x environments, so that no script needs to contain their names."""

from pathlib import Path
from typing import Literal

from msgspec import Struct

from gitops.commands.options import Flag, Json
from gitops.git.repository import Repository
from gitops.platform.reader import load_platform
from gitops.platform.targets import Target, chosen
from gitops.terminal import Terminal


class Row(Struct, frozen=True, kw_only=True, rename="camel"):
    """One service in one environment: its names in git, in Argo CD and in the cluster."""

    target: str
    """ENV/SERVICE."""
    environment: str
    service: str
    model: str
    source: str
    """The environment that feeds it; empty if `bump` moves it."""
    application: str
    namespace: str
    release_name: str
    """The name of its Helm release and of its Service."""
    cluster: str
    """The cluster; empty for that of Argo CD."""
    released: bool
    """Whether it has pins."""


def targets(
    target: str = "",
    /,
    *,
    moved_by: Literal["bump", "promote"] | None = None,
    released: Flag = False,
    model: str | None = None,
    json: Json = False,
) -> int:
    """List the services of the environments as ENV/SERVICE, one on each line, from the working tree.

    Args:
        target: ENV/SERVICE, or ENV for all its services. [default: all]
        moved_by: Only environments without `from`, which `bump` moves, or only those with one.
        released: Only services with pins.
        model: Only services of this registered model.
        json: Print them as JSON, with their names in the cluster.
    """
    terminal, root = Terminal(), Repository.find().root
    platform = load_platform(root)
    names = [target] if target else [entry.name for entry in platform.environments]
    rows = [_row(root, entry) for name in names for entry in chosen(platform, name)]
    found = [
        row
        for row in rows
        if moved_by in (None, "promote" if row.source else "bump")
        and model in (None, row.model)
        and (row.released or not released)
    ]
    if json:
        terminal.json(found)
        return 0
    for row in found:
        terminal.line(row.target)
    return 0


def _row(root: Path, entry: Target) -> Row:
    return Row(
        target=str(entry),
        environment=entry.environment.name,
        service=entry.service.name,
        model=entry.service.model,
        source=entry.environment.source,
        application=entry.application,
        namespace=entry.namespace,
        release_name=entry.release_name,
        cluster=entry.environment.cluster,
        released=(root / entry.file).is_file(),
    )
