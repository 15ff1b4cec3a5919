"""The commands that hold a service, release it, and roll it back, by hand or because of problems in the cluster."""

from collections.abc import Sequence

from gitops.cluster.canary import Canary
from gitops.cluster.client import Cluster
from gitops.cluster.prometheus import Prometheuses
from gitops.commands.landing import NO_LANDING, LandingOptions, land_and_show
from gitops.commands.options import Flag, Json, PrometheusUrl
from gitops.errors import BadInputError, GitopsError
from gitops.forge.choice import forge
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.pins.hold import hold_by, hold_services, lift_holds, roll_back
from gitops.pins.release import Hold
from gitops.platform.reader import platform_at
from gitops.platform.targets import Target, chosen, targets
from gitops.promotion.aborted import aborted_canaries, roll_back_aborted
from gitops.promotion.arrival import Arrivals
from gitops.promotion.promote import close_promotions, held_because
from gitops.promotion.watching import Burning, burning, roll_back_burning
from gitops.terminal import Terminal


def hold(target: str, /, landing: LandingOptions = NO_LANDING, *, reason: str, json: Json = False) -> int:
    """Stop automation for a service: bump and promote refuse, and an open promotion is closed.

    Args:
        target: ENV/SERVICE, or ENV for all of its services, a commit for each.
        landing: What to do with the commits.
        reason: The reason, for everybody who finds the hold.
        json: Print what changed as JSON.
    """
    repository = Repository.find()
    held = hold_by(repository, reason)
    return _land(landing.start(repository), target, hold_services(target, held), landing, json=json)


def unhold(target: str, /, landing: LandingOptions = NO_LANDING, *, json: Json = False) -> int:
    """Remove the hold of a service.

    Args:
        target: ENV/SERVICE, or ENV for all of its services, a commit for each.
        landing: What to do with the commits.
        json: Print what changed as JSON.
    """
    return _land(landing.start(Repository.find()), target, lift_holds(target), landing, json=json)


def rollback(
    target: str | None = None,
    /,
    landing: LandingOptions = NO_LANDING,
    *,
    to: str | None = None,
    reason: str | None = None,
    aborted: Flag = False,
    context: str | None = None,
    json: Json = False,
) -> int:
    """Pin what ran before, and hold the service so that automation does not undo it.

    Args:
        target: ENV/SERVICE, or ENV for all of its services, a commit for each. Optional with --aborted.
        landing: What to do with the commits.
        to: A commit whose pins to restore. [default: the pins before the present ones]
        reason: The reason, for everybody who finds the hold. [default: rolled back; with --aborted, what was measured]
        aborted: Only services with an aborted canary: restore the pins of the version that still answers, with the
            figures of the analysis as the reason.
        context: With --aborted, the context of the kubeconfig. [default: the current one]
        json: Print what changed as JSON.
    """
    repository = Repository.find()
    if aborted:
        if to or reason:
            raise BadInputError("--aborted takes pins and reason from the cluster: leave out --to and --reason.")
        return _roll_back_aborted(repository, target or "", landing, Cluster(context), json=json)
    if not target:
        raise BadInputError("Name what to roll back, ENV/SERVICE or ENV; or --aborted for every aborted canary.")
    held = hold_by(repository, reason or "rolled back")
    start = landing.start(repository)
    edit = roll_back(repository, start.commit, target, held, to)
    return _land(start, target, edit, landing, json=json)


def _roll_back_aborted(
    repository: Repository, name: str, landing: LandingOptions, cluster: Cluster, *, json: bool
) -> int:
    start = landing.start(repository)
    platform = platform_at(start)
    canaries = aborted_canaries(cluster, chosen(platform, name) if name else targets(platform))
    if not canaries:
        if json:
            Terminal().json({"commit": None, "attempts": 0, "targets": []})
        else:
            Terminal().line("No canary is aborted.")
        return 0
    edit = roll_back_aborted(repository, start.commit, canaries, lambda reason: hold_by(repository, reason))
    fate = land_and_show(start, edit, landing, json=json)
    if not (landing.no_push or landing.dry_run or landing.pr):
        now = Snapshot(repository, fate.commit or start.commit)
        for target in canaries:
            _close_promotions(now, str(target))
    return fate.exit_code


