"""Argo CD's notifications: values for its Secret, and subscriptions for the services that have a value there.

A service without its key would still send, be refused, and try again each time Argo CD looks at an application. So git
contains no subscriptions. Bootstrap subscribes, by annotations of the projects, and only to services whose key exists.
The chats of owners are the exception, because only an ApplicationSet can annotate its Applications: without their
addresses, bootstrap refuses to start.
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
    """A service of argocd/patches/argocd-notifications-cm.yaml.

    `key` is its key in the Secret, `variable` the environment variable that bootstrap reads, `what` a description for
    people. `triggers` lists by project which events of the project's applications it gets.
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
    """Return the webhook of an owner's chat; apps/templates/_notifications.tpl subscribes the applications."""
    return Service(
        key=f"{SERVICES['people'].key}-{name}",
        variable=f"{SERVICES['people'].variable}_{name.upper().replace('-', '_')}",
        what=f"Address of the incoming webhook of the chat {name}",
        triggers={},
    )


def service(name: str) -> Service:
    """Return the service of this name, otherwise the chat of an owner."""
    return SERVICES.get(name) or chat(name)


def checked(name: str, value: str) -> str:
    """Return the value given for a service, if it is valid in an address or a header.

    Raises:
        BadInputError: It is not; the message does not show it.
    """
    variable, value = service(name).variable, value.strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise BadInputError(f"{variable} holds blanks or characters that cannot be part of an address or token.")
    if name != "github" and not value.startswith(("https://", "http://")):
        raise BadInputError(f"{variable} is not an address: it must begin with https://.")
    return value


def check_reach(names: Iterable[str], platform: Platform) -> None:
    """Refuse GitHub notifications if the repository is elsewhere, and chats that no owner has.

    Raises:
        BadInputError: The repository is elsewhere, or there is no such chat.
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
    """Return the content that the Secret should have, by key.

    Args:
        present: Its current content. Keys of no service are not ours: the result leaves them out, and they stay.
        given: Values given now, by service name; they win.
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
    """Return Argo CD's installation with values in its Secret, which is empty in the installation.

    Args:
        objects: The installation.
        values: The content that the Secret should have, by key.

    Raises:
        BadInputError: There are values, and the installation has no such Secret.
    """
    if not values:
        return list(objects)
    if not any(is_secret(entry, SECRET) for entry in objects):
        raise BadInputError(f"Argo CD's installation has no Secret {SECRET} for the values of --notify.")
    return filled_in(objects, SECRET, values)


def subscribed(projects: Iterable[Manifest], keys: Iterable[str]) -> list[Manifest]:
    """Return the projects, subscribed to every service whose key is in the Secret."""
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
