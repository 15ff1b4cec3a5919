"""Targets: a target is a service in an environment, with its names in git and in the cluster."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.platform.model import Environment, Platform, Service

ENVS = Path("envs")
# The folder of the shared parts, which is no environment.
PLATFORM = "platform"
PINS = "release.yaml"
TUNING = "values.yaml"


class Target(Struct, frozen=True, kw_only=True):
    """A service in an environment."""

    environment: Environment
    service: Service

    def __str__(self) -> str:
        """Return the name for people: `ENV/SERVICE`."""
        return f"{self.environment.name}/{self.service.name}"

    @property
    def folder(self) -> Path:
        """Return the folder with its files."""
        return ENVS / self.environment.name / self.service.name

    @property
    def file(self) -> Path:
        """Return the path of its pins."""
        return self.folder / PINS

    @property
    def application(self) -> str:
        """Return the name of its Argo CD application."""
        return f"{self.service.name}-{self.environment.name}"

    @property
    def release_name(self) -> str:
        """Return its Helm release: part of the names and selectors of all its objects, which never change."""
        legacy = self.service.legacy_name
        return f"{legacy}-{self.environment.name}" if legacy else self.service.name

    @property
    def namespace(self) -> str:
        """Return the namespace of its objects."""
        return self.environment.where

    @property
    def values_files(self) -> list[Path]:
        """Return its Helm values files; later ones win, and only the last must exist."""
        return [ENVS / TUNING, ENVS / self.environment.name / TUNING, self.folder / TUNING, self.file]


def targets(platform: Platform) -> list[Target]:
    """Return every service in every environment, in the order of platform.yaml."""
    return [
        Target(environment=environment, service=service)
        for environment in platform.environments
        for service in platform.services
    ]


def chosen(platform: Platform, name: str) -> list[Target]:
    """Return the targets of a name: ENV/SERVICE is one, ENV is all in this environment.

    Raises:
        BadInputError: There is no such environment or service.
    """
    environment_name, slash, service_name = name.partition("/")
    environment = known_environment(platform, environment_name)
    services = [known_service(platform, service_name)] if slash else platform.services
    return [Target(environment=environment, service=service) for service in services]


def moved_by_machines(platform: Platform, model: str | None = None) -> list[Target]:
    """Return the targets in environments without `from`, which `bump` changes; with a model, those that serve it."""
    return [
        target
        for target in targets(platform)
        if not target.environment.source and model in (None, target.service.model)
    ]


def one(platform: Platform, name: str) -> Target:
    """Return the target of a name: ENV/SERVICE, or ENV if there is a single service.

    Raises:
        BadInputError: There is no such environment or service, or ENV means several targets.
    """
    found = chosen(platform, name)
    if len(found) != 1:
        some = f"{name}/{found[0].service.name}" if found else f"{name}/SERVICE"
        raise BadInputError(
            f"{name} has {len(found)} services: name one of them, such as {some}. {_there_are(platform)}"
        )
    return found[0]


def known_environment(platform: Platform, name: str) -> Environment:
    """Return the environment with this name.

    Raises:
        BadInputError: It does not exist.
    """
    environment = platform.environment(name)
    if environment is None:
        raise BadInputError(f"There is no environment {name!r}. {_there_are(platform)}")
    return environment


def known_service(platform: Platform, name: str) -> Service:
    """Return the service with this name.

    Raises:
        BadInputError: It does not exist.
    """
    service = platform.service(name)
    if service is None:
        raise BadInputError(f"There is no service {name!r}. {_there_are(platform)}")
    return service


def fed_by(platform: Platform, environment: Environment) -> list[Environment]:
    """Return the environments that have this one as `from`."""
    return [entry for entry in platform.environments if entry.source == environment.name]


def source_of(platform: Platform, target: Target) -> Target:
    """Return the same service in the environment whose pins are promoted to this one.

    Raises:
        BadInputError: The environment has no `from`.
    """
    if not target.environment.source:
        raise BadInputError(
            f"{target.environment.name} has no `from`, so `gitops bump {target}` changes its pins. To promote to it, "
            "give it a `from` in platform.yaml."
        )
    return Target(environment=known_environment(platform, target.environment.source), service=target.service)


def listed(names: Sequence[str]) -> str:
    """Return names as part of a sentence: `a, b and c`."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _there_are(platform: Platform) -> str:
    environments = listed([entry.name for entry in platform.environments])
    services = listed([entry.name for entry in platform.services])
    return f"platform.yaml has the environments {environments}, and the services {services}."
