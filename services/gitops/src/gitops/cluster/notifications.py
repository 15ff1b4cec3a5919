"""Argo CD's notifications: addresses for its Secret, and subscriptions for as long as the Secret has them.

Without its key a service would send all the same, be refused, and try again at each look at an application. So nothing
in git subscribes: bootstrap does, by annotations of the projects, and only to services whose key is there. Chats of
owners are the exception, for only an ApplicationSet can annotate its Applications: bootstrap refuses to start without
their addresses.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from gitops.cluster.secrets import filled_in, is_secret
from gitops.errors import BadInputError
from gitops.platform.model import Platform
from gitops.rendering.manifests import Manifest

SECRET = "argocd-notifications-secret"  # noqa: S105  its name, not its content
_ANNOTATION = "notifications.argoproj.io/subscribe"
_WRONG = ("on-sync-failed", "on-degraded")


class Service(Struct, frozen=True, kw_only=True):
    """One of the services in argocd/patches/argocd-notifications-cm.yaml.

    `key` is what it takes from the Secret, `variable` where bootstrap takes that from, `what` what people call it;
    `triggers` says which project's applications it tells of what.
    """

    key: str
    variable: str
    what: str
    triggers: Mapping[str, tuple[str, ...]]


SERVICES: Mapping[str, Service] = {
    "people": Service(
        key="webhook-url",
        variable="GITOPS_NOTIFY_WEBHOOK_URL",
        what="Address of the chat's incoming webhook",
        triggers={"serving": ("on-deployed", *_WRONG), "platform": _WRONG},
    ),
    "github": Service(
        key="github-token",
        variable="GITOPS_NOTIFY_GITHUB_TOKEN",
        what="GitHub token that may write this repository's contents",
        triggers={"serving": ("on-deployed",)},
    ),
}


def chat(name: str) -> Service:
    """The webhook of an owner's chat. apps/templates/_notifications.tpl decides which application tells it of what."""
    return Service(
        key=f"{SERVICES['people'].key}-{name}",
        variable=f"{SERVICES['people'].variable}_{name.upper().replace('-', '_')}",
        what=f"Address of the incoming webhook of the chat {name}",
        triggers={},
    )


def service(name: str) -> Service:
    """One of the services by its name, or else the chat of an owner that is called so."""
    return SERVICES.get(name) or chat(name)


def checked(name: str, value: str) -> str:
    """What was given for a service, fit for an address or a header.

    Raises:
        BadInputError: It is neither; the sentence does not show it.
    """
    variable, value = service(name).variable, value.strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise BadInputError(f"{variable} holds blanks or characters that cannot be part of an address or token.")
    if name != "github" and not value.startswith(("https://", "http://")):
        raise BadInputError(f"{variable} is not an address: it must begin with https://.")
    return value


def check_reach(names: Iterable[str], platform: Platform) -> None:
    """Refuse to tell GitHub of a repository that is elsewhere, and chats that no owner has.

    Raises:
        BadInputError: It is elsewhere, or there is no such chat.
    """
    names = frozenset(names)
    if unknown := sorted(names - {*SERVICES, *platform.chats.values()}):
        known = ", ".join([*SERVICES, *sorted(set(platform.chats.values()))])
        raise BadInputError(
            f"--notify {unknown[0]} is unknown. Known are {known}; to add an owner's chat, name it under `chats` in "
            "platform.yaml and commit that."
        )
    if "github" in names and platform.host.partition(":")[0] != "github.com":
        raise BadInputError(
            f"--notify github starts a workflow at github.com, but {platform.repository} is not there: leave it out."
        )


def wanted(present: Mapping[str, str], given: Mapping[str, str], chats: Iterable[str] = ()) -> dict[str, str]:
    """What the Secret is to hold, by key.

    Args:
        present: What it holds now. Keys that no service takes are not ours, and stay without being named.
        given: What is given now, by the services' names; it wins.
        chats: The chats of owners, whose Applications subscribe in git.

    Raises:
        BadInputError: A chat has no address.
    """
    chats = sorted(set(chats))
    found = {
        entry.key: value
        for name, entry in {**SERVICES, **{name: chat(name) for name in chats}}.items()
        if (value := given.get(name) or present.get(entry.key, ""))
    }
    for name in chats:
        if chat(name).key not in found:
            raise BadInputError(
                f"platform.yaml gives an owner the chat {name}, but the chat has no address, so Argo CD could not "
                f"send to it: put the address of its incoming webhook into {chat(name).variable}, and add "
                f"--notify {name}."
            )
    return found


def filled(objects: Sequence[Manifest], values: Mapping[str, str]) -> list[Manifest]:
    """Argo CD's installation, with values in the Secret that it brings along empty.

    Args:
        objects: The installation.
        values: What the Secret is to hold, by key.

    Raises:
        BadInputError: There are values, and the installation has no such Secret.
    """
    if not values:
        return list(objects)
    if not any(is_secret(entry, SECRET) for entry in objects):
        raise BadInputError(f"Argo CD's installation has no Secret {SECRET} for the values of --notify.")
    return filled_in(objects, SECRET, values)


def subscribed(projects: Iterable[Manifest], keys: Iterable[str]) -> list[Manifest]:
    """Projects, subscribed to every service whose key is among those of the Secret."""
    present = frozenset(keys)
    return [_annotated(project, _subscriptions(project["metadata"]["name"], present)) for project in projects]


def _subscriptions(project: str, keys: frozenset[str]) -> dict[str, str]:
    return {
        f"{_ANNOTATION}.{trigger}.{name}": ""
        for name, service in SERVICES.items()
        if service.key in keys
        for trigger in service.triggers.get(project, ())
    }


def _annotated(project: Manifest, annotations: Mapping[str, str]) -> Manifest:
    if not annotations:
        return project
    metadata = project["metadata"]
    return project | {"metadata": metadata | {"annotations": {**metadata.get("annotations", {}), **annotations}}}
