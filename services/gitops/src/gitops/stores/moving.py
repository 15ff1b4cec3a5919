"""Move the pipeline from one store to another while both run: copy all buckets, then change one line in git."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from gitops.cluster.client import Cluster
from gitops.cluster.secrets import MINIO_ROOT, decoded
from gitops.errors import BadInputError, NotConvergedError
from gitops.git.snapshot import Edit, Proposal, Snapshot
from gitops.pins.release import Change
from gitops.pins.wording import commit_message
from gitops.pins.yaml_edit import edited
from gitops.platform.model import PIPELINE, Platform, StoreKind
from gitops.platform.reader import FILE, platform_at
from gitops.stores.copying import Pass, copy_bucket

# With constant writes, no pass would be the last. A late copy brings what is written after these passes.
PASSES = 4


class Route(Struct, frozen=True, kw_only=True):
    """The store to copy from and the store to copy to; `late` says that the second one is in use already."""

    source: str
    target: str
    late: bool


def route(platform: Platform, store: StoreKind, *, late: bool) -> Route | None:
    """Return the route to a store; None if it is in use already, so that a repeated command does not move back.

    Args:
        platform: The platform, which names the stores that run.
        store: The store to move to; with `late`, the store that was moved to.
        late: Whether to copy after the switch.

    Raises:
        BadInputError: `nextStore` does not name the other store of the route, or a late copy comes before the switch.
    """
    if late:
        return _late_route(platform, store)
    if platform.store == store:
        return None
    if platform.next_store != store:
        raise BadInputError(
            f"platform.yaml does not run {store} yet: add `nextStore: {store}`, push it, and run this again when the "
            f"application {store} is healthy."
        )
    return Route(source=platform.store, target=store, late=False)


def _late_route(platform: Platform, store: StoreKind) -> Route:
    if platform.store != store:
        raise BadInputError(
            f"--late: the store is still {platform.store}: run `gitops move-store {store}` first, and --late once its "
            "commit is synced."
        )
    if not platform.next_store:
        raise BadInputError("--late: platform.yaml has no `nextStore`, so no old store runs to copy from.")
    return Route(source=platform.next_store, target=store, late=True)


def root_keys(cluster: Cluster) -> tuple[str, str]:
    """Return the id and secret of the root user, which is the same in both stores.

    Raises:
        BadInputError: The Secret is missing.
    """
    values = decoded(cluster.find("secrets", MINIO_ROOT.name, PIPELINE) or {})
    if missing := [key for key in MINIO_ROOT.keys if not values.get(key)]:
        raise BadInputError(f"The Secret {MINIO_ROOT.title} has no {missing[0]}: run gitops bootstrap first.")
    return values["root-user"], values["root-password"]


def copy_all(source: Any, target: Any, way: Route, *, dry_run: bool, tell: Callable[[str], None]) -> list[Pass]:
    """Copy every bucket until a pass finds nothing to copy; return the last pass over each.

    Args:
        source: The client of the store to copy from, as root.
        target: The client of the other store, as root.
        way: The route; only `late` and the name of the target are used.
        dry_run: Make one pass that writes nothing.
        tell: Receives a line for each object that is not the same, and for each pass.

    Raises:
        NotConvergedError: The other store lacks a bucket.
        OutageError: A store does not answer or refuses.
    """
    buckets = _buckets(source)
    if missing := sorted(set(buckets) - set(_buckets(target))):
        raise NotConvergedError(
            f"{way.target} has no bucket {missing[0]}: sync its application, whose Job makes buckets, and run this "
            "again."
        )
    passes: list[Pass] = []
    for number in range(1, 2 if dry_run else PASSES + 1):
        passes = [copy_bucket(source, target, bucket, late=way.late, dry_run=dry_run, tell=tell) for bucket in buckets]
        for bucket, done in zip(buckets, passes, strict=True):
            tell(f"pass {number}, bucket {bucket}: {said(done)}")
        if not any(done.copied for done in passes):
            break
    return passes


def said(done: Pass) -> str:
    """Return a pass in words."""
    parts = [f"{done.objects} objects, {done.size} bytes", f"{done.same} with the same digest", f"{done.copied} copied"]
    parts += [f"{count} {word}" for count, word in (
        (done.missing, "missing"), (done.differing, "different"), (done.newer, "newer in the store in use"),
    ) if count]  # fmt: skip
    return ", ".join(parts)


def switched(way: Route) -> Edit:
    """Return the edit that switches all parts to the other store; the old one keeps running."""

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        platform = platform_at(snapshot)
        if platform.store == way.target:
            return [Proposal(verb="move", subject="store", left_alone=f"{way.target} is already the store")]
        text = edited(snapshot.read(FILE) or "", {"store": way.target, "nextStore": way.source}, str(FILE))
        changes = [Change(pin="store", before=way.source, after=way.target)]
        message = commit_message(f"move(store): {way.target}", changes)
        return [Proposal(verb="move", subject="store", files={FILE: text}, changes=changes, message=message)]

    return edit


def refuse_unlike(passes: Sequence[Pass]) -> None:
    """Refuse to switch while the other store lacks an object.

    Raises:
        NotConvergedError: The last pass still copied objects, so these have not been compared again.
    """
    if copied := sum(done.copied for done in passes):
        raise NotConvergedError(
            f"After {PASSES} passes, objects are still being written: {copied} in the last one. Run it again when "
            "fewer trainings run."
        )


def _buckets(store: Any) -> list[str]:
    return sorted(entry["Name"] for entry in store.list_buckets()["Buckets"])
