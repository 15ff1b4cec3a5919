"""The command `gitops`: reads options, calls the steps, turns what came of them into output and an exit code."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from gitops import adopt as adopting
from gitops import render as rendering
from gitops import status as looking
from gitops import teardown as tearing_down
from gitops.argocd import GitAccess, Login
from gitops.bootstrap import Bootstrap, Options
from gitops.cluster import Cluster
from gitops.diff import Comparison, compare
from gitops.environments import PIPELINE
from gitops.errors import BadInputError, GitopsError
from gitops.manifests import stream
from gitops.mlflow_registry import Candidate, MlflowRegistry
from gitops.release import parse_image
from gitops.releasing import Pins, move_pins
from gitops.repository import Repository
from gitops.terminal import Terminal

_INTERRUPTED = 130
_REFUSED = 3
_MLFLOW_PORT = 5000

Json = Annotated[bool, Parameter(negative="", show_default=False)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]

app = App(
    name="gitops",
    help="Make a fork yours, bring the platform up, and see and move what runs where.",
    help_epilogue="Exit codes: 0 done, 1 away or not come up, 2 unusable input, 3 not wanted, 130 interrupted.",
    version=lambda: version("gitops"),
    suppress_keyboard_interrupt=False,
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PinOptions:
    """What to pin; what is not named stays as it is."""

    image: str | None = None
    """REPOSITORY:TAG@sha256:DIGEST."""
    model: str | None = None
    """NAME/VERSION or NAME@ALIAS of the registry; it must have passed its gate."""
    chart: str | None = None
    """Published version of the serving chart."""
    mlflow_url: Annotated[str | None, Parameter(env_var="MLFLOW_TRACKING_URI")] = None
    """Address of MLflow. [default: the cluster's own, through kubectl port-forward]"""


_NO_PINS = PinOptions()


@app.command
def adopt(
    *,
    repo: str | None = None,
    registry: str | None = None,
    registry_plain_http: bool | None = None,
    vendor_argocd: Path | None = None,
    json: Json = False,
) -> int:
    """Make this fork yours: every mention of where it lived before becomes the new address. Nothing is committed.

    Args:
        repo: Address to clone this fork from, as Argo CD will: https://github.com/you/pipeline.git.
        registry: Prefix of its images, with the charts below it: ghcr.io/you/pipeline.
        registry_plain_http: Whether that registry speaks plain HTTP, as one inside a cluster may.
        vendor_argocd: Argo CD's install.yaml, to keep in the repository for a cluster without internet.
        json: Print what was rewritten as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    places = adopting.Places(repository=repo, registry=registry, plain_http=registry_plain_http)
    outcome = adopting.adopt(repository, places, vendor_argocd)
    if json:
        terminal.json(outcome)
        return 0
    if outcome.rewritten:
        rows = [[entry.file, str(entry.mentions)] for entry in outcome.rewritten]
        terminal.rows(f"{outcome.now.repository}, {outcome.now.registry}", ("rewritten", "mentions"), rows)
    else:
        terminal.line("Nothing to rewrite: every mention is of this place already.")
    if outcome.vendored:
        terminal.line(f"Argo CD installs from {outcome.vendored} now: git add {outcome.vendored}")
    if outcome.rewritten or outcome.vendored:
        terminal.line("Look at `git diff`, commit, and push: Argo CD sees what is pushed.")
    return 0


@app.command
def bootstrap(
    *,
    without: Names = (),
    minutes: Annotated[float, Parameter(validator=Number(gt=0))] = 20.0,
    git_user: str | None = None,
    git_ssh_key: Path | None = None,
    registry_user: str | None = None,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Bring the platform up: namespaces, Secrets, Argo CD, and everything that git says. Safe to run again.

    Passwords come from GITOPS_GIT_PASSWORD and GITOPS_REGISTRY_PASSWORD, or are asked for; existing Secrets are kept.

    Args:
        without: An application of apps/ to leave out, such as monitoring; repeatable.
        minutes: How long to wait until everything is Synced and Healthy.
        git_user: User of a private git repository.
        git_ssh_key: Private key for an SSH address.
        registry_user: User of a private registry, for pods and for Argo CD.
        context: Context of the kubeconfig. [default: the current one]
        json: Print addresses and how to get passwords as JSON.
    """
    terminal = Terminal()
    git = GitAccess(login=_login(terminal, "git", git_user), ssh_key=_key(git_ssh_key))
    options = Options(without=without, minutes=minutes, git=git, registry=_login(terminal, "registry", registry_user))
    result = Bootstrap(Repository.find(), Cluster(context), terminal, options).run()
    if json:
        terminal.json(result)
        return 0
    # Lines, not tables: a command that is folded cannot be copied.
    for address in result.addresses:
        terminal.line(f"{address.what}: {address.url}" + (f"   after: {address.command}" if address.command else ""))
    for password in result.passwords:
        terminal.line(f"Password of {password.user} for {password.what}: {password.command}")
    return 0


@app.command
def teardown(*, delete_data: Flag = False, yes: Flag = False, context: str | None = None) -> int:
    """Take the platform out of the cluster; volumes and Secrets stay for the next bootstrap unless told otherwise.

    Args:
        delete_data: Delete volumes, Secrets and namespaces too.
        yes: Do not ask.
        context: Context of the kubeconfig. [default: the current one]
    """
    terminal, repository, cluster = Terminal(), Repository.find(), Cluster(context)
    name = cluster.context()
    if not yes:
        if not terminal.interactive:
            raise BadInputError("teardown asks before it deletes, and nobody is there to answer: say --yes.")
        also = ", the database, all models and all backups in it" if delete_data else "; data and Secrets stay"
        terminal.note(f"This deletes Argo CD and everything that it runs in {name}{also}.")
        if terminal.ask(f"Type {name} to go on:").strip() != name:
            terminal.line("Nothing was deleted.")
            return _REFUSED
    tearing_down.teardown(repository.root, cluster, terminal, delete_data=delete_data)
    return 0


@app.command
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


@app.command(usage="Usage: gitops render [OPTIONS] ENVIRONMENT [APPS...]")
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


@app.command(usage="Usage: gitops diff [OPTIONS] ENVIRONMENT [APPS...]")
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


@app.command
def release(
    environment: str,
    /,
    pins: PinOptions = _NO_PINS,
    *,
    commit: Flag = False,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Pin an environment to an image, a model version or a chart version; the first release names all three.

    Args:
        environment: An environment.
        pins: What to pin.
        commit: Commit the file, and nothing else. Nothing is pushed.
        context: Context of the kubeconfig, for the port-forward. [default: the current one]
        json: Print what changed as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    if not (pins.image or pins.model or pins.chart):
        raise BadInputError("Name what to pin: --image, --model or --chart.")
    image = parse_image(pins.image) if pins.image else None
    candidate = _candidate(pins.model, pins.mlflow_url, Cluster(context)) if pins.model else None
    edit = move_pins(repository.root, environment, Pins(image=image, candidate=candidate, chart=pins.chart))
    sha = repository.commit([Path(edit.file)], edit.message) if commit and edit.changes else None
    if json:
        terminal.json({"environment": environment, "file": edit.file, "changes": edit.changes, "commit": sha})
    elif not edit.changes:
        terminal.line(f"{environment} is pinned like that already.")
    else:
        rows = [[change.pin, *map(looking.words, (change.before, change.after))] for change in edit.changes]
        terminal.rows(edit.file, ("pin", "before", "after"), rows)
        terminal.line(f"Committed as {sha[:7]}; push it to deploy it." if sha else "Commit and push it to deploy it.")
    return 0


def _candidate(reference: str, url: str | None, cluster: Cluster) -> Candidate:
    with ExitStack() as stack:
        address = url or stack.enter_context(cluster.forwarded(PIPELINE, "mlflow", _MLFLOW_PORT))
        return MlflowRegistry(address).find(reference)


def _login(terminal: Terminal, what: str, user: str | None) -> Login | None:
    if user is None:
        return None
    variable = f"GITOPS_{what.upper()}_PASSWORD"
    password = os.environ.get(variable)
    if not password and terminal.interactive:
        password = terminal.ask_secret(f"Password or token of {user} for the {what}:")
    if not password:
        raise BadInputError(f"--{what}-user needs a password: put it into {variable}.")
    return Login(user=user, password=password)


def _key(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInputError(f"--git-ssh-key: {path} cannot be read.") from None
    if "PRIVATE KEY-----" not in text:
        raise BadInputError(f"--git-ssh-key: {path} is no private key.")
    return text


def execute(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit code; whatever went wrong has then been said on the error stream.
    """
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        Terminal().error(str(error))
        return BadInputError.exit_code
    except GitopsError as error:
        Terminal().error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        Terminal().error("interrupted; run the same command again to go on.")
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point."""
    # A stopped job ends like Ctrl-C: temporary files and port-forwards go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:]))
