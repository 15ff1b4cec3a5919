"""Make a fork yours: platform.yaml says where it lives, and everything else derives from it."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gitops.errors import BadInputError
from gitops.files import write_whole
from gitops.fork import vendoring
from gitops.git.repository import Repository
from gitops.platform.forges import FORGES, ForgeKind
from gitops.platform.model import Forge, Platform, Registry
from gitops.platform.reader import FILE, decoded, edited_platform, load_platform
from gitops.platform.targets import listed


class Places(Struct, frozen=True, kw_only=True):
    """Where a fork lives from now on; None keeps what is.

    `forge_url` is where a browser finds the forge, and `forge_api` its API, where they are not the usual places.
    """

    repository: str | None = None
    registry: str | None = None
    plain_http: bool | None = None
    branch: str | None = None
    forge: ForgeKind | None = None
    forge_url: str | None = None
    forge_api: str | None = None


class Adoption(Struct, frozen=True, kw_only=True):
    """What adopting came to: the facts now, and the files that were written, none where all of it was so already."""

    now: Platform
    files: list[str]


def adopt_fork(repository: Repository, places: Places, manifest: Path | None = None) -> Adoption:
    """Write where a fork lives into platform.yaml; nothing is written unless all of it can be.

    Args:
        repository: The fork.
        places: Where it lives from now on.
        manifest: Argo CD's install manifest, to be kept in the repository for clusters without internet.

    Raises:
        BadInputError: An address, platform.yaml or the manifest cannot be used, the checkout is sparse, or a file
            cannot be written.
    """
    refuse_sparse(repository)
    before = load_platform(repository.root)
    text = (repository.root / FILE).read_text(encoding="utf-8")
    now = edited_platform(text, _wanted(before, places, vendored=manifest is not None))
    contents = {FILE: now} | (vendoring.vendored(repository.root, manifest) if manifest else {})
    changed = {path: content for path, content in contents.items() if _held(repository.root / path) != content}
    try:
        for path, content in changed.items():
            write_whole(repository.root / path, content)
    except OSError as error:
        raise BadInputError(f"{error.filename}: {error.strerror}; make it writable and run adopt again.") from None
    return Adoption(now=decoded(now), files=[str(path) for path in changed])


def refuse_sparse(repository: Repository) -> None:
    """Leave a checkout alone in which files are missing on purpose: what is written would not be all of it.

    Raises:
        BadInputError: Git leaves files of the repository out of the working tree.
    """
    left_out = [line[2:] for line in repository.git("ls-files", "-t", "-z").split("\0") if line.startswith("S ")]
    if left_out:
        some = listed([*left_out[:2], *(["others"] if len(left_out) > 2 else [])])
        raise BadInputError(
            f"This is a sparse checkout: {len(left_out)} files of the repository are not here ({some}). Check out all "
            "of it, then run this again: git sparse-checkout disable"
        )


def forge_of(repository: str) -> ForgeKind | None:
    """What hosts a repository, where its address tells."""
    there = Platform(repository=repository, registry=Registry(prefix=""), environments=[])
    return next((kind for kind, facts in FORGES.items() if there.host in facts.hosts), None)


def _wanted(before: Platform, places: Places, *, vendored: bool) -> dict[str, Any]:
    if not before.adopted and not (places.repository and places.registry):
        raise BadInputError("This fork is not adopted yet: give both --repo and --registry.")
    registry = Registry(
        prefix=(places.registry or before.registry.prefix).rstrip("/"),
        plain_http=before.registry.plain_http if places.plain_http is None else places.plain_http,
    )
    now = msgspec.structs.replace(before, repository=places.repository or before.repository, registry=registry)
    changes: dict[str, Any] = {"repository": now.repository, "registry": msgspec.to_builtins(registry)}
    if places.branch:
        changes["branch"] = places.branch
    kind = places.forge or (forge_of(places.repository) if places.repository else None)
    there = before.forge if isinstance(before.forge, Forge) else Forge(kind=before.forge)
    # Addresses of one kind are none of another.
    known = there if kind in (None, there.kind) else Forge(kind=kind)
    forge = Forge(
        kind=known.kind,
        url=known.url if places.forge_url is None else places.forge_url,
        api=known.api if places.forge_api is None else places.forge_api,
    )
    if forge != there:
        told = {name: value for name, value in msgspec.to_builtins(forge).items() if value}
        changes["forge"] = told if len(told) > 1 else forge.kind
    if vendored:
        changes["argocd"] = {"vendored": True}
    return changes


def _held(path: Path) -> str | None:
    return path.read_bytes().decode(errors="surrogateescape") if path.is_file() else None
