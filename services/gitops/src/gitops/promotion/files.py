"""Which files of envs/ a pull request may change, and what values may contain in an environment with a `from`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from gitops.documents import YAMLError, loaded
from gitops.platform.model import Platform
from gitops.platform.targets import ENVS, PINS, PLATFORM, TUNING

# Modes of git: 120000 is a symbolic link.
_REGULAR = ("100644", "100755")
# The mode of a file that a commit removes.
GONE = "000000"
_README = "README.md"
# envs/ENV/SERVICE/FILE
_DEPTH = 4
# Sections of release.yaml, with the keys that people may set in values; all others are pins, which commands write.
_PINNED: Mapping[str, Sequence[str]] = {
    "release": (),
    "image": ("pullPolicy",),
    "model": (),
    "shadow": ("minRows", "maxDisagreement"),
}
# Settings that would select another model than the pins.
_VARIABLES = (
    *("MODEL_NAME", "MODEL_STAGE", "MODEL_VERSION", "MODEL_DIGEST", "MODEL_URI", "EXTRA_MODELS"),
    *("SHADOW_VERSION", "SHADOW_RELEASE", "SHADOW_DIGEST", "SHADOW_URI", "SHADOW_SAMPLE"),
)


class Scope(Struct, frozen=True, kw_only=True):
    """The names that are allowed in envs/: those of the base, and those that the pull request adds.

    `fed` are environments with a `from` at the base. The pull request removes the `left_environments` and
    `left_services`.
    """

    environments: frozenset[str]
    services: frozenset[str]
    base_environments: frozenset[str]
    base_services: frozenset[str]
    fed: frozenset[str]
    left_environments: frozenset[str]
    left_services: frozenset[str]

    @classmethod
    def of(cls, base: Platform, proposed: Platform | None) -> "Scope":
        """Return the scope of a pull request; if its platform.yaml is invalid, only that of the base."""
        environments = frozenset(entry.name for entry in base.environments)
        services = frozenset(entry.name for entry in base.services)
        new_environments = frozenset(entry.name for entry in proposed.environments) if proposed else environments
        new_services = frozenset(entry.name for entry in proposed.services) if proposed else services
        return cls(
            environments=environments | new_environments,
            services=services | new_services,
            base_environments=environments,
            base_services=services,
            fed=frozenset(entry.name for entry in base.environments if entry.source),
            left_environments=environments - new_environments,
            left_services=services - new_services,
        )

    def is_pins(self, path: Path) -> bool:
        """Whether a file contains the pins of a service."""
        return (
            len(path.parts) == _DEPTH and path.parts[0] == str(ENVS) and path.name == PINS and path.parts[1] != PLATFORM
        )

    def leaves(self, path: Path) -> bool:
        """Whether a service's file is removed with its service or environment."""
        return path.parts[1] in self.left_environments or path.parts[2] in self.left_services

    def tunes_fed(self, path: Path) -> bool:
        """Whether a file has values for services in an environment with a `from`."""
        parts = path.parts
        if parts[0] != str(ENVS) or path.name != TUNING or len(parts) > _DEPTH:
            return False
        return len(parts) == len((ENVS, TUNING)) or parts[1] in self.fed


def problems_of_files(files: Mapping[Path, str], scope: Scope) -> list[str]:
    """Return the problems with names and modes of the files that a pull request changes."""
    problems = []
    for path, mode in files.items():
        if path.parts[0] != str(ENVS) or mode == GONE:
            continue
        if mode not in _REGULAR:
            problems.append(
                f"{path} is not a regular file (a symbolic link?): the content behind it would not be reviewed."
            )
        elif stranger := _stranger(path, scope):
            problems.append(stranger)
    return problems


def problems_of_tuning(path: Path, text: str) -> list[str]:
    """Return the problems with values where pins are promoted: a pin, or a model that follows an alias."""
    try:
        values = loaded(text)
    except YAMLError as error:
        return [f"{path} is not valid YAML: {error}."]
    if values is None:
        return []
    if not isinstance(values, dict):
        return [f"{path} does not hold a mapping."]
    return [f"{path}: {problem}" for problem in _said(values)]


def _stranger(path: Path, scope: Scope) -> str:
    parts = path.parts[1:]
    if path.name == _README or parts[0] == PLATFORM or parts == (TUNING,):
        return ""
    if parts[0] not in scope.environments:
        return f"{path}: platform.yaml has no environment {parts[0]!r}."
    return "" if parts[1:] == (TUNING,) else _stranger_of_service(path, parts, scope)


def _stranger_of_service(path: Path, parts: Sequence[str], scope: Scope) -> str:
    if parts[2:] not in ((PINS,), (TUNING,)):
        return f"{ENVS / parts[0]} holds {TUNING}, and {PINS} and {TUNING} of each service: {path} is neither."
    if parts[1] not in scope.services:
        return f"{path}: platform.yaml has no service {parts[1]!r}."
    if path.name == PINS and (parts[0] not in scope.base_environments or parts[1] not in scope.base_services):
        return f"{path}: add {parts[0]}/{parts[1]} to platform.yaml first, and its pins in a later pull request."
    return ""


def _said(values: Mapping[str, Any]) -> Iterator[str]:
    for section, allowed in _PINNED.items():
        said = values.get(section)
        if section in values and not isinstance(said, dict):
            if said is not None:
                yield f"{section} is written by `gitops` into {PINS}: remove it from the values that people write."
            continue
        for key in said or {}:
            if key not in allowed:
                yield f"{section}.{key} is a pin or replaces one: pins belong only in {PINS}."
    yield from _extra_models(values.get("extraModels"))
    yield from _variables(values)


def _extra_models(entries: Any) -> Iterator[str]:
    if entries is None:
        return
    if not isinstance(entries, list):
        yield "extraModels is not a list."
        return
    for number, entry in enumerate(entries):
        pinned = isinstance(entry, dict) and entry.get("version") and entry.get("digest") and not entry.get("stage")
        if not pinned:
            name = entry.get("name") if isinstance(entry, dict) else entry
            yield f"extraModels[{number}] ({name}) follows an alias: pin it by version and digest, and leave stage out."


def _variables(values: Mapping[str, Any]) -> Iterator[str]:
    entries = values.get("extraEnv") or []
    if not isinstance(entries, list | dict):
        yield "extraEnv is not a list."
        return
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    for name in names:
        if isinstance(name, str) and name in _VARIABLES:
            yield f"extraEnv names {name}, which the pins decide."
