"""A target is one service in one environment: its names in git and in the cluster, and how people name it."""

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
    """One service in one environment."""

    environment: Environment
    service: Service

    def __str__(self) -> str:
        """As people name it: `ENV/SERVICE`."""
        return f"{self.environment.name}/{self.service.name}"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return ENVS / self.environment.name / self.service.name

    @property
    def file(self) -> Path:
        """Where its pins are."""
        return self.folder / PINS

    @property
    def application(self) -> str:
        """The Argo CD application that runs it."""
        return f"{self.service.name}-{self.environment.name}"

    @property
    def release_name(self) -> str:
        """Its Helm release: part of the names of all objects and of selectors, which never change."""
        legacy = self.service.legacy_name
        return f"{legacy}-{self.environment.name}" if legacy else self.service.name

    @property
    def namespace(self) -> str:
        """Where its objects are."""
        return self.environment.where

    @property
    def values_files(self) -> list[Path]:
        """Its Helm values files, the later ones winning; all but the last may be absent."""
        return [ENVS / TUNING, ENVS / self.environment.name / TUNING, self.folder / TUNING, self.file]


def targets(platform: Platform) -> list[Target]:
    """Every service in every environment, in the order of platform.yaml."""
    return [
        Target(environment=environment, service=service)
        for environment in platform.environments
        for service in platform.services
    ]


def chosen(platform: Platform, name: str) -> list[Target]:
    """The targets that a person means: one by ENV/SERVICE, all of an environment by ENV.

    Raises:
        BadInputError: There is no such environment or service.
    """
    environment_name, slash, service_name = name.partition("/")
    environment = known_environment(platform, environment_name)
    services = [known_service(platform, service_name)] if slash else platform.services
    return [Target(environment=environment, service=service) for service in services]


def moved_by_machines(platform: Platform, model: str | None = None) -> list[Target]:
    """The targets that `bump` moves, as nothing feeds them: all, or those that serve a registered model."""
    return [
        target
        for target in targets(platform)
        if not target.environment.source and model in (None, target.service.model)
    ]


def one(platform: Platform, name: str) -> Target:
    """The one target that a person means: ENV/SERVICE, or ENV alone while there is a single service.

    Raises:
        BadInputError: There is no such environment or service, or ENV alone means several.
    """
    found = chosen(platform, name)
    if len(found) != 1:
        some = f"{name}/{found[0].service.name}" if found else f"{name}/SERVICE"
        raise BadInputError(
            f"{name} has {len(found)} services: name one of them, such as {some}. {_there_are(platform)}"
        )
    return found[0]


def known_environment(platform: Platform, name: str) -> Environment:
    """The environment of a name.

    Raises:
        BadInputError: There is none.
    """
    environment = platform.environment(name)
    if environment is None:
        raise BadInputError(f"There is no environment {name!r}. {_there_are(platform)}")
    return environment


def known_service(platform: Platform, name: str) -> Service:
    """The service of a name.

    Raises:
        BadInputError: There is none.
    """
    service = platform.service(name)
    if service is None:
        raise BadInputError(f"There is no service {name!r}. {_there_are(platform)}")
    return service


def fed_by(platform: Platform, environment: Environment) -> list[Environment]:
    """The environments that an environment feeds."""
    return [entry for entry in platform.environments if entry.source == environment.name]


def source_of(platform: Platform, target: Target) -> Target:
    """The same service in the environment that feeds this one.

    Raises:
        BadInputError: Nothing feeds it.
    """
    if not target.environment.source:
        raise BadInputError(
            f"Nothing feeds {target.environment.name}: its pins are moved by `gitops bump {target}`. "
            f"To promote to it, give it a `from` in platform.yaml."
        )
    return Target(environment=known_environment(platform, target.environment.source), service=target.service)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    if len(names) < 2:
        return "".join(names) or "none"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _there_are(platform: Platform) -> str:
    environments = listed([entry.name for entry in platform.environments])
    services = listed([entry.name for entry in platform.services])
    return f"platform.yaml has the environments {environments}, and the services {services}."
