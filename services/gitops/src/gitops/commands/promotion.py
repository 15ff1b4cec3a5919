"""The commands that promote pins from one environment to the next, and verify pins."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from gitops.cluster.client import Cluster
from gitops.commands.landing import trunk_of
from gitops.commands.options import Flag, Json, MlflowUrl, Names, PrometheusUrl, registry
from gitops.errors import BadInputError, GitopsError, NotWantedError
from gitops.forge.choice import forge, needed_forge
from gitops.forge.links import new_pull_request
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.pins.registry import MlflowRegistry
from gitops.pins.verify import Check, Trust, Verifier, signature_of
from gitops.pins.wording import words
from gitops.platform.model import Platform
from gitops.platform.reader import load_platform, platform_at
from gitops.platform.targets import Target, chosen
from gitops.promotion.arrival import Arrivals
from gitops.promotion.promote import Outcome, Route, preview, promote_pins, refusal, routes
from gitops.promotion.review import review_changes
from gitops.terminal import Terminal


def promote(
    target: str | None = None,
    /,
    *,
    min_age: Annotated[float | None, Parameter(env_var="GITOPS_MIN_AGE", validator=Number(gte=0))] = None,
    branch_only: Flag = False,
    dry_run: Flag = False,
    prometheus_url: PrometheusUrl = "",
    context: str | None = None,
    json: Json = False,
) -> int:
    """Propose the exact pins of the source environment, in a pull request for each service. A merge deploys them.

    A promotion is refused with exit code 3 while either side is held (which closes the pull request) or the pins are
    too young, by the records of Argo CD or the forge. It is also refused if the cluster reports that the pins are not
    rolled out or that their smoke test failed, and while a model does not meet the bounds for a shadow in the target's
    values (`shadow.minRows`, `shadow.maxDisagreement`). A refused promotion does not stop the others; the exit code is
    3 only if all are refused.

    Args:
        target: ENV/SERVICE, or ENV for all of its services. [default: every service of every environment with a `from`]
        min_age: Minimum age of the pins in minutes. [default: the environment's `minAge`]
        branch_only: Push the branches, but open no pull request.
        dry_run: Print the pull requests, and change nothing.
        prometheus_url: Address of Prometheus, which has the metrics of shadows. [default: the cluster's own, through
            kubectl port-forward]
        context: Context of the kubeconfig. [default: the current one]
        json: Print what was done as a JSON list.
    """
    terminal, repository = Terminal(), Repository.find()
    platform = load_platform(repository.root)
    proposing = None
    if not (branch_only or dry_run):
        proposing = needed_forge(
            platform, "promote", "--branch-only pushes the branches alone, and --dry-run only shows."
        )
    trunk, cluster = trunk_of(repository), Cluster(context, patient=False, prometheus=prometheus_url)
    with terminal.working("Putting promotions together"):
        start = trunk.newest()
        platform = platform_at(start)
        wanted = routes(platform, target, min_age)
        # Also without a pull request, the forge knows since when the branch has the pins.
        arrivals = Arrivals(start, forge(platform))

        def proposed(route: Route) -> Outcome:
            if dry_run:
                return preview(start, cluster, route, arrivals)
            return promote_pins(trunk, start, cluster, route, arrivals, proposing)

        outcomes = [_or_refused(proposed, start, route, alone=len(wanted) == 1) for route in wanted]
    if json:
        terminal.json(outcomes)
    for outcome in outcomes:
        _show(terminal, platform, outcome, json=json)
    if not outcomes and not json:
        terminal.line("Nothing to promote: platform.yaml has no service in an environment with a `from`.")
    return _exit_code(outcomes)


def _or_refused(propose: Callable[[Route], Outcome], start: Snapshot, route: Route, *, alone: bool) -> Outcome:
    try:
        return propose(route)
    except GitopsError as error:
        if alone:
            raise
        return refusal(start, route, error)


def _exit_code(outcomes: list[Outcome]) -> int:
    """Return the highest code if a promotion failed; 3 if all were refused; else 0."""
    codes = [outcome.exit_code for outcome in outcomes if outcome.outcome != "not released"]
    failed = [code for code in codes if code not in (0, NotWantedError.exit_code)]
    return max(failed) if failed else min(codes, default=0)


def _show(terminal: Terminal, platform: Platform, outcome: Outcome, *, json: bool) -> None:
    if outcome.outcome == "refused":
        terminal.error(f"{outcome.target}: {outcome.why}")
    elif json:
        pass
    elif outcome.outcome == "nothing to promote":
        terminal.line(f"Nothing to promote to {outcome.target}: the pins are the same.")
    elif outcome.outcome == "not released":
        terminal.line(f"Nothing to promote to {outcome.target} yet: {outcome.why}")
    elif outcome.outcome == "planned":
        terminal.line(outcome.title)
        terminal.text(f"\n{outcome.body}", "markdown")
    elif outcome.outcome == "pushed":
        terminal.line(f"Pushed {outcome.branch}: {outcome.title}")
        if platform.adopted:
            terminal.note(f"Its pull request: {new_pull_request(platform, outcome.branch)}")
    else:
        terminal.line(f"{outcome.outcome.capitalize()} {outcome.url}: {outcome.title}")
    if outcome.unlabelled:
        terminal.note(f"{outcome.url} has no label: {outcome.unlabelled}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrustOptions:
    """Whose signatures count; by default those of this repository's deliver workflow on GitHub."""

    key: Annotated[str | None, Parameter(env_var="GITOPS_COSIGN_KEY")] = None
    """The public key: a file, or any form that cosign accepts."""
    identity: str | None = None
    """A regular expression for the keyless identity that signed."""
    issuer: str | None = None
    """The issuer of that identity. [default: GitHub Actions]"""
    no_transparency_log: Annotated[
        bool, Parameter(negative="", show_default=False, env_var="GITOPS_COSIGN_NO_TRANSPARENCY_LOG")
    ] = False
    """Accept signatures that are in no public log, such as those of a private key pair."""


_OWN_WORKFLOW = TrustOptions()


_PARTS = Literal["image", "model", "chart", "signature"]


def verify(
    target: Annotated[str, Parameter(show_default=False)] = "",
    /,
    trust: TrustOptions = _OWN_WORKFLOW,
    *,
    signed: Names = (),
    without: Annotated[tuple[_PARTS, ...], Parameter(negative="", show_default=False)] = (),
    mlflow_url: MlflowUrl = None,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Verify the pins of a service: its image and chart by their signatures, its model and shadow in the registry.

    Args:
        target: ENV/SERVICE, or ENV for all of its released services.
        trust: Whose signatures count.
        signed: REPOSITORY@sha256:DIGEST of an image or chart whose signature to check, not a target's; repeatable.
        without: Check to skip: one that cannot be made, or signatures if nothing is signed; repeatable.
        mlflow_url: Address of MLflow. [default: the cluster's own, through kubectl port-forward]
        context: Context of the kubeconfig, for the port-forward. [default: the current one]
        json: Print the checks as JSON.
    """
    terminal, root = Terminal(), Repository.find().root
    if bool(target) == bool(signed):
        raise BadInputError("Name what to check: ENV/SERVICE or ENV, or an image or chart by --signed.")
    if signed:
        return _verify_signed(terminal, root, signed, _trust(trust), json=json)
    platform = load_platform(root)
    wanted = chosen(platform, target)
    released = [entry for entry in wanted if (root / entry.file).is_file()]
    verification = _Verification(root=root, platform=platform, without=without, trust=_trust(trust))
    checked: list[dict[str, object]] = []
    code = 0
    for entry in released or wanted[:1]:
        with terminal.working(f"Checking {entry}"):
            checks = verification.checks(entry, lambda: registry(mlflow_url, Cluster(context)), alone=len(wanted) == 1)
        checked.append({"target": str(entry), "checks": checks, "left_out": sorted(set(without))})
        if not json:
            rows = [[check.part, check.subject, check.problem or "as pinned"] for check in checks]
            terminal.rows(str(entry), ("what", "which", ""), rows)
        for check in checks:
            if check.problem:
                terminal.error(f"{check.part} of {entry}: {check.problem}")
                code = max(code, check.exit_code)
    if json:
        terminal.json(checked)
    return code


def _verify_signed(terminal: Terminal, root: Path, references: Sequence[str], trust: Trust, *, json: bool) -> int:
    platform = load_platform(root)
    with terminal.working("Checking signatures"):
        checks = [signature_of(root, platform, reference, trust) for reference in references]
    if json:
        terminal.json(checks)
    for check in checks:
        if check.problem:
            terminal.error(f"{check.subject}: {check.problem}")
        elif not json:
            terminal.line(f"{check.subject} is signed.")
    return max(check.exit_code for check in checks)


@dataclass(frozen=True, kw_only=True)
class _Verification:
    """Which checks to make, and which signatures to trust."""

    root: Path
    platform: Platform
    without: tuple[str, ...]
    trust: Trust

    def checks(
        self, target: Target, models: Callable[[], AbstractContextManager[MlflowRegistry]], *, alone: bool
    ) -> list[Check]:
        try:
            verifier = Verifier(self.root, self.platform, target)
        except GitopsError as error:
            if alone:
                raise
            return [Check(part="pins", subject=str(target.file), problem=str(error), exit_code=error.exit_code)]
        return [
            *(verifier.image(self.trust) if not {"image", "signature"} & set(self.without) else []),
            *(verifier.models(models) if "model" not in self.without else []),
            *([verifier.chart()] if "chart" not in self.without else []),
            *(verifier.chart_signature(self.trust) if not {"chart", "signature"} & set(self.without) else []),
        ]


def _trust(options: TrustOptions) -> Trust:
    return Trust(
        key=options.key,
        identity=options.identity,
        issuer=options.issuer,
        transparency_log=not options.no_transparency_log,
    )


def review(*, base: str, head: str = "HEAD", json: Json = False) -> int:
    """Check a pull request against the rules for environments with a `from`: only known pins may move, and alone.

    Every commit of it is checked. The environments and their history come from the base.

    Args:
        base: The newest commit of the target branch.
        head: The newest commit of the pull request; with it, the gitops of the target branch can run the check.
        json: Print the verdict as JSON.
    """
    terminal = Terminal()
    verdict = review_changes(Repository.find(), base, head)
    if json:
        terminal.json(verdict)
    else:
        for entry in verdict.targets:
            rows = [[change.pin, words(change.before), words(change.after)] for change in entry.changes]
            if rows:
                terminal.rows(f"Pins of {entry.target}: {entry.origin}", ("pin", "before", "after"), rows)
            else:
                terminal.line(f"Pins of {entry.target}: {entry.origin}.")
        if not verdict.targets:
            terminal.line("No pin changes in an environment with a `from`.")
    for problem in verdict.problems:
        terminal.error(problem)
    return NotWantedError.exit_code if verdict.problems else 0
