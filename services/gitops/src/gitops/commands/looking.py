"""The commands that only look: what runs where, what would be applied, and what would change."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from gitops.cluster import status as looking
from gitops.cluster.client import Cluster
from gitops.commands.options import Flag, Json
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.pins.history import entries, steps
from gitops.rendering import render as rendering
from gitops.rendering.diff import Comparison, compare
from gitops.rendering.manifests import stream
from gitops.terminal import Terminal


def status(*, offline: Flag = False, context: str | None = None, json: Json = False) -> int:
    """Show what runs where: what git pins, what Argo CD makes of it, and what really answers.

    Args:
        offline: Ask no cluster.
        context: Context of the kubeconfig. [default: the current one]
        json: Print it as JSON, digests whole.
    """
    terminal = Terminal()
    with terminal.working("Looking"):
        found = looking.status(Repository.find(), None if offline else Cluster(context, patient=False))
    if json:
        terminal.json(found)
        return 0
    asked = bool(found.platform) or any(entry.live for entry in found.environments)
    terminal.rows("Environments", *looking.environment_table(found.environments, live=asked))
    if found.platform:
        rows = [[entry.application, entry.sync, entry.health, entry.message] for entry in found.platform]
        terminal.rows("Platform", ("application", "sync", "health", ""), rows)
    if not asked and not offline:
        terminal.note(f"From git alone. Cluster: {found.cluster}")
    return 0


def render(
    environment: str,
    /,
    *apps: str,
    chart_from: rendering.ChartFrom = "auto",
) -> int:
    """Print the manifests that Argo CD would apply, from the working tree.

    Args:
        environment: An environment, or platform.
        apps: Only these applications. [default: all]
        chart_from: Where the serving chart comes from: the working tree, the registry, or (auto) the working tree if it
            has the pinned version.
    """
    terminal, root = Terminal(), Repository.find().root
    renderer = rendering.Renderer(root, rendering.find_helm(root), chart_from)
    for application in rendering.select(root, environment, apps):
        with terminal.working(f"Rendering {application.name}"):
            rendered = renderer.render(application)
        terminal.done("rendered", f"{application.name}: {len(rendered.manifests)} objects from {rendered.origin}")
        terminal.text(stream(rendered.manifests), "yaml")
    return 0


def diff(
    environment: str,
    /,
    *apps: str,
    revision: str | None = None,
    against: str | None = None,
    pins_of: str | None = None,
    json: Json = False,
) -> int:
    """Show how rendered manifests differ, object by object: the working tree now, compared with something else.

    Args:
        environment: An environment, or platform.
        apps: Only these applications. [default: all]
        revision: A commit, branch or tag to compare with. [default: HEAD]
        against: Another environment to compare with; its names are taken for this one's.
        pins_of: Another environment whose pins to try here: what a promotion from it would change.
        json: Print the differences as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    comparison = Comparison(revision=revision, against=against, pins_of=pins_of)
    with terminal.working("Rendering both sides"):
        result = compare(repository, environment, apps, comparison)
    if json:
        terminal.json(result)
        return 0
    for change in result.objects:
        terminal.text(change.diff, "diff")
    terminal.done("differences", f"{len(result.objects)} objects, from {result.before} to {result.after}")
    return 0


def history(
    environment: str,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gt=0))] = 20,
    json: Json = False,
) -> int:
    """Show who changed what an environment runs, when, and to what: from git, as far as it is checked out.

    Args:
        environment: An environment.
        limit: How many changes to show, the newest first.
        json: Print them as JSON, with each pin before and after.
    """
    terminal, repository = Terminal(), Repository.find()
    start = Snapshot(repository, repository.commit_named("HEAD"))
    found = entries(steps(repository, start.environment(environment), start.commit))[:limit]
    if json:
        terminal.json(found)
        return 0
    if not found:
        terminal.line(f"Nothing was released to {environment} yet.")
        return 0
    rows = [
        [entry.commit[:7], f"{entry.when:%Y-%m-%d %H:%M}", entry.author, entry.moved, entry.subject] for entry in found
    ]
    terminal.rows(environment, ("commit", "when", "who", "what", "as it was said"), rows)
    if repository.is_shallow():
        terminal.note("This clone lacks older history: git fetch --unshallow.")
    return 0
