"""Host names in values: which targets use one, and which ones a new service or environment gets."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.pins.yaml_edit import edited
from gitops.platform.model import Platform
from gitops.platform.targets import TUNING, Target, targets

# Where charts of serving have host names.
_PLACES = (("ingress", "hosts"), ("httpRoute", "hostnames"), ("httpRoute", "hosts"))


def hosts_of(values: object) -> list[str]:
    """Return the host names in values; entries may be names or mappings with a `host`."""
    found: list[str] = []
    for section, field in _PLACES:
        entries = _at(values, section, field)
        for entry in entries if isinstance(entries, list) else []:
            host = entry.get("host") if isinstance(entry, dict) else entry
            if isinstance(host, str) and host:
                found.append(host)
    return found


def claimed_twice(platform: Platform, read: Callable[[Path], str | None]) -> Iterator[str]:
    """Report every host name that two services or environments of one cluster use.

    Args:
        platform: The services and environments.
        read: Returns the content of a file; None if it does not exist.
    """
    owners: dict[tuple[str, str], Target] = {}
    for target in targets(platform):
        for host in dict.fromkeys(hosts_of(values_of(target, read))):
            place = (target.environment.cluster, host.lower())
            other = owners.setdefault(place, target)
            if other is not target:
                yield (
                    f"{target.folder / TUNING}: {target} uses the host {host}, which {other} already has: give each "
                    "its own name."
                )


def values_of(target: Target, read: Callable[[Path], str | None]) -> Mapping[str, Any]:
    """Return a target's tuning as Helm merges it; invalid files count as empty."""
    merged: dict[str, Any] = {}
    for path in target.values_files[:-1]:
        try:
            content = loaded(read(path) or "")
        except YAMLError:
            continue
        if isinstance(content, dict):
            merged = _merged(merged, content)
    return merged


def for_service(host: str, neighbour: Sequence[str], name: str) -> str:
    """Return a neighbour's host name with the name of another service.

    Args:
        host: The neighbour's host name, such as `iris-staging.example.com`.
        neighbour: The names that the neighbour has or had, the most likely first.
        name: The new service.
    """
    for known in neighbour:
        if known and _word(known).search(host):
            return _word(known).sub(name, host, count=1)
    return f"{name}-{host}"


def for_environment(host: str, source: str, name: str) -> str:
    """Return a host name for another environment: for `qa`, `iris-staging.x` or `iris.x` become `iris-qa.x`."""
    if _word(source).search(host):
        return _word(source).sub(name, host, count=1)
    first, dot, rest = host.partition(".")
    return f"{first}-{name}{dot}{rest}"


def with_hosts(text: str, rename: Callable[[str], str], file: Path) -> str:
    """Return values with other host names; the rest does not change, including comments.

    Raises:
        BadInputError: The values cannot be edited.
    """
    try:
        values = loaded(text)
    except YAMLError as error:
        raise BadInputError(f"{file} is not valid YAML: {error}.") from None
    for section, field in _PLACES:
        entries = _at(values, section, field)
        if isinstance(entries, list) and entries:
            renamed = [_renamed(entry, rename) for entry in entries]
            text = edited(text, {section: {**values[section], field: renamed}}, str(file))
            values = loaded(text)
    return text


def _renamed(entry: object, rename: Callable[[str], str]) -> object:
    if isinstance(entry, dict) and isinstance(entry.get("host"), str):
        return {**entry, "host": rename(entry["host"])}
    return rename(entry) if isinstance(entry, str) else entry


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])")


def _at(values: object, *names: str) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for name in _both_mappings(below, above):
        both[name] = _merged(below[name], above[name])
    return both


def _both_mappings(below: Mapping[str, Any], above: Mapping[str, Any]) -> Iterable[str]:
    return [name for name in below if isinstance(below[name], dict) and isinstance(above.get(name), dict)]
