"""The commands that install the platform in a cluster, and remove it."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from gitops.cluster.argocd import GitAccess, Login
from gitops.cluster.bootstrap import Bootstrap, Options
from gitops.cluster.client import Cluster
from gitops.cluster.elsewhere import used
from gitops.cluster.external import external_secrets, remotes
from gitops.cluster.notifications import checked, service
from gitops.cluster.rotation import Rotation
from gitops.cluster.teardown import take_down
from gitops.commands.options import Flag, Json, Names, contexts_of
from gitops.errors import BadInputError
from gitops.git.repository import Repository
from gitops.platform.reader import load_platform
from gitops.rendering.manifests import stream
from gitops.terminal import Terminal

_REFUSED = 3


def bootstrap(  # noqa: PLR0913  each is an option of the command
    *,
    without: Names = (),
    minutes: Annotated[float, Parameter(validator=Number(gt=0))] = 20.0,
    git_user: str | None = None,
    git_ssh_key: Path | None = None,
    registry_user: str | None = None,
    notify: Names = (),
    secrets: Literal["random", "external"] = "random",
    secret_store: str = "ml-pipeline",  # noqa: S107  its name
    external_secrets_to: Path | None = None,
    context: str | None = None,
    context_of: Names = (),
    json: Json = False,
) -> int:
    """Install the platform: namespaces, Secrets, Argo CD, and everything in git. Safe to run again.

    Passwords come from GITOPS_GIT_PASSWORD and GITOPS_REGISTRY_PASSWORD, the secrets of notifications from
    GITOPS_NOTIFY_WEBHOOK_URL, GITOPS_NOTIFY_WEBHOOK_URL_CHAT and GITOPS_NOTIFY_GITHUB_TOKEN. Otherwise the command asks
    for them. Existing Secrets are kept.

    Args:
        without: An application of apps/values.yaml to leave out, such as monitoring, or training or extra; repeatable.
        minutes: Maximum time until everything is Synced and Healthy.
        git_user: User of a private git repository.
        git_ssh_key: Private key for an SSH address.
        registry_user: User of a private registry, for pods and for Argo CD.
        notify: Receiver of Argo CD's notifications; repeatable: people (a chat), github (starts the promotion), or the
            name of an owner's chat under `chats` in platform.yaml.
        secrets: Whether Secrets get random values, or come from your store through the External Secrets Operator.
        secret_store: The operator's ClusterSecretStore, with --secrets external.
        external_secrets_to: Write the ExternalSecrets to this file, list what the store must hold, and stop.
        context: Context of the kubeconfig. [default: the current one]
        context_of: CLUSTER=CONTEXT for a cluster of platform.yaml other than that of Argo CD: also create namespaces
            and Secrets there; repeatable.
        json: Print addresses and how to get passwords as JSON.
    """
    terminal = Terminal()
    if external_secrets_to:
        return _write_external(terminal, external_secrets_to, secret_store, named=secrets == "external")
    git = GitAccess(login=_login(terminal, "git", git_user), ssh_key=_key(git_ssh_key))
    options = Options(
        without=without,
        minutes=minutes,
        git=git,
        registry=_login(terminal, "registry", registry_user),
        notify={name: _address(terminal, name) for name in notify},
        contexts=contexts_of(context_of),
        secret_store=secret_store if secrets == "external" else "",
    )
    result = Bootstrap(Repository.find(), Cluster(context), terminal, options).run()
    if json:
        terminal.json(result)
        return 0
    # Lines instead of tables: a command that a table wraps cannot be copied.
    for address in result.addresses:
        terminal.line(f"{address.what}: {address.url}" + (f"   after: {address.command}" if address.command else ""))
    for password in result.passwords:
        terminal.line(f"Password of {password.user} for {password.what}: {password.command}")
    return 0


def rotate_keys(
    *,
    minutes: Annotated[float, Parameter(validator=Number(gt=0))] = 20.0,
    context: str | None = None,
    context_of: Names = (),
) -> int:
    """Give all users of the store new access key ids and secrets, without a failing prediction. Safe to run again.

    It adds new users, restarts the readers of the keys, and then deletes the old users. MinIO restarts once, with a new
    root user. SeaweedFS does not restart.

    Args:
        minutes: How long to wait for pods that use old keys, such as a running training.
        context: Context of the kubeconfig. [default: the current one]
        context_of: CLUSTER=CONTEXT for a cluster of platform.yaml other than that of Argo CD; repeatable.
    """
    terminal, platform = Terminal(), load_platform(Repository.find().root)
    contexts = contexts_of(context_of)
    Rotation(platform, Cluster(context), terminal, minutes=minutes, contexts=contexts).run()
    terminal.note("Places outside the cluster that have these keys, such as a workflow's secrets, need the new ones.")
    return 0


def teardown(*, delete_data: Flag = False, yes: Flag = False, context: str | None = None) -> int:
    """Remove the platform from the cluster. By default, volumes and Secrets stay for the next bootstrap.

    Args:
        delete_data: Delete volumes, Secrets and namespaces too.
        yes: Do not ask.
        context: Context of the kubeconfig. [default: the current one]
    """
    terminal, repository, cluster = Terminal(), Repository.find(), Cluster(context)
    name = cluster.context()
    if not yes:
        if not terminal.interactive:
            raise BadInputError("teardown asks before it deletes, but there is no terminal: add --yes.")
        also = ", the database, all models and all backups in it" if delete_data else "; data and Secrets stay"
        terminal.note(f"This deletes Argo CD and everything that it runs in {name}{also}.")
        if terminal.ask(f"Type {name} to continue:").strip() != name:
            terminal.line("Nothing was deleted.")
            return _REFUSED
    take_down(repository.root, cluster, terminal, delete_data=delete_data)
    return 0


def _write_external(terminal: Terminal, file: Path, store: str, *, named: bool) -> int:
    if not named:
        raise BadInputError("--external-secrets-to needs --secrets external: random values are not written to a file.")
    platform = load_platform(Repository.find().root)
    found = {name: external_secrets(platform, store, name) for name in ("", *used(platform))}
    texts = [f"# For the cluster {name or 'of Argo CD'}\n{stream(entries)}" for name, entries in found.items()]
    try:
        file.write_text("".join(texts), encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"--external-secrets-to: {file} cannot be written: {error.strerror}.") from None
    rows = [[entry, ", ".join(properties)] for entry, properties in remotes(platform).items()]
    count = sum(map(len, found.values()))
    terminal.rows(f"{count} ExternalSecrets are in {file}. {store} must hold:", ("entry", "properties"), rows)
    return 0


def _login(terminal: Terminal, what: str, user: str | None) -> Login | None:
    if user is None:
        return None
    variable = f"GITOPS_{what.upper()}_PASSWORD"
    password = _secret(terminal, variable, f"Password or token of {user} for the {what}")
    if not password:
        raise BadInputError(f"--{what}-user needs a password: put it into {variable}.")
    return Login(user=user, password=password)


def _address(terminal: Terminal, name: str) -> str:
    found = service(name)
    if not (value := _secret(terminal, found.variable, found.what)):
        raise BadInputError(f"--notify {name} needs its address or token: put it into {found.variable}.")
    return checked(name, value)


def _secret(terminal: Terminal, variable: str, what: str) -> str:
    """Return the value of an environment variable, or what a person types; empty if there is neither."""
    value = os.environ.get(variable, "")
    return value or (terminal.ask_secret(f"{what}:") if terminal.interactive else "")


def _key(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInputError(f"--git-ssh-key: {path} cannot be read.") from None
    if "PRIVATE KEY-----" not in text:
        raise BadInputError(f"--git-ssh-key: {path} is not a private key.")
    return text
