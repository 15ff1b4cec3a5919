"""Make a fork yours: every mention of where it lived before, in the files that git tracks, becomes the new address."""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.files import write_whole
from gitops.fork import vendoring
from gitops.git.repository import Repository
from gitops.platform.identity import FILE, Identity, load_identity


class Rewritten(Struct, frozen=True, kw_only=True):
    """A file that adopting changed, and how many mentions in it."""

    file: str
    mentions: int


class Adoption(Struct, frozen=True, kw_only=True):
    """What adopting came to. `vendored` is the manifest that was put into the repository, if any."""

    before: Identity
    now: Identity
    rewritten: list[Rewritten]
    vendored: str | None = None


class Places(Struct, frozen=True, kw_only=True):
    """Where a fork lives from now on; None keeps what is."""

    repository: str | None = None
    registry: str | None = None
    plain_http: bool | None = None


def adopt(repository: Repository, places: Places, manifest: Path | None = None) -> Adoption:
    """Rewrite every mention of the current identity in tracked files; nothing is written unless all of it can be.

    Args:
        repository: The fork.
        places: Where it lives from now on.
        manifest: Argo CD's install manifest, to be kept in the repository for clusters without internet.

    Raises:
        BadInputError: An address, the identity file or the manifest cannot be used, or a file cannot be written.
    """
    before = load_identity(repository.root)
    wanted = _wanted(before, places)
    rewrite = Rewriter(before, wanted)
    contents: dict[Path, str] = {}
    rewritten: list[Rewritten] = []
    for path in repository.tracked():
        text = _text(repository.root / path)
        if text is None:
            continue
        content, mentions = (wanted.text(), int(text != wanted.text())) if path == FILE else rewrite(text)
        if content != text:
            contents[path] = content
            rewritten.append(Rewritten(file=str(path), mentions=mentions))
    if manifest:
        contents |= vendoring.vendored(repository.root, manifest)
    try:
        for path, content in contents.items():
            write_whole(repository.root / path, content)
    except OSError as error:
        raise BadInputError(f"{error.filename}: {error.strerror}; make it writable and adopt again.") from None
    return Adoption(
        before=before, now=wanted, rewritten=rewritten, vendored=str(vendoring.VENDORED) if manifest else None
    )


class Rewriter:
    """Turns the addresses of one identity into those of another, in one pass over a text."""

    def __init__(self, before: Identity, now: Identity) -> None:
        """Take the identity that texts mention and the one that they are to mention."""
        self._addresses = _addresses(before, now)
        # The longest first: a web address is the beginning of the address to clone from.
        known = sorted(self._addresses, key=len, reverse=True)
        # A mention ends where the name ends: `you/pipeline.git` holds one, `you/pipeline-2` does not.
        self._pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, known))})(?![\w-])(?!\.(?!git\b)\w)")

    def __call__(self, text: str) -> tuple[str, int]:
        """Return the rewritten text and how many mentions it had."""
        return self._pattern.subn(lambda match: self._addresses[match[0]], text)


def _wanted(before: Identity, places: Places) -> Identity:
    if not before.adopted and not (places.repository and places.registry):
        raise BadInputError("This fork is not adopted yet: name its place with both --repo and --registry.")
    try:
        return Identity(
            repository=places.repository or before.repository,
            registry=places.registry or before.registry,
            plain_http=before.plain_http if places.plain_http is None else places.plain_http,
        )
    except ValueError as error:
        raise BadInputError(f"{error}.") from None


def _addresses(before: Identity, now: Identity) -> Mapping[str, str]:
    addresses: dict[str, str] = {}
    for old, new in (
        (before.repository, now.repository),
        (before.ssh, now.ssh),
        (before.web, now.web),
        (before.registry, now.registry),
        (before.slug, now.slug),
    ):
        addresses.setdefault(old, new)
    return addresses


def _text(path: Path) -> str | None:
    """A file's content; None for what is no text and so holds no mention."""
    if path.is_symlink():
        return None
    content = path.read_bytes()
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
