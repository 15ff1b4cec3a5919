"""Add and remove services and environments: each as an edit of files, for one commit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.fork import owners
from gitops.fork.hosts import claimed_twice, for_environment, for_service, hosts_of, values_of, with_hosts
from gitops.git.snapshot import Edit, Proposal, Snapshot, Verb
from gitops.pins.release import Change
from gitops.pins.wording import commit_message
from gitops.pins.yaml_edit import edited
from gitops.platform.entries import with_entry, without_entry
from gitops.platform.model import Environment, Platform, Service
from gitops.platform.reader import FILE, platform_at, read_platform
from gitops.platform.targets import ENVS, TUNING, Target, known_environment, known_service

_MODELS, _TRAINING = Path("models"), "training.yaml"
_HEADING = "# Tuning of this service here. What it runs is in release.yaml.\n"


def new_service(service: Service, environments: Sequence[str] = ()) -> Edit:
    """Return the edit that adds a service: its entry, a host name in each environment, and its owner.

    Args:
        service: The service.
        environments: Where it gets a host name; the default is everywhere.

    The edit raises:
        BadInputError: The name or the model is taken or invalid, or there is no such environment.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        before = platform_at(snapshot)
        if before.service(service.name):
            raise BadInputError(f"The service {service.name!r} already exists.")
        entry = _entry(name=service.name, model=service.model, owner=service.owner)
        files: dict[Path, str | None] = {FILE: with_entry(_text(snapshot, FILE), "services", entry)}
        after = read_platform(files[FILE] or "")
        moved = [Change(pin=f"service {service.name}", before=None, after=service.model)]
        for name in environments or [entry.name for entry in after.environments]:
            target = Target(environment=known_environment(after, name), service=service)
            text, hosts = _tuning(snapshot, before, target)
            if snapshot.read(target.folder / TUNING) is None:
                files[target.folder / TUNING] = text
                moved += [Change(pin=f"{target} host", before=None, after=host) for host in hosts]
        if service.owner and (held := snapshot.read(owners.FILE)) is not None:
            files[owners.FILE] = owners.with_service(
                held, service.name, service.owner, training_folders(snapshot, service)
            )
            moved.append(Change(pin=f"owner of {service.name}", before=None, after=service.owner))
        _refuse_clashes(after, snapshot, files)
        return [_proposal("new", "service", service.name, files, moved)]

    return edit


def new_environment(environment: Environment) -> Edit:
    """Return the edit that adds an environment, with the tuning of its source and its own host names.

    The edit raises:
        BadInputError: The name is taken or invalid, or the source does not exist.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        before = platform_at(snapshot)
        source = known_environment(before, environment.source)
        if before.environment(environment.name):
            raise BadInputError(f"The environment {environment.name!r} already exists.")
        text = with_entry(_text(snapshot, FILE), "environments", _fields(environment), after=source.name)
        after = read_platform(text)
        files: dict[Path, str | None] = {FILE: text}
        moved = [Change(pin=f"environment {environment.name}", before=None, after=f"from {source.name}")]
        tuning = ENVS / source.name / TUNING
        if (held := snapshot.read(tuning)) is not None and snapshot.read(_under(tuning, environment)) is None:
            files[_under(tuning, environment)] = with_hosts(
                held, lambda host: for_environment(host, source.name, environment.name), tuning
            )
        for service in before.services:
            path = ENVS / source.name / service.name / TUNING
            held = snapshot.read(path)
            if held is None or snapshot.read(_under(path, environment)) is not None:
                continue
            copied = with_hosts(held, lambda host: for_environment(host, source.name, environment.name), path)
            files[_under(path, environment)] = copied
        moved += _hosts(after, environment, snapshot, files)
        if (held := snapshot.read(owners.FILE)) is not None:
            everybody = owners.owners_of(held, "platform.yaml")
            files[owners.FILE] = owners.with_environment(held, environment.name, everybody)
        _refuse_clashes(after, snapshot, files)
        return [_proposal("new", "environment", environment.name, files, moved)]

    return edit


def remove_service(name: str) -> Edit:
    """Return the edit that removes a service from every environment; its model versions and its history stay.

    The edit raises:
        BadInputError: There is no such service.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        platform = platform_at(snapshot)
        service = known_service(platform, name)
        files: dict[Path, str | None] = {FILE: without_entry(_text(snapshot, FILE), "services", name)}
        for environment in platform.environments:
            folder = Target(environment=environment, service=service).folder
            files |= dict.fromkeys(snapshot.modes(folder))
        if (held := snapshot.read(owners.FILE)) is not None:
            files[owners.FILE] = owners.without(held, [owners.pattern_of_service(name)])
        return [_gone(snapshot, "service", name, files)]

    return edit


