"""Adopt a fork: write its addresses to platform.yaml, from which everything else derives."""

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
    """The addresses of a fork; None keeps the present value.

    `forge_url` is the forge's web address and `forge_api` its API, if they are not the usual ones.
    """

    repository: str | None = None
    registry: str | None = None
    plain_http: bool | None = None
    branch: str | None = None
    forge: ForgeKind | None = None
    forge_url: str | None = None
    forge_api: str | None = None


class Adoption(Struct, frozen=True, kw_only=True):
    """The result of adopting: the content of platform.yaml now, and the written files, none if nothing changed."""

    now: Platform
    files: list[str]


def adopt_fork(repository: Repository, places: Places, manifest: Path | None = None) -> Adoption:
    """Write the addresses of a fork to platform.yaml; write nothing unless everything is valid.

    Args:
        repository: The fork.
        places: Its new addresses.
        manifest: Argo CD's install manifest, to keep in the repository for clusters without internet.

    Raises:
        BadInputError: An address, platform.yaml or the manifest is invalid, the checkout is sparse, or a file cannot be
            written.
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
    """Refuse a sparse checkout: files that are missing on purpose would not be updated.

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
    """Return the kind of forge of a repository, if its address shows it."""
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
    # The addresses of one kind of forge are invalid for another.
    known = there if kind in (None, there.kind) else Forge(kind=kind)
    forge = Forge(
        kind=known.kind,
        url=known.url if places.forge_url is None else places.forge_url,
        api=known.api if places.forge_api is None else places.forge_api,
    )
    if forge != there:
        fields = {name: value for name, value in msgspec.to_builtins(forge).items() if value}
        changes["forge"] = fields if len(fields) > 1 else forge.kind
    if vendored:
        changes["argocd"] = {"vendored": True}
    return changes


def _held(path: Path) -> str | None:
    return path.read_bytes().decode(errors="surrogateescape") if path.is_file() else None
