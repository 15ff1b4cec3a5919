"""The commands that bring pins from one environment to the next, and check what is pinned."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from gitops.cluster.client import Cluster
from gitops.commands.options import Flag, Json, MlflowUrl, registry
from gitops.errors import BadInputError, NotWantedError
from gitops.forge.github import PullRequests
from gitops.git.repository import Repository
from gitops.git.trunk import BRANCH, Trunk
from gitops.pins.verify import Check, Trust, Verifier
from gitops.pins.wording import words
from gitops.platform.identity import load_identity
from gitops.promotion import promote as promoting
from gitops.promotion import review as reviewing
from gitops.promotion.promote import Outcome, Route
from gitops.terminal import Terminal


def promote(
    *,
    source: Annotated[str, Parameter(name="--from")] = "staging",
    target: Annotated[str, Parameter(name="--to")] = "production",
    min_age: Annotated[float, Parameter(env_var="GITOPS_MIN_AGE", validator=Number(gte=0))] = 0.0,
    branch_only: Flag = False,
    dry_run: Flag = False,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Propose one environment's exact pins for another, in a pull request that is kept up to date. Merging it deploys.

    Refused, with exit code 3, while either is held (which closes the pull request), while the pins are too young, and
    where the cluster can be asked and says that they are not rolled out or that their smoke test failed.

    Args:
        source: The environment whose pins are proposed.
        target: The environment that they are proposed for.
        min_age: How many minutes the pins must have been there.
        branch_only: Push the branch, and open no pull request.
        dry_run: Print the pull request, and do nothing.
        context: Context of the kubeconfig. [default: the current one]
        json: Print what was done as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    pulls = None
    if not (branch_only or dry_run):
        pulls = PullRequests.from_environment(load_identity(repository.root), BRANCH)
        if pulls is None:
            raise BadInputError(
                "promote needs GITHUB_TOKEN, with the rights to write contents and pull requests; "
                "--branch-only does without, and --dry-run only shows."
            )
    route = Route(source=source, target=target, min_age=min_age)
    trunk, cluster = Trunk.find(repository), Cluster(context, patient=False)
    with terminal.working("Putting the promotion together"):
        start = trunk.newest()
        if dry_run:
            outcome = promoting.preview(start, cluster, route)
        else:
            outcome = promoting.promote(trunk, start, cluster, route, pulls)
    _show(terminal, outcome, json=json)
    return 0


def _show(terminal: Terminal, outcome: Outcome, *, json: bool) -> None:
    if json:
        terminal.json(outcome)
    elif outcome.outcome == "nothing to promote":
        terminal.line("Nothing to promote: the pins are the same.")
    elif outcome.outcome == "planned":
        terminal.line(outcome.title)
        terminal.text(f"\n{outcome.body}", "markdown")
    elif outcome.outcome == "pushed":
        terminal.line(f"Pushed {outcome.branch}: {outcome.title}")
    else:
        terminal.line(f"{outcome.outcome.capitalize()} {outcome.url}: {outcome.title}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrustOptions:
    """Whose signatures count; by default those of this repository's deliver workflow on GitHub."""

    key: str | None = None
    """Public key, as a file or in any form that cosign takes."""
    identity: str | None = None
    """Regular expression of the keyless identity that signed."""
    issuer: str | None = None
    """Who vouches for that identity. [default: GitHub Actions]"""
    no_transparency_log: Flag = False
    """Take signatures that stand in no public log, as those of a private key pair."""


_OWN_WORKFLOW = TrustOptions()


def verify(
    environment: str,
    /,
    trust: TrustOptions = _OWN_WORKFLOW,
    *,
    without: Annotated[tuple[Literal["image", "model", "chart"], ...], Parameter(negative="", show_default=False)] = (),
    mlflow_url: MlflowUrl = None,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Check what an environment pins: the image's signature and SBOM, the model in its registry, the chart in its own.

    Args:
        environment: An environment.
        trust: Whose signatures count.
        without: What to leave out where its registry cannot be reached; repeatable.
        mlflow_url: Address of MLflow. [default: the cluster's own, through kubectl port-forward]
        context: Context of the kubeconfig, for the port-forward. [default: the current one]
        json: Print the checks as JSON.
    """
    terminal, root = Terminal(), Repository.find().root
    verifier = Verifier(root, load_identity(root), environment)
    checks: list[Check] = []
    with terminal.working("Checking"):
        if "image" not in without:
            checks += verifier.image(
                Trust(
                    key=trust.key,
                    identity=trust.identity,
                    issuer=trust.issuer,
                    transparency_log=not trust.no_transparency_log,
                )
            )
        if "model" not in without:
            checks.append(verifier.model(lambda: registry(mlflow_url, Cluster(context))))
        if "chart" not in without:
            checks.append(verifier.chart())
    if json:
        terminal.json({"environment": environment, "checks": checks, "left_out": sorted(set(without))})
    else:
        rows = [[check.part, check.subject, check.problem or "as pinned"] for check in checks]
        terminal.rows(environment, ("what", "which", ""), rows)
    for check in checks:
        if check.problem:
            terminal.error(f"{check.part} of {environment}: {check.problem}")
    return max((check.exit_code for check in checks), default=0)


def review(*, base: str, json: Json = False) -> int:
    """Judge a pull request, as it is checked out, by what it does to production: only known pins may move, and alone.

    Args:
        base: The tip of the branch that it would go into.
        json: Print the verdict as JSON.
    """
    terminal = Terminal()
    verdict = reviewing.review(Repository.find(), base)
    if json:
        terminal.json(verdict)
    elif verdict.changes:
        rows = [[change.pin, words(change.before), words(change.after)] for change in verdict.changes]
        terminal.rows(f"Pins of production: {verdict.origin}", ("pin", "before", "after"), rows)
    else:
        terminal.line(f"Pins of production: {verdict.origin}.")
    for problem in verdict.problems:
        terminal.error(problem)
    return NotWantedError.exit_code if verdict.problems else 0
