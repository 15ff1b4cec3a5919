"""The commands that remove services and environments: first from git, then from the cluster."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from cyclopts import App, Parameter
from msgspec import Struct

from gitops.cluster import removal
from gitops.cluster.client import Cluster
from gitops.cluster.secrets import MLFLOW_ADMIN
from gitops.commands.landing import LandingOptions, land_and_show
from gitops.commands.options import Flag, MlflowUrl, Names, contexts_of, registry
from gitops.errors import BadInputError, OutageError
from gitops.fork.scaffold import left_by_hand, remove_environment, remove_service
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.platform.model import Environment, Platform
from gitops.platform.reader import FILE, decoded, platform_at
from gitops.platform.targets import Target, known_environment, known_service, targets
from gitops.terminal import Terminal

app = App(name="remove", help="Remove a service or an environment: a dry run, unless --yes is given.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RemovalOptions:
    """How to remove something, and where to find what outlives it."""

    yes: Flag = False
    """Do it; without this, only list what would be removed."""
    git_only: Flag = False
    """Do not change the cluster."""
    no_push: Flag = False
    """Commit to the checked-out branch, push nothing, and do not change the cluster."""
    pr: Flag = False
    """Open a pull request; after its merge, the same command removes the rest from the cluster."""
    mlflow_url: MlflowUrl = None
    """Address of MLflow. [default: the cluster's own, through kubectl port-forward]"""
    context: str | None = None
    """Context of the kubeconfig. [default: the current one]"""
    context_of: Names = ()
    """CLUSTER=CONTEXT for a cluster of platform.yaml other than that of Argo CD; repeatable."""

    def clusters(self, *, in_git: bool) -> dict[str, Cluster]:
        """Return the clusters to change, by their names in platform.yaml; Argo CD's has an empty name.

        Args:
            in_git: Whether git still has the service or environment. A pull request does not change the cluster until
                it is merged.
        """
        if self.git_only or self.no_push or (self.pr and in_git):
            return {}
        others = {name: Cluster(context) for name, context in contexts_of(self.context_of).items()}
        return {"": Cluster(self.context), **others}


_NO_OPTIONS = RemovalOptions()


class _Gone(Struct, frozen=True, kw_only=True):
    """The targets to remove, from platform.yaml before the change; `edit` is None if git no longer has them.

    `left` has sentences about what deliberately stays.
    """

    targets: list[Target]
    left: list[str]
    environments: list[Environment]
    edit: Edit | None


@app.command
def service(
    name: str,
    /,
    options: RemovalOptions = _NO_OPTIONS,
) -> int:
    """Remove a service from every environment: its files in git, then its pods and aliases. Model versions stay.

    Args:
        name: The service.
        options: How, and where.
    """
    start, platform, there = _start(name, "service", options)
    known = known_service(platform, name)
    gone = _Gone(
        targets=[target for target in targets(platform) if target.service == known],
        left=left_by_hand(start, [known]),
        environments=[],
        edit=remove_service(name) if there else None,
    )
    return _removed(start, gone, options)


@app.command
def environment(
    name: str,
    /,
    options: RemovalOptions = _NO_OPTIONS,
) -> int:
    """Remove an environment: its files in git, then its pods, namespace, Secrets and aliases. Model versions stay.

    Args:
        name: The environment.
        options: How, and where.
    """
    start, platform, there = _start(name, "environment", options)
    known = known_environment(platform, name)
    gone = _Gone(
        targets=[target for target in targets(platform) if target.environment == known],
        left=left_by_hand(start, []),
        environments=[known],
        edit=remove_environment(name) if there else None,
    )
    return _removed(start, gone, options)


def _start(name: str, kind: str, options: RemovalOptions) -> tuple[Snapshot, Platform, bool]:
    """Return the commit to start from, the platform with what is removed, and whether git still has it."""
    repository = Repository.find()
    start = LandingOptions(no_push=options.no_push, pr=options.pr).start(repository)
    platform = platform_at(start)
    if _has(platform, kind, name):
        return start, platform, True
    # Git no longer has it, but an earlier run was interrupted before the cluster. Search all commits, because whoever
    # merged the pull request may have changed the message.
    commits = repository.log(FILE, start.commit)
    before = repository.read_many([f"{commit.sha}^1:{FILE}" for commit in commits])
    for commit, text in zip(commits, before, strict=True):
        if text is not None and _had(text, kind, name):
            return start, platform_at(Snapshot(repository, repository.commit_named(f"{commit.sha}^1"))), False
    return start, platform, True


def _has(platform: Platform, kind: str, name: str) -> bool:
    return (platform.service(name) if kind == "service" else platform.environment(name)) is not None


def _had(text: str, kind: str, name: str) -> bool:
    """Whether an earlier platform.yaml names it; one that this version cannot read counts as no."""
    try:
        return _has(decoded(text), kind, name)
    except BadInputError:
        return False


def _removed(start: Snapshot, gone: _Gone, options: RemovalOptions) -> int:
    clusters, yes = options.clusters(in_git=gone.edit is not None), options.yes
    terminal = Terminal()
    with ExitStack() as stack:
        models = None
        if clusters:
            try:
                # Removing an alias needs the right to manage the model, which the user of the other commands lacks.
                models = stack.enter_context(registry(options.mlflow_url, clusters[""], MLFLOW_ADMIN))
            except OutageError as error:
                terminal.note(f"MLflow cannot be reached, so aliases stay: {error}")
        found = _plan(gone, clusters, models, terminal, yes=yes)
        for line in found.lines if found else []:
            terminal.line(f"cluster: {line}")
        for sentence in [*(found.by_hand if found else []), *gone.left]:
            terminal.line(f"by hand: {sentence}")
        landing = LandingOptions(dry_run=not yes, no_push=options.no_push, pr=options.pr)
        if gone.edit:
            land_and_show(start, gone.edit, landing, json=False)
        if not yes:
            terminal.line("This was a dry run: --yes does it. Model versions, runs and the history in git stay.")
        elif options.pr and gone.edit:
            terminal.line("Once it is merged, run the same command again: it removes the rest from the cluster.")
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
            raise OutageError(f"{error}\nNothing was changed. --git-only removes it from git only.") from None
        terminal.note(f"It is not known what would be removed from the cluster: {error}")
        return None
