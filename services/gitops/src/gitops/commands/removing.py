"""The commands that take services and environments away: first from git, then what outlives them in the cluster."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter
from msgspec import Struct

from gitops.cluster import removal
from gitops.cluster.client import Cluster
from gitops.commands.landing import LandingOptions, land_and_show
from gitops.commands.options import Flag, MlflowUrl, registry
from gitops.errors import BadInputError, OutageError
from gitops.fork.scaffold import left_by_hand, remove_environment, remove_service
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.platform.model import Environment, Platform
from gitops.platform.reader import FILE, platform_at
from gitops.platform.targets import Target, known_environment, known_service, targets
from gitops.terminal import Terminal

app = App(name="remove", help="Take a service or an environment away: a dry run, unless --yes is given.")
Contexts = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]


class _Gone(Struct, frozen=True, kw_only=True):
    """What goes, as the platform was; no edit where git has let go of it already.

    `left` are sentences about what stays on purpose.
    """

    targets: list[Target]
    left: list[str]
    environments: list[Environment]
    edit: Edit | None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RemovalOptions:
    """What is done, and what is left alone."""

    yes: Flag = False
    """Do it; without, only what would go is listed."""
    git_only: Flag = False
    """Leave the cluster alone."""
    no_push: Flag = False
    """Commit to what is checked out, push nothing, and leave the cluster alone."""
    pr: Flag = False
    """Open a pull request; once it is merged, the same command takes the rest out of the cluster."""

    def in_git_alone(self, gone: _Gone) -> bool:
        """Whether the cluster stays as it is: it does until git has let go of what it runs."""
        return self.git_only or self.no_push or (self.pr and gone.edit is not None)


_ONLY_LISTED = RemovalOptions()


@app.command
def service(
    name: str,
    /,
    options: RemovalOptions = _ONLY_LISTED,
    *,
    mlflow_url: MlflowUrl = None,
    context: str | None = None,
    context_of: Contexts = (),
) -> int:
    """Take a service out of every environment: its files in git, then its pods and aliases. Model versions stay.

    Args:
        name: The service.
        options: What is done, and what is left alone.
        mlflow_url: Address of MLflow. [default: the cluster's own, through kubectl port-forward]
        context: Context of the kubeconfig. [default: the current one]
        context_of: CLUSTER=CONTEXT for a cluster of platform.yaml beside that of Argo CD; repeatable.
    """
    start, platform, there = _start(name, "service", options)
    known = known_service(platform, name)
    gone = _Gone(
        targets=[target for target in targets(platform) if target.service == known],
        left=left_by_hand(start, [known]),
        environments=[],
        edit=remove_service(name) if there else None,
    )
    clusters = {} if options.in_git_alone(gone) else _clusters(context, context_of)
    return _removed(start, gone, clusters, mlflow_url, options)


@app.command
def environment(
    name: str,
    /,
    options: RemovalOptions = _ONLY_LISTED,
    *,
    mlflow_url: MlflowUrl = None,
    context: str | None = None,
    context_of: Contexts = (),
) -> int:
    """Take an environment away: its files in git, then its pods, namespace, Secrets and aliases. Model versions stay.

    Args:
        name: The environment.
        options: What is done, and what is left alone.
        mlflow_url: Address of MLflow. [default: the cluster's own, through kubectl port-forward]
        context: Context of the kubeconfig. [default: the current one]
        context_of: CLUSTER=CONTEXT for a cluster of platform.yaml beside that of Argo CD; repeatable.
    """
    start, platform, there = _start(name, "environment", options)
    known = known_environment(platform, name)
    gone = _Gone(
        targets=[target for target in targets(platform) if target.environment == known],
        left=left_by_hand(start, []),
        environments=[known],
        edit=remove_environment(name) if there else None,
    )
    clusters = {} if options.in_git_alone(gone) else _clusters(context, context_of)
    return _removed(start, gone, clusters, mlflow_url, options)


def _start(name: str, kind: str, options: RemovalOptions) -> tuple[Snapshot, Platform, bool]:
    """Where to start from, the platform as it was with what goes, and whether git still has it."""
    repository = Repository.find()
    start = LandingOptions(no_push=options.no_push, pr=options.pr).start(repository)
    platform = platform_at(start)
    if platform.service(name) if kind == "service" else platform.environment(name):
        return start, platform, True
    # Git let go of it, and something was in the way of the rest.
    for commit in repository.log(FILE, start.commit):
        if commit.subject == f"remove({kind}): {name}":
            return start, platform_at(Snapshot(repository, repository.commit_named(f"{commit.sha}^1"))), False
    return start, platform, True


def _removed(
    start: Snapshot,
    gone: _Gone,
    clusters: Mapping[str, Cluster],
    mlflow_url: str | None,
    options: RemovalOptions,
) -> int:
    terminal = Terminal()
    with ExitStack() as stack:
        models = None
        if clusters:
            try:
                models = stack.enter_context(registry(mlflow_url, clusters[""]))
            except OutageError as error:
                terminal.note(f"MLflow is not at hand, so aliases stay: {error}")
        found = _plan(gone, clusters, models, terminal, yes=options.yes)
        for line in found.lines if found else []:
            terminal.line(f"cluster: {line}")
        for sentence in [*(found.by_hand if found else []), *gone.left]:
            terminal.line(f"by hand: {sentence}")
        landing = LandingOptions(dry_run=not options.yes, no_push=options.no_push, pr=options.pr)
        if gone.edit:
            land_and_show(start, gone.edit, landing, json=False)
        if not options.yes:
            terminal.line("This was a dry run: --yes does it. Model versions, runs and the history in git stay.")
        elif options.pr and gone.edit:
            terminal.line("Once it is merged, run the same command again: it takes the rest out of the cluster.")
        elif found and not found.empty:
            removal.carry_out(found, clusters, terminal, registry=models)
    return 0


def _plan(
    gone: _Gone,
    clusters: Mapping[str, Cluster],
    models: removal.Aliases | None,
    terminal: Terminal,
    *,
    yes: bool,
) -> removal.Removal | None:
    if not clusters:
        return None
    try:
        return removal.plan(gone.targets, clusters, environments=gone.environments, registry=models)
    except OutageError as error:
        if yes:
            raise OutageError(f"{error}\nNothing was changed. --git-only takes it out of git alone.") from None
        terminal.note(f"What would go in the cluster cannot be said: {error}")
        return None


def _clusters(context: str | None, context_of: Sequence[str]) -> dict[str, Cluster]:
    found = {"": Cluster(context)}
    for text in context_of:
        name, equals, other = text.partition("=")
        if not (name and equals and other):
            raise BadInputError(f"--context-of: {text!r} is not CLUSTER=CONTEXT.")
        found[name] = Cluster(other)
    return found
