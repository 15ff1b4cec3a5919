"""Where this fork lives: its git repository and its registry. One small file says it; `gitops adopt` writes it."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct

from gitops.errors import BadInputError

FILE = Path("argocd/identity.yaml")
_SCP_FORM = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+):(?P<path>[^/\s][^\s]*)")
_HEADING = "# Where this repository and its images live. `gitops adopt` writes it, with every other mention."
_URL_FORM = re.compile(r"(https?|ssh)://[^\s/]+/[^\s]+")
# A registry host with a path below it, as an OCI reference has it; upper case is not allowed there.
_REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")


class Identity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Addresses of one fork.

    `repository` is what Argo CD and people clone; `registry` is the prefix of images, without a scheme, with the charts
    under `registry/charts`; `plain_http` says that the registry speaks no TLS; `adopted` is false in a fresh fork.
    """

    repository: str
    registry: str
    plain_http: bool = False
    adopted: bool = True

    def __post_init__(self) -> None:
        """Refuse addresses that nothing could be fetched from."""
        if not (_URL_FORM.fullmatch(self.repository) or _SCP_FORM.fullmatch(self.repository)):
            raise ValueError(
                f"repository: {self.repository!r} is no address to clone from, such as https://github.com/you/pipeline.git"
            )
        if urlsplit(self.repository).password:
            raise ValueError(
                "repository: a password does not belong in an address that is committed; give it to bootstrap"
            )
        # A fresh fork's placeholder is in upper case.
        if not _REGISTRY.fullmatch(self.registry if self.adopted else self.registry.lower()):
            raise ValueError(
                f"registry: {self.registry!r} is no registry with a path, in lower case and without a scheme, "
                "such as ghcr.io/you/pipeline"
            )

    @property
    def host(self) -> str:
        """The git server's host, with its port where it has one."""
        if match := _SCP_FORM.fullmatch(self.repository):
            return match["host"]
        return urlsplit(self.repository).netloc.rpartition("@")[2]

    @property
    def slug(self) -> str:
        """The repository's path at its server, such as `you/pipeline`; with the host where that is one word alone."""
        match = _SCP_FORM.fullmatch(self.repository)
        path = match["path"] if match else urlsplit(self.repository).path
        path = path.strip("/").removesuffix(".git")
        return path if "/" in path else f"{self.host}/{path}"

    @property
    def web(self) -> str:
        """Where a browser finds the repository."""
        if self.repository.startswith("http"):
            return self.repository.removesuffix(".git").rstrip("/")
        host = self.host.partition(":")[0]
        return f"https://{host}/{self.slug.removeprefix(self.host + '/')}"

    @property
    def ssh(self) -> str:
        """The address to push to over SSH, as forges write it."""
        host = self.host.partition(":")[0]
        return f"git@{host}:{self.slug.removeprefix(self.host + '/')}.git"

    @property
    def charts(self) -> str:
        """Where charts are published, as Argo CD's repoURL has it: without a scheme."""
        return f"{self.registry}/charts"

    def text(self) -> str:
        """The file's content."""
        fields = yaml.safe_dump(msgspec.to_builtins(self), sort_keys=False)
        return f"{_HEADING}\n{fields}"


def load_identity(root: Path) -> Identity:
    """Read the identity of the repository at `root`.

    Raises:
        BadInputError: The file is missing or not as it should be.
    """
    path = root / FILE
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Identity)
    except FileNotFoundError:
        raise BadInputError(f"{FILE} is missing: restore it with `git checkout HEAD -- {FILE}`.") from None
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadInputError(f"{FILE} cannot be used: {error}.") from None
