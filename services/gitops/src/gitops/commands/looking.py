"""The commands that only read: what runs where, what would be applied, and what would change."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from gitops.cluster.client import Cluster
from gitops.cluster.status import look_around, service_table
from gitops.commands.options import Flag, Json, MlflowUrl, PrometheusUrl
from gitops.errors import GitopsError
from gitops.git.repository import Repository
from gitops.pins.history import entries, steps
from gitops.platform.reader import load_platform
from gitops.platform.targets import chosen
from gitops.rendering.diff import Comparison, compare
from gitops.rendering.manifests import stream
from gitops.rendering.render import ChartFrom, Renderer, find_helm, selection
from gitops.rendering.several import render_each
from gitops.terminal import Terminal

# The usual width of a terminal, minus room for line numbers.
_WIDTH = 100


def status(
    *,
    offline: Flag = False,
    prometheus_url: PrometheusUrl = "",
    context: str | None = None,
    mlflow_url: MlflowUrl = None,
    json: Json = False,
) -> int:
    """Show what runs where: what git pins, what Argo CD reports, and which version answers.

    Args:
        offline: Do not connect to a cluster.
        prometheus_url: Address of Prometheus, which has the metrics of shadows. [default: the cluster's own, through
            kubectl port-forward]
        context: Context of the kubeconfig. [default: the current one]
        mlflow_url: Web address of MLflow, for links to model cards; it is not called.
        json: Print it as JSON, with complete digests.
    """
    terminal = Terminal()
    with terminal.working("Looking"):
        found = look_around(
            Repository.find(),
            None if offline else Cluster(context, patient=False, prometheus=prometheus_url),
            mlflow_url=mlflow_url,
        )
    if json:
        terminal.json(found)
        return 0
    asked = bool(found.platform) or any(entry.live for entry in found.services)
    if found.services:
        terminal.rows("Services", *service_table(found.services, live=asked), width=_WIDTH)
    else:
        terminal.line("platform.yaml has no services yet: run gitops new service NAME --model MODEL.")
    for entry in found.services:
        said = [str(entry.live.canary or ""), " ".join(entry.live.message.split())] if entry.live else []
        if told := "; ".join(filter(None, said)):
            terminal.line(f"{entry.environment}/{entry.service}: {told}")
    for entry in found.services:
        if entry.card:
            terminal.line(f"Model card of {entry.environment}/{entry.service}: {entry.card}")
    if found.platform:
        rows = [[entry.application, entry.sync, entry.health, entry.message] for entry in found.platform]
        terminal.rows("Platform", ("application", "sync", "health", ""), rows, width=_WIDTH)
    if not asked and not offline:
        terminal.note(f"From git alone. Cluster: {found.cluster}")
    return 0


def render(
    target: str,
    /,
    *apps: str,
    chart_from: ChartFrom = "auto",
) -> int:
    """Print the manifests that Argo CD would apply, from the working tree. A broken service does not affect the others.

    Args:
        target: ENV/SERVICE, ENV for all of its services, or platform.
        apps: Only these applications. [default: all]
        chart_from: Where the serving chart comes from: the working tree, the registry, or (auto) the working tree if it
            has the pinned version.
    """
    terminal, root = Terminal(), Repository.find().root
    helm = find_helm(root)
    renderer, selected = Renderer(root, helm, chart_from), selection(root, helm, target, apps)
    code = 0
    for problem in selected.problems:
        terminal.error(problem)
        code = 2
    for note in selected.notes:
        terminal.note(note)
    outcomes = render_each(renderer, selected.applications)
    for application in selected.applications:
        with terminal.working(f"Rendering {application.name}"):
            outcome = next(outcomes)
        if isinstance(outcome, GitopsError):
            terminal.error(str(outcome))
            code = max(code, outcome.exit_code)
            continue
        terminal.done("rendered", f"{application.name}: {len(outcome.manifests)} objects from {outcome.origin}")
        terminal.text(stream(outcome.manifests), "yaml")
    return code


def diff(
    target: str,
    /,
    *apps: str,
    revision: str | None = None,
    against: str | None = None,
    pins_of: str | None = None,
    json: Json = False,
) -> int:
    """Show how rendered manifests differ, object by object: the working tree compared with another state.

    Args:
        target: ENV/SERVICE, ENV for all of its services, or platform.
        apps: Only these applications. [default: all]
        revision: A commit, branch or tag to compare with. [default: HEAD]
        against: Another environment, or ENV/SERVICE, to compare with; its names count as the names of this one.
        pins_of: Another environment whose pins to try here: what a promotion from it would change.
        json: Print the differences as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    comparison = Comparison(revision=revision, against=against, pins_of=pins_of)
    with terminal.working("Rendering both sides"):
        result = compare(repository, target, apps, comparison)
    for problem in result.problems:
        terminal.error(problem)
    if json:
        terminal.json(result)
        return result.exit_code
    for change in result.objects:
        terminal.text(change.diff, "diff")
    terminal.done("differences", f"{len(result.objects)} objects, from {result.before} to {result.after}")
    return result.exit_code


def history(
    target: str,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gt=0))] = 20,
    json: Json = False,
) -> int:
    """Show who changed what a service runs, when, and to what. Reads git at the checked-out commit.

    Args:
        target: ENV/SERVICE, or ENV for all of its services.
        limit: Number of changes to show for each service, the newest first.
        json: Print them as JSON, with each pin before and after.
    """
    terminal, repository = Terminal(), Repository.find()
    head = repository.commit_named("HEAD")
    wanted = chosen(load_platform(repository.root), target)
    found = {str(entry): entries(entry, steps(repository, entry, head))[:limit] for entry in wanted}
    if json:
        terminal.json([entry for changes in found.values() for entry in changes])
        return 0
    for name, changes in found.items():
        if not changes:
            terminal.line(f"Nothing is released to {name} yet.")
            continue
        rows = [[one.commit[:7], f"{one.when:%Y-%m-%d %H:%M}", one.author, one.moved, one.subject] for one in changes]
        terminal.rows(name, ("commit", "when", "who", "what", "message"), rows)
    if repository.is_shallow():
        terminal.note("This clone lacks older history: git fetch --unshallow.")
    return 0
