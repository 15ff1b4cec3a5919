"""Replace the access key ids and secrets of all users of the store, without downtime.

Rotation has three steps: add new users, switch the readers of the keys, delete the old users. The cluster holds the
state: in the keys of each user's Secret (`NEXT_*`: added, not used yet; `PREVIOUS_*`: only old pods still use them),
and in a ConfigMap that is created with the switch. Its creation time, by the cluster's clock, shows which pods still
hold old keys.

MinIO gets its users from the Job of its chart, and reads the keys of root at its start. SeaweedFS reads all keys from
the Secrets while it runs, and the Job of its chart waits until every server has them. So SeaweedFS is never restarted.
Its Job also checks that it has forgotten the ids whose `PREVIOUS_SECRET_ACCESS_KEY` is gone.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from gitops.cluster import elsewhere
from gitops.cluster.client import Cluster
from gitops.cluster.convergence import left_after, workload_state
from gitops.cluster.external import brought, entry_of
from gitops.cluster.secret_readers import reads, restart
from gitops.cluster.secrets import (
    KEY_ID,
    MINIO_ROOT,
    OWNED,
    S3_COPIED,
    S3_USERS,
    SECRET_KEY,
    decoded,
    random_id,
    random_secret,
    secret_manifest,
)
from gitops.errors import BadInputError, NotConvergedError
from gitops.platform.model import PIPELINE, Platform
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal

MARKER = "store-keys-moved"
NEXT_ID, NEXT_SECRET = "NEXT_ACCESS_KEY_ID", "NEXT_SECRET_ACCESS_KEY"
PREVIOUS_ID, PREVIOUS_SECRET = "PREVIOUS_ACCESS_KEY_ID", "PREVIOUS_SECRET_ACCESS_KEY"
_ROTATED = "rotation"
_PAUSE = 2.0
_JOB_OWN = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")
_ENDED = ("Succeeded", "Failed")


class Place(Struct, frozen=True):
    """A namespace of a cluster, whose pods may read the keys."""

    cluster: Cluster
    namespace: str
    copy: bool
    """Whether it has only copies of the Secrets in `S3_COPIED`."""

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the Secrets with keys that may exist here."""
        return frozenset(spec.name for spec in (S3_COPIED if self.copy else S3_USERS))


