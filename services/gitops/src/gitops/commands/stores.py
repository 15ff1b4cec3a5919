"""The command that moves the pipeline to another store."""

from contextlib import ExitStack

from gitops.cluster.client import Cluster
from gitops.commands.landing import NO_LANDING, LandingOptions, land_and_show
from gitops.commands.options import Flag
from gitops.git.repository import Repository
from gitops.platform.model import PIPELINE, StoreKind
from gitops.platform.reader import platform_at
from gitops.terminal import Terminal

_PORT = 9000


def move_store(
    store: StoreKind, /, landing: LandingOptions = NO_LANDING, *, late: Flag = False, context: str | None = None
) -> int:
    """Copy all buckets to another store, compare every digest, and switch all parts to it with one commit.

    Both stores run, and predictions continue. If it is interrupted, run it again: it compares existing objects, and
    does not write them again. If all parts use the store already, it changes nothing. After the commit is synced,
    --late copies the objects that were written to the old store in the meantime.

    Args:
        store: The store to move to: nextStore of platform.yaml, or with --late, store.
        landing: What to do with the commit; --dry-run also writes nothing to the store.
        late: After the switch, copy from the old store (nextStore) to the new one; commits nothing.
        context: Context of the kubeconfig. [default: the current one]
    """
    # Only this command uses S3. Importing the client takes as long as importing all other commands together.
    from gitops.stores.copying import client  # noqa: PLC0415
    from gitops.stores.moving import copy_all, refuse_unlike, root_keys, route, switched  # noqa: PLC0415

    terminal, cluster = Terminal(), Cluster(context)
    start = landing.start(Repository.find())
    way = route(platform_at(start), store, late=late)
    if way is None:
        terminal.note(f"{store} is already the store in platform.yaml. Nothing was copied or committed.")
        return 0
    keys = root_keys(cluster)
    with ExitStack() as stack:
        source, target = (
            client(stack.enter_context(cluster.forwarded(PIPELINE, name, _PORT)), *keys)
            for name in (way.source, way.target)
        )
        terminal.note(f"From {way.source} to {way.target}.")
        passes = copy_all(source, target, way, dry_run=landing.dry_run, tell=terminal.note)
    if late:
        terminal.done("compared", f"{way.source} has nothing that {way.target} lacks")
        return 0
    if not landing.dry_run:
        refuse_unlike(passes)
        terminal.done("compared", f"every object of {way.source} has the same digest in {way.target}")
    fate = land_and_show(start, switched(way), landing, json=False)
    terminal.note(
        f"Once it is synced: gitops move-store {store} --late copies what was written to the old store in the meantime."
    )
    return fate.exit_code
