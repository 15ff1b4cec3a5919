"""The environments of the repository: where their files stand and what they are called in the cluster."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from gitops.errors import BadInputError

ENVS = Path("envs")
PLATFORM = "platform"
ARGOCD = "argocd"
PIPELINE = "ml-pipeline"
MONITORING = "monitoring"
# The one that promotion ends at, so it is shown last.
_LAST = "production"


def environments(tree: Path) -> list[str]:
    """The environments that a tree has, `platform` aside, in the order of promotion."""
    return in_order(path.name for path in (tree / ENVS).glob("*/"))


def in_order(folders: Iterable[str]) -> list[str]:
    """The environments among the folders of envs/, in the order of promotion."""
    return sorted((name for name in folders if name != PLATFORM), key=lambda name: (name == _LAST, name))


def checked_environment(tree: Path, name: str) -> str:
    """Return the name of an environment.

    Raises:
        BadInputError: There is no such environment.
    """
    return one_of(environments(tree), name)


def one_of(known: Sequence[str], name: str) -> str:
    """Return the name of an environment that is among the known ones.

    Raises:
        BadInputError: It is not.
    """
    if name not in known:
        raise BadInputError(f"There is no environment {name!r}; there are: {', '.join(known) or 'none'}.")
    return name


def release_file(environment: str) -> Path:
    """Where an environment's pins stand."""
    return ENVS / environment / "release.yaml"


def application_of(environment: str) -> str:
    """The Argo CD application that serves an environment."""
    return f"serving-{environment}"


def namespace_of(environment: str) -> str:
    """The namespace of an environment."""
    return f"{PIPELINE}-{environment}"