class Rotation:
    """One run of the rotation; it continues an earlier run that was interrupted."""

    def __init__(
        self,
        platform: Platform,
        cluster: Cluster,
        terminal: Terminal,
        *,
        minutes: float,
        contexts: Mapping[str, str] | None = None,
    ) -> None:
        """Take the platform, Argo CD's cluster, how long to wait for pods, and contexts of other clusters by name."""
        self._platform = platform
        self._store = platform.store
        self._job = f"{platform.store}-provision"
        self._cluster = cluster
        self._terminal = terminal
        self._deadline = time.monotonic() + minutes * 60
        self._minutes = minutes
        self._contexts = contexts or {}

    def run(self) -> None:
        """Replace every key.

        Raises:
            BadInputError: The store's Job was not made by this version of the chart, or a context is missing.
            NotConvergedError: The Job failed, or pods hold old keys for too long; a second run continues.
            OutageError: The cluster does not answer.
        """
        places = self._places()
        self._check()
        marker = self._marker()
        if marker is None:
            self._add()
            self._move(places)
            marker = self._marker()
        if marker is None:
            raise NotConvergedError(f"The ConfigMap {PIPELINE}/{MARKER} was removed again: run this again.")
        # Copy in every run: the last one may have been interrupted between two copies.
        self._copy(places)
        self._restart(places, marker["metadata"]["creationTimestamp"])
        self._change_root(marker)
        self._remove_old()

    def _places(self) -> list[Place]:
        elsewhere.check_contexts(self._platform, self._contexts)
        if missing := [name for name in elsewhere.used(self._platform) if name not in self._contexts]:
            raise BadInputError(
                f"Environments in the cluster {missing[0]} read the store's keys too: name the context of your "
                f"kubeconfig for it, --context-of {missing[0]}=CONTEXT."
            )
        clusters = {name: self._cluster.other(context) for name, context in self._contexts.items()}
        of_environments = [
            Place(clusters[entry.cluster] if entry.cluster else self._cluster, entry.where, copy=True)
            for entry in self._platform.environments
        ]
        return [Place(self._cluster, PIPELINE, copy=False), *of_environments]

    def _check(self) -> None:
        """Refuse what would make the rotation stop half-way."""
        for spec in (MINIO_ROOT, *S3_USERS):
            present = self._cluster.find("secrets", spec.name, spec.namespace)
            if present is None:
                raise BadInputError(f"The Secret {spec.title} is missing: run gitops bootstrap first.")
            if brought(present):
                raise BadInputError(
                    f"The Secret {spec.title} comes from a secret store, which would undo a change made here: change "
                    f"the entry {entry_of(spec.name)} there. docs/secret-store.md says how."
                )
        job = self._cluster.find("jobs.batch", self._job, PIPELINE)
        if job is None:
            raise BadInputError(
                f"The Job {PIPELINE}/{self._job}, which manages the store's users, is missing: sync the application "
                f"{self._store} first. With another store, change its keys there: docs/operations.md."
            )
        if NEXT_ID not in str(job["spec"]["template"]):
            raise BadInputError(
                f"The Job {PIPELINE}/{self._job} was made by an earlier version of the chart, which cannot rotate "
                f"keys: sync the application {self._store} first."
            )

    def _marker(self) -> Manifest | None:
        return self._cluster.find("configmaps", MARKER, PIPELINE)

    def _add(self) -> None:
        """Add new users in addition to the old ones."""
        users = {spec.name: self._values(spec.name) for spec in S3_USERS}
        if not any(PREVIOUS_ID in values for values in users.values()):
            for name, values in users.items():
                if NEXT_ID not in values:
                    self._write(name, {**values, NEXT_ID: random_id(), NEXT_SECRET: random_secret()})
        with self._terminal.working("Adding new users to the store"):
            self._provision()
        self._terminal.done("added", f"{len(users)} users, in addition to the old ones")

    def _move(self, places: Sequence[Place]) -> None:
        """Replace the old keys by the new ones in every Secret."""
        for spec in S3_USERS:
            values = self._values(spec.name)
            if NEXT_ID in values:
                fresh = {KEY_ID: values[NEXT_ID], SECRET_KEY: values[NEXT_SECRET]}
                self._write(spec.name, {**fresh, PREVIOUS_ID: values[KEY_ID], PREVIOUS_SECRET: values[SECRET_KEY]})
        self._copy(places)
        metadata = {"name": MARKER, "namespace": PIPELINE, "labels": OWNED}
        self._cluster.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}])
        time.sleep(_PAUSE)  # Times have whole seconds: pods that start from now on are younger.

    def _copy(self, places: Sequence[Place]) -> None:
        for spec in S3_COPIED:
            values = self._values(spec.name)
            wanted = {key: values[key] for key in spec.keys}
            for place in places:
                present = place.cluster.find("secrets", spec.name, place.namespace) if place.copy else None
                if present is not None and decoded(present) != wanted:
                    place.cluster.apply([secret_manifest(place.namespace, spec.name, wanted)])

    def _restart(self, places: Sequence[Place], since: str) -> None:
        restarted = [
            f"{place.namespace}/{name}"
            for place in places
            for name in restart(place.cluster, place.namespace, place.names, since, frozenset({self._store}))
        ]

        def old() -> list[str]:
            return [f"{place.namespace}/{name}" for place in places for name in _old_pods(place, since, self._store)]

        with self._terminal.working("Waiting until no pod holds an old key"):
            self._wait(old, "These pods still hold old keys")
        self._terminal.done("moved", ", ".join(restarted) or "nothing had to be restarted")

    def _change_root(self, marker: Manifest) -> None:
        identity = str(marker["metadata"].get("uid", marker["metadata"]["creationTimestamp"]))
        if self._values(MINIO_ROOT.name).get(_ROTATED) != identity:
            fresh = {"root-user": random_id(), "root-password": random_secret(), _ROTATED: identity}
            self._write(MINIO_ROOT.name, fresh)
        if self._store == "seaweedfs":
            with self._terminal.working("Waiting until the store uses a new root user"):
                self._provision()
        else:
            self._restart_server(identity)
        self._terminal.done("root", "the store runs with a new root user")

    def _restart_server(self, stamp: str) -> None:
        def waiting() -> list[str]:
            found = self._cluster.items("statefulsets.apps", PIPELINE)
            mine = [entry for entry in found if entry["metadata"]["name"] == self._store]
            return [self._store] if not mine else [s.name for s in map(workload_state, mine) if not s.settled]

        with self._terminal.working("Restarting the store with a new root user"):
            restart(self._cluster, PIPELINE, frozenset({MINIO_ROOT.name}), stamp)
            self._wait(waiting, "The store does not start again")

    def _remove_old(self) -> None:
        # The Job of SeaweedFS needs the old id to check that the user is gone. The Job of MinIO keeps a user whose id
        # is still there.
        self._drop(keep=(PREVIOUS_ID,) if self._store == "seaweedfs" else ())
        with self._terminal.working("Removing the old users"):
            self._provision()
        self._drop()
        self._cluster.delete(["configmaps"], namespace=PIPELINE, names=[MARKER])
        # This comes last: with the ConfigMap still there, an interrupted run would change root again without a restart
        # of MinIO.
        root = self._values(MINIO_ROOT.name)
        self._write(MINIO_ROOT.name, {key: root[key] for key in MINIO_ROOT.keys})
        self._terminal.done("removed", "the old ids and keys are no longer valid")

    def _drop(self, keep: tuple[str, ...] = ()) -> None:
        """Remove all values from the Secrets of users except their own keys and those to keep."""
        for spec in S3_USERS:
            values = self._values(spec.name)
            wanted = {key: value for key, value in values.items() if key in (*spec.keys, *keep)}
            if wanted != values:
                self._write(spec.name, wanted)

    def _provision(self) -> None:
        """Run a copy of the chart's Job, and wait for it."""
        job = self._cluster.find("jobs.batch", self._job, PIPELINE)
        if job is None:
            raise NotConvergedError(
                f"The Job {PIPELINE}/{self._job} no longer exists: run this again after the sync of {self._store}."
            )
        name = f"{self._store}-rotate-{secrets.token_hex(3)}"
        self._cluster.apply([_copy_of_job(job, name)])

        def unfinished() -> list[str]:
            status = (self._cluster.find("jobs.batch", name, PIPELINE) or {}).get("status") or {}
            for condition in status.get("conditions") or []:
                if (condition["type"], condition["status"]) == ("Failed", "True"):
                    raise NotConvergedError(
                        f"The Job {PIPELINE}/{name} failed: kubectl --namespace {PIPELINE} logs job/{name} says why. "
                        "Fix the cause and run this again: it continues from here."
                    )
            return [] if status.get("succeeded") else [name]

        self._wait(unfinished, "The Job does not end")
        self._cluster.delete(["jobs.batch"], namespace=PIPELINE, names=[name])

    def _wait(self, waiting: Callable[[], Sequence[str]], sentence: str) -> None:
        if left := left_after(waiting, seconds=self._deadline - time.monotonic(), pause=_PAUSE):
            raise NotConvergedError(
                f"{sentence} after {self._minutes:g} minutes: {', '.join(left)}. Run this again to continue from here."
            )

    def _values(self, name: str) -> dict[str, str]:
        return decoded(self._cluster.find("secrets", name, PIPELINE) or {})

    def _write(self, name: str, values: Mapping[str, str]) -> None:
        self._cluster.apply([secret_manifest(PIPELINE, name, values)])


def _old_pods(place: Place, since: str, store: str) -> Iterator[str]:
    for pod in place.cluster.items("pods", place.namespace):
        left_out = (pod.get("status") or {}).get("phase") in _ENDED
        # The store's own servers and Jobs have the keys of all users.
        left_out = left_out or (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == store
        if not left_out and pod["metadata"]["creationTimestamp"] <= since and reads(pod["spec"], place.names):
            yield pod["metadata"]["name"]


def _copy_of_job(job: Manifest, name: str) -> Manifest:
    """Return a copy of a Job, without the fields that Kubernetes added."""
    template, spec = job["spec"]["template"], job["spec"]
    labels = {key: value for key, value in template["metadata"].get("labels", {}).items() if key not in _JOB_OWN}
    kept = {key: spec[key] for key in ("backoffLimit", "activeDeadlineSeconds") if key in spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": PIPELINE, "labels": OWNED},
        "spec": {
            **kept,
            "ttlSecondsAfterFinished": 600,
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }
