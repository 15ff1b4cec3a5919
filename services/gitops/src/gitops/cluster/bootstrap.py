"""Bring an empty cluster under Argo CD. Each step checks the state first, so a second run continues."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from gitops.cluster import argocd, elsewhere, external, handover, notifications, webhooks
from gitops.cluster.addresses import Address, Password, addresses, passwords
from gitops.cluster.argocd import GitAccess, Login
from gitops.cluster.client import Cluster
from gitops.cluster.convergence import REFRESH, State, application_state, left_after, wait_until_settled, workload_state
from gitops.cluster.diagnosis import Finding, diagnose_application, diagnose_owners, diagnose_pods, pods_of
from gitops.cluster.kinds import APPLICATIONS
from gitops.cluster.preflight import check_cluster, check_kinds
from gitops.cluster.resync import begin_again, end_outdated
from gitops.cluster.secrets import (
    DOCKER_CONFIG,
    PULL_SECRET,
    Made,
    bootstrap_secrets,
    decoded,
    docker_config,
    guessable,
    make_secrets,
    secret_manifest,
)
from gitops.errors import BadInputError, NotConvergedError
from gitops.git.repository import Repository
from gitops.platform.model import ARGOCD, Platform
from gitops.platform.reader import FILE, load_platform
from gitops.platform.targets import ENVS
from gitops.programs import ProgramFailedError
from gitops.rendering.applications import APPS, EXTRA, MODELS, Found, Source, applications
from gitops.rendering.manifests import Manifest, placed
from gitops.rendering.render import Renderer, find_helm
from gitops.rendering.several import render_all
from gitops.terminal import Terminal

_WATCHED = (FILE, Path("argocd"), APPS, ENVS, MODELS, Path("charts"))
_DEFINITION_PAUSE = 1.0
# In seconds. It takes minutes if the machine of the API server is busy.
_DEFINITION_SECONDS = 180.0
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


class Options(Struct, frozen=True, kw_only=True):
    """The options of a bootstrap: `without` has names of applications, `minutes` is how long to wait in total.

    `notify` has the values for Argo CD's notification services, by service name. `contexts` has contexts of the
    kubeconfig, by cluster name in platform.yaml. With a `secret_store`, a ClusterSecretStore, the External Secrets
    operator creates the Secrets, and bootstrap generates no random values.
    """

    without: tuple[str, ...] = ()
    minutes: float = 20.0
    git: GitAccess = GitAccess()
    registry: Login | None = None
    notify: Mapping[str, str] = {}
    contexts: Mapping[str, str] = {}
    secret_store: str = ""


class Result(Struct, frozen=True, kw_only=True):
    """What runs now, its addresses, and how to sign in."""

    applications: list[str]
    addresses: list[Address]
    passwords: list[Password]


class Bootstrap:
    """One run of bootstrap against one cluster."""

    def __init__(self, repository: Repository, cluster: Cluster, terminal: Terminal, options: Options) -> None:
        """Take the repository, the cluster, and the options."""
        self._repository = repository
        self._cluster = cluster
        self._terminal = terminal
        self._options = options
        self._deadline = time.monotonic() + options.minutes * 60

    def run(self) -> Result:
        """Bring everything up and wait until it runs.

        Raises:
            BadInputError: An option, a committed file or an object in the cluster prevents it.
            OutageError: The cluster or a download server does not answer.
            NotConvergedError: Something did not come up in time; the terminal has the reasons.
        """
        helm = find_helm(self._repository.root)
        with tempfile.TemporaryDirectory(prefix="gitops-") as scratch:
            tree = Path(scratch)
            platform = self._committed(tree)
            without = argocd.left_out(tree, self._options.without)
            elsewhere.check_contexts(platform, self._options.contexts)
            notifications.check_reach(self._options.notify, platform)
            found = applications(tree, helm)
            root = argocd.root_manifest(tree, platform, without)
            self._look(platform, found)
            notified = self._notified(platform)
            self._prepare(platform)
            fresh = [*notifications.subscribed(map(dict, found.projects), notified), root]
            if handover.needed(self._cluster):
                self._hand_over_old(platform, fresh, _own_objects(tree, helm, found, without))
            self._install(tree / argocd.installation(platform), notified)
            expected = [argocd.ROOT_NAME, *_expected(found, without)]
            self._hand_over(fresh, without, expected)
        self._wait(expected, found)
        kubectl, services = self._cluster.command, self._cluster.items("services")
        return Result(
            applications=expected,
            addresses=addresses(platform, services, self._cluster.items("ingresses.networking.k8s.io"), kubectl),
            passwords=passwords(self._cluster.items("secrets"), services, kubectl),
        )

    def _committed(self, tree: Path) -> Platform:
        """Export the last commit, because Argo CD reads what is committed, and return its platform.yaml."""
        head = self._repository.head()
        if head is None:
            raise BadInputError(
                "There is no commit yet, and Argo CD sees only what is committed: commit and push first."
            )
        self._repository.export(head, tree)
        platform = load_platform(tree)
        if not platform.adopted:
            raise BadInputError(
                f"{FILE} as committed still has the address of the template: run `gitops adopt --repo URL --registry "
                "PREFIX`, commit, push, and run bootstrap again."
            )
        return platform

    def _look(self, platform: Platform, found: Found) -> None:
        with self._terminal.working("Checking the cluster"):
            context = self._cluster.context()
            words, notes = check_cluster(self._cluster)
            check_kinds(self._cluster, self._options.without)
        self._terminal.done("cluster", f"{context}: {words}")
        for note in notes:
            self._terminal.note(note)
        for entry in found.unread:
            self._terminal.note(f"Not waited for, because it cannot be read here: {entry.origin}: {entry.why}")
        if changed := self._repository.changed(*_WATCHED):
            self._terminal.note(f"Not committed, so Argo CD does not see it: {', '.join(changed[:5])}.")
        remote = self._repository.remote_head(platform.repository, platform.branch)
        if remote and remote != self._repository.head():
            self._terminal.note(
                f"{platform.branch} of {platform.repository} is at {remote[:7]}, not at the commit that is checked "
                "out here. Argo CD runs the remote one."
            )

    def _prepare(self, platform: Platform) -> None:
        with self._terminal.working("Creating namespaces and Secrets"):
            levels = self._namespaces(platform, self._cluster, "")
            made = self._secrets(platform, self._cluster, "")
            self._pull_secrets(platform, self._cluster, "")
            present = {
                name: decoded(secret)
                for name in (argocd.GIT_SECRET, argocd.CHARTS_SECRET)
                if (secret := self._cluster.find("secrets", name, ARGOCD))
            }
            self._cluster.apply(argocd.repository_secrets(platform, self._options.git, self._options.registry, present))
        self._terminal.done("namespaces", ", ".join(levels))
        self._terminal.done("secrets", f"{len(made.made)} made, {len(made.kept)} were there")
        self._await_operator(platform, self._cluster, "")
        for title in made.stale:
            self._terminal.note(
                f"The Secret {title} no longer matches the one that it was copied from: delete it, run bootstrap "
                "again, and restart the pods that read it."
            )
        if words := guessable(self._cluster):
            self._terminal.note(
                f"The store has access key ids that can be guessed ({', '.join(words)}), and MinIO lets in anybody "
                "who knows one: run gitops rotate-keys once everything is up."
            )
        self._prepare_others(platform)

    def _prepare_others(self, platform: Platform) -> None:
        """Create what environments in other clusters need, or say how to do it."""
        for name in elsewhere.used(platform):
            context = self._options.contexts.get(name)
            if context:
                cluster = self._cluster.other(context)
                with self._terminal.working(f"Creating namespaces and Secrets in {name}"):
                    levels = self._namespaces(platform, cluster, name)
                    made = self._secrets(platform, cluster, name)
                    self._pull_secrets(platform, cluster, name)
                self._terminal.done(name, f"{', '.join(levels)}: {len(made.made)} Secrets made, {len(made.kept)} there")
                self._await_operator(platform, cluster, name)
            for sentence in elsewhere.left_to_do(platform, name, self._cluster, made=bool(context)):
                self._terminal.note(sentence)

    def _secrets(self, platform: Platform, cluster: Cluster, name: str) -> Made:
        """Make the Secrets; with a secret store, the operator makes all except the registry credentials."""
        wanted = bootstrap_secrets(platform, name)
        if store := self._options.secret_store:
            external.check(cluster, external.wanted(platform, name))
            cluster.apply(external.external_secrets(platform, store, name))
            wanted = tuple(spec for spec in wanted if spec.name == PULL_SECRET)
        return make_secrets(cluster, wanted, self._cluster if name and not store else None)

    def _await_operator(self, platform: Platform, cluster: Cluster, name: str) -> None:
        if not self._options.secret_store:
            return
        wanted = external.wanted(platform, name)

        def left() -> list[str]:
            return external.missing(cluster, wanted)

        with self._terminal.working("Waiting for the operator of External Secrets"):
            waiting = left_after(left, seconds=self._deadline - time.monotonic(), pause=_DEFINITION_PAUSE)
        if waiting:
            raise NotConvergedError(
                f"{len(waiting)} Secrets have not come after {self._options.minutes:g} minutes: {waiting[0]}. gitops "
                "bootstrap --secrets external --external-secrets-to FILE writes what the store must hold; put it "
                "there and run this again."
            )
        self._terminal.done("external secrets", f"{len(wanted)} Secrets, from {self._options.secret_store}")

    def _namespaces(self, platform: Platform, cluster: Cluster, name: str) -> Mapping[str, str]:
        levels = argocd.namespaces(platform, name)
        foreign = argocd.foreign_namespaces(levels, cluster.items("namespaces"))
        cluster.apply(argocd.namespace_manifests(levels, foreign))
        return levels

    def _pull_secrets(self, platform: Platform, cluster: Cluster, name: str) -> None:
        if registry := self._options.registry:
            config = docker_config(platform.registry.prefix, registry.user, registry.password)
            cluster.apply(
                [
                    secret_manifest(spec.namespace, spec.name, {DOCKER_CONFIG: config}, type_=spec.type)
                    for spec in bootstrap_secrets(platform, name)
                    if spec.name == PULL_SECRET
                ]
            )

    def _notified(self, platform: Platform) -> dict[str, str]:
        """Return the content of the notifications Secret: values given now and values given earlier."""
        present = self._cluster.find("secrets", notifications.SECRET, ARGOCD)
        given = self._options.notify
        return notifications.wanted(decoded(present) if present else {}, given, platform.chats.values())

    def _hand_over_old(self, platform: Platform, fresh: Sequence[Manifest], wanted: Sequence[Manifest]) -> None:
        """Transfer what the old layout runs to the new applications, before Argo CD reads the new layout."""
        with self._terminal.working("Migrating the old layout"):
            moved = handover.hand_over(self._cluster, platform, fresh, wanted)
        for entry in moved:
            self._terminal.done("handed over", str(entry))

    def _install(self, folder: Path, notified: Mapping[str, str]) -> None:
        with self._terminal.working("Installing Argo CD"):
            try:
                objects = [placed(entry, ARGOCD) for entry in self._cluster.kustomized(folder)]
            except ProgramFailedError as error:
                raise argocd.not_fetched(error) from None
            present = self._cluster.find("secrets", webhooks.SECRET, ARGOCD)
            objects = webhooks.guarded(objects, decoded(present) if present else {})
            definitions, others = argocd.definitions_first(notifications.filled(objects, notified))
            self._cluster.apply(definitions)
            self._await_definitions([entry["metadata"]["name"] for entry in definitions])
            self._cluster.apply(others)
        workloads = [entry for entry in others if entry["kind"] in ("Deployment", "StatefulSet")]

        def look() -> list[State]:
            found = [
                *self._cluster.items("deployments.apps", ARGOCD),
                *self._cluster.items("statefulsets.apps", ARGOCD),
            ]
            wanted = {entry["metadata"]["name"] for entry in workloads}
            return [workload_state(entry) for entry in found if entry["metadata"]["name"] in wanted]

        states = self._waited(look, "Argo CD starts")
        if not all(state.settled for state in states):
            self._explain(self._in_namespace(ARGOCD, self._cluster.items("pods", ARGOCD)), "Argo CD")
        self._terminal.done("argo cd", f"{len(states)} workloads run")

    def _await_definitions(self, names: Sequence[str]) -> None:
        def missing() -> list[str]:
            found = {entry["metadata"]["name"]: entry for entry in self._cluster.items(_DEFINITIONS)}
            return [name for name in names if not _established(found.get(name))]

        if left := left_after(missing, seconds=_DEFINITION_SECONDS, pause=_DEFINITION_PAUSE):
            raise NotConvergedError(f"The cluster does not accept the kind {left[0]}: kubectl describe crd {left[0]}.")

    def _hand_over(self, fresh: Sequence[Manifest], without: Sequence[str], expected: Sequence[str]) -> None:
        with self._terminal.working("Handing over to Argo CD"):
            self._cluster.apply(fresh)
            again = begin_again(self._cluster, self._applications(expected).values())
            # Applications of an earlier run may be a commit behind, and would look settled.
            self._cluster.annotate_all(APPLICATIONS, ARGOCD, f"{REFRESH}=normal")
        if again:
            self._terminal.done("sync", f"restarted after a failure: {', '.join(again)}")
        left_out = f", without {', '.join(without)}" if without else ""
        self._terminal.done("root", f"Argo CD runs what {APPS}/ makes of {FILE}{left_out}")

    def _wait(self, expected: Sequence[str], found: Found) -> None:
        ended: set[str] = set()

        def look() -> list[State]:
            there = self._applications(expected)
            ended.update(end_outdated(self._cluster, there.values()))
            ended.difference_update(begin_again(self._cluster, [there[name] for name in ended & there.keys()]))
            return [application_state(name, there.get(name)) for name in expected]

        states = self._waited(look, "Applications")
        waiting = [state for state in states if not state.settled]
        if not waiting:
            self._terminal.done("applications", f"all {len(states)} are Synced and Healthy")
            return
        for state in waiting:
            self._terminal.error(": ".join([state.name, ", ".join(cell for cell in state.row[1:] if cell)]))
        self._explain(
            self._causes([state.name for state in waiting], found), ", ".join(state.name for state in waiting)
        )

    def _applications(self, names: Sequence[str]) -> dict[str, Manifest]:
        """Return those of the applications that exist, by name."""
        found = {entry["metadata"]["name"]: entry for entry in self._cluster.items(APPLICATIONS, ARGOCD)}
        return {name: found[name] for name in names if name in found}

    def _waited(self, look: Callable[[], Sequence[State]], title: str) -> list[State]:
        return wait_until_settled(look, self._terminal, title, seconds=max(0.0, self._deadline - time.monotonic()))

    def _causes(self, names: Sequence[str], rendered: Found) -> list[Finding]:
        """Collect what the applications report, then their pods; the root application has no pods of its own."""
        found: list[Finding] = []
        for name in names:
            application = self._cluster.find(APPLICATIONS, name, ARGOCD)
            if application is None:
                continue
            found += diagnose_application(application)
            namespace = application["spec"]["destination"].get("namespace", "")
            if name != argocd.ROOT_NAME and namespace:
                pods = pods_of(_release(rendered, name), namespace, self._cluster.items("pods", namespace))
                found += self._in_namespace(namespace, pods)
        unique = {(finding.object, finding.why): finding for finding in found}
        return list(unique.values())

    def _in_namespace(self, namespace: str, pods: Sequence[Manifest]) -> list[Finding]:
        events = self._cluster.items("events", namespace)

        def logs(where: str, pod: str, container: str, previous: bool) -> list[str]:
            return self._cluster.logs(where, pod, container, previous=previous)

        return [*diagnose_pods(pods, events, logs), *diagnose_owners(events)]

    def _explain(self, findings: Sequence[Finding], what: str) -> None:
        for finding in findings:
            self._terminal.error(f"{finding.object}: {finding.why}")
            for line in finding.details:
                self._terminal.detail(line)
            self._terminal.detail(f"-> {finding.advice}")
        raise NotConvergedError(
            f"Not up after {self._options.minutes:g} minutes: {what}. Argo CD keeps trying. Fix the problems above "
            "and run bootstrap again, or wait longer with --minutes."
        )


def _expected(found: Found, without: Sequence[str]) -> list[str]:
    """Return the applications that must come up, without people's own files in apps/extra."""
    left_out = {f"{APPS} ({name})" for name in (*without, EXTRA.name)}
    return [
        entry.name
        for entry in found.applications
        if entry.origin not in left_out and not entry.origin.startswith(f"{EXTRA}/")
    ]


def _own_objects(tree: Path, helm: str, found: Found, without: Sequence[str]) -> list[Manifest]:
    """Return the objects of the applications whose chart is in the tree; other charts would need a download."""
    expected = set(_expected(found, without))
    wanted = [
        entry
        for entry in found.applications
        if entry.name in expected and all(_in_tree(tree, source) for source in entry.sources)
    ]
    return [manifest for entry in render_all(Renderer(tree, helm), wanted) for manifest in entry.manifests]


def _in_tree(tree: Path, source: Source) -> bool:
    return bool(source.ref) if not source.path else (tree / source.path / "Chart.yaml").is_file()


def _release(found: Found, name: str) -> str:
    """Return the Helm release of an application, which is a label of its pods."""
    application = found.named(name)
    releases = [source.helm.release_name for source in application.sources if source.helm] if application else []
    return next(filter(None, releases), name)


def _established(definition: Manifest | None) -> bool:
    conditions = ((definition or {}).get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)