def watch(
    target: str | None = None,
    /,
    landing: LandingOptions = NO_LANDING,
    *,
    prometheus_url: PrometheusUrl = "",
    context: str | None = None,
    json: Json = False,
) -> int:
    """Check the releases once, and roll back in git those with problems: the earlier pins, and a hold with the reason.

    It rolls back a canary that the cluster aborted, and a service with a critical alert that began within
    `watch.minutes` of its values after its pins changed. Held services are skipped. Run it every few minutes. With
    `bumps: pull-requests` in platform.yaml it opens pull requests (--pr), which a person merges.

    Args:
        target: ENV/SERVICE, or ENV for all of its services. [default: all]
        landing: What to do with the commits.
        prometheus_url: Address of Prometheus, which has the alerts. With it, a cluster that cannot be reached
            for canaries does not fail the command. [default: the cluster's own, through kubectl port-forward]
        context: Context of the kubeconfig. [default: the current one]
        json: Print what changed as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    start = landing.start(repository)
    platform = platform_at(start)
    landing = landing.of_machines(platform)
    wanted = chosen(platform, target) if target else targets(platform)
    canaries, found, outages = _seen(start, Cluster(context, patient=False, prometheus=prometheus_url), wanted)
    code = max((error.exit_code for error in outages), default=0)
    if not canaries and not found:
        if json:
            terminal.json({"commit": None, "attempts": 0, "targets": []})
        elif not outages:
            terminal.line("No release has problems.")
        return code

    def hold_because(reason: str) -> Hold:
        return hold_by(repository, reason)

    aborted = roll_back_aborted(repository, start.commit, canaries, hold_because)
    burnt = roll_back_burning(repository, start.commit, found, hold_because)
    fate = land_and_show(start, lambda now: [*aborted(now), *burnt(now)], landing, json=json)
    if not (landing.no_push or landing.dry_run or landing.pr):
        now = Snapshot(repository, fate.commit or start.commit)
        for one in (*canaries, *found):
            _close_promotions(now, str(one))
    return fate.exit_code or code


def _seen(
    start: Snapshot, cluster: Cluster, wanted: Sequence[Target]
) -> tuple[dict[Target, Canary], dict[Target, Burning], list[GitopsError]]:
    """Return aborted canaries, releases with problems, and the errors of what could not be checked."""
    terminal = Terminal()
    outages: list[GitopsError] = []
    canaries: dict[Target, Canary] = {}
    try:
        aborted = aborted_canaries(cluster, wanted)
        canaries = {one: canary for one, canary in aborted.items() if not _is_held(start, one)}
    except GitopsError as error:
        # kubectl may be missing, or may not read anything: alerts can still be checked.
        terminal.note(f"Canaries could not be checked: {error}")
        outages += [] if cluster.prometheus else [error]
    found: dict[Target, Burning] = {}
    arrivals = Arrivals(start, forge(platform_at(start)))
    with Prometheuses(platform_at(start), cluster) as prometheuses:
        for one in wanted:
            try:
                if one not in canaries and (seen := burning(start, prometheuses, one, arrivals)):
                    found[one] = seen
            except GitopsError as error:
                terminal.error(f"{one}: {error}")
                outages.append(error)
    return canaries, found, outages


def _is_held(start: Snapshot, target: Target) -> bool:
    """Whether a person already decided about a service; if its file is invalid, the rollback reports that."""
    try:
        release = start.release(target)[1]
    except BadInputError:
        return False
    return release is not None and release.held is not None


def _land(start: Snapshot, target: str, edit: Edit, options: LandingOptions, *, json: bool) -> int:
    fate = land_and_show(start, edit, options, json=json)
    if not (options.no_push or options.dry_run or options.pr):
        _close_promotions(Snapshot(start.repository, fate.commit or start.commit), target)
    return fate.exit_code


def _close_promotions(now: Snapshot, name: str) -> None:
    """Close open promotions of held services: one from before the hold would bypass it."""
    terminal, platform = Terminal(), platform_at(now)
    # Targets with an invalid file are skipped; they were reported before.
    held = [(target, now.released(target)[1].held or "") for target in chosen(platform, name) if _is_held(now, target)]
    if not held:
        return
    there = forge(platform)
    if there is None:
        terminal.note(
            "There is no token for the forge, so an open promotion stays open; the next `gitops promote` closes it."
        )
        return
    for target, why in held:
        for url in close_promotions(there, platform, target, held_because(target, why)):
            terminal.done("closed", url)