def remove_environment(name: str) -> Edit:
    """Return the edit that removes an environment, with the pins of every service there.

    The edit raises:
        BadInputError: There is no such environment, or another one has it as `from`.
    """

    def edit(snapshot: Snapshot) -> Sequence[Proposal]:
        known_environment(platform_at(snapshot), name)
        files: dict[Path, str | None] = {FILE: without_entry(_text(snapshot, FILE), "environments", name)}
        files |= dict.fromkeys(snapshot.modes(ENVS / name))
        if (held := snapshot.read(owners.FILE)) is not None:
            files[owners.FILE] = owners.without(held, [owners.pattern_of_environment(name)])
        return [_gone(snapshot, "environment", name, files)]

    return edit


def left_by_hand(snapshot: Snapshot, services: Sequence[Service]) -> list[str]:
    """Return what a removal deliberately leaves, and how to remove it if nobody needs it, in sentences.

    Args:
        snapshot: The files before the removal.
        services: Services that are removed everywhere; none if only an environment is removed.
    """
    served = {service.model: service.name for service in services}
    found = []
    for folder, model in _trained(snapshot).items():
        if model not in served:
            continue
        found.append(
            f"{folder} stays, so {model} is still trained: git rm -r {folder}, commit and push, unless another service "
            "will serve it."
        )
    found.append(
        "The store's user `serving` is shared by all services, so it and its keys (Secret s3-serving) stay valid: "
        "rotate the keys if somebody who had them must no longer read models."
    )
    return found


def training_folders(snapshot: Snapshot, service: Service) -> list[Path]:
    """Return the folders that train a service's model: those that register it, else the one to make.

    That is models/NAME, after the service. Nothing is returned if that one trains another model.
    """
    trained = _trained(snapshot)
    folder = _MODELS / service.name
    found = [each for each, model in trained.items() if model == service.model]
    return found or ([] if trained.get(folder) else [folder])


def _trained(snapshot: Snapshot) -> dict[Path, str]:
    """Return the registered model that each folder of models/ trains; empty if its file is invalid."""
    paths = [path for path in snapshot.modes(_MODELS) if path.name == _TRAINING and path.parent.parent == _MODELS]
    return {path.parent: _registered(_text(snapshot, path)) for path in paths}


def _registered(text: str) -> str:
    try:
        content = loaded(text)
    except YAMLError:
        return ""
    name = content.get("name") if isinstance(content, dict) else None
    return name if isinstance(name, str) else ""


def _gone(snapshot: Snapshot, kind: str, name: str, files: dict[Path, str | None]) -> Proposal:
    read_platform(files[FILE] or "")
    changed = {path: text for path, text in files.items() if text != snapshot.read(path)}
    moved = [Change(pin=f"{kind} {name}", before="there", after=None)]
    moved += [Change(pin=str(path), before="there", after=None) for path, text in changed.items() if text is None]
    return _proposal("remove", kind, name, changed, moved)


def _proposal(verb: Verb, kind: str, name: str, files: dict[Path, str | None], moved: Sequence[Change]) -> Proposal:
    message = commit_message(f"{verb}({kind}): {name}", moved)
    return Proposal(verb=verb, subject=f"{kind}/{name}", files=files, changes=moved, message=message)


def _tuning(snapshot: Snapshot, platform: Platform, target: Target) -> tuple[str, list[str]]:
    """Return the values file of a new service, with host names derived from a neighbour's."""
    for neighbour in platform.services:
        near = Target(environment=target.environment, service=neighbour)
        values = values_of(near, snapshot.read)
        names = (neighbour.name, neighbour.legacy_name)
        hosts = [for_service(host, names, target.service.name) for host in hosts_of(values)]
        if hosts:
            section = "ingress" if (values.get("ingress") or {}).get("hosts") else "httpRoute"
            field = "hosts" if "hosts" in values[section] else "hostnames"
            return _HEADING + edited("", {section: {field: hosts}}, TUNING), hosts
    return _HEADING, []


def _hosts(
    platform: Platform, environment: Environment, snapshot: Snapshot, files: dict[Path, str | None]
) -> list[Change]:
    found = []
    for service in platform.services:
        target = Target(environment=environment, service=service)
        values = values_of(target, lambda path: files.get(path, snapshot.read(path)))
        found += [Change(pin=f"{target} host", before=None, after=host) for host in hosts_of(values)]
    return found


def _refuse_clashes(platform: Platform, snapshot: Snapshot, files: dict[Path, str | None]) -> None:
    if clashes := list(claimed_twice(platform, lambda path: files.get(path, snapshot.read(path)))):
        raise BadInputError("\n".join(clashes))


def _under(path: Path, environment: Environment) -> Path:
    """Return the path of the same file in another environment."""
    return ENVS / environment.name / Path(*path.parts[2:])


def _fields(environment: Environment) -> dict[str, Any]:
    return _entry(
        name=environment.name,
        **{"from": environment.source},
        minAge="" if environment.min_age == "0s" else environment.min_age,
        cluster=environment.cluster,
        namespace=environment.namespace,
    )


def _entry(**fields: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _text(snapshot: Snapshot, path: Path) -> str:
    return snapshot.read(path) or ""
