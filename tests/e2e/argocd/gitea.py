"""The forge of the tests: a real Gitea in the cluster, which Argo CD reads and this machine pushes to."""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from tests.e2e.kube import CommandError, Kube, Manifest

if TYPE_CHECKING:
    from tests.e2e.argocd.fork import Fork

IMAGE = os.environ.get("GITEA_IMAGE", "docker.gitea.com/gitea:1.26.0-rootless")
HOST, PORT, SSH_PORT = "forge", 3000, 2222
OWNER, REPOSITORY = "acme", "pipeline"
SLUG = f"{OWNER}/{REPOSITORY}"
ROBOT = "robot"
"""The user whose token the commands have. It administers the repository and pushes."""
REVIEWER = "ada"
"""A person who may write, and who approves proposals of others."""
_ADMIN = "root-of-the-forge"
_PASSWORD = "of-the-tests-only-1"
_DATA, _CONFIG = "/var/lib/gitea", "/etc/gitea"
_SECONDS = 20.0


def root(namespace: str) -> str:
    """Return the address of the forge inside the cluster."""
    return f"http://{HOST}.{namespace}:{PORT}"


def address(namespace: str) -> str:
    """Return the repository's address inside the cluster."""
    return f"{root(namespace)}/{SLUG}.git"


def ssh_address(namespace: str) -> str:
    """Return the repository's SSH address, for a deploy key."""
    return f"ssh://git@{HOST}.{namespace}:{SSH_PORT}/{SLUG}.git"


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request as the forge itself shows it."""

    number: int
    branch: str
    title: str
    body: str
    state: str
    """open, closed or merged."""
    head: str


class Gitea(msgspec.Struct, frozen=True):
    """The running forge with one repository, used as its administrator or as one of its users."""

    base: str
    """The address that this machine can reach."""
    token: str
    """The robot's."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Return the variables with which the project's commands use the forge from this machine."""
        return {"GITEA_TOKEN": self.token, "GITEA_API_URL": f"{self.base}/api/v1"}

    @property
    def pushed_through(self) -> str:
        """Return the address to which this machine pushes as the robot."""
        return self._as(ROBOT, self.token)

    def try_push(self, fork: "Fork", path: str, *, as_reviewer: bool = False) -> str:
        """Return the result of a push to the branch that changes one file, by the robot or by the reviewer."""
        address = self._as(REVIEWER, _PASSWORD) if as_reviewer else self.pushed_through
        tree = fork.folder.parent / "pushed"
        fork.git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            (tree / path).write_text("# changed\n")
            fork.git("-C", str(tree), "commit", "--quiet", "--all", "--message", "Past everybody")
            fork.git("-C", str(tree), "push", "--quiet", address, "HEAD:refs/heads/main")
        except CommandError as error:
            if "protected" not in str(error).lower():
                raise
            return "refused"
        finally:
            fork.git("worktree", "remove", "--force", str(tree))
        return "pushed"

    def _as(self, name: str, secret: str) -> str:
        scheme, _, place = self.base.partition("://")
        return f"{scheme}://{name}:{secret}@{place}/{SLUG}.git"

    def call(self, method: str, path: str, content: object = None, *, login: str = _ADMIN) -> Any:
        """Call the API.

        Raises:
            AssertionError: The call failed. The message is the answer.
        """
        answer = self.ask(method, path, content, login=login)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, content: object = None, *, login: str = _ADMIN) -> httpx.Response:
        """Call the API as a user, and return any answer."""
        return httpx.request(
            method, f"{self.base}/api/v1{path}", json=content, auth=(login, _PASSWORD), timeout=30, trust_env=False
        )

    # --- the repository ---

    def pulls(self) -> list[Pull]:
        """Return every pull request, the oldest first. If a branch is gone, only the label still has its name."""
        answer = self.call("GET", f"/repos/{SLUG}/pulls?state=all&sort=oldest&limit=50")
        return [
            Pull(
                number=pull["number"], branch=pull["head"]["label"], title=pull["title"], body=pull["body"],
                state="merged" if pull["merged"] else pull["state"], head=pull["head"]["sha"],
            )
            for pull in answer
        ]  # fmt: skip

    def pull(self, branch: str) -> Pull:
        """Return the newest pull request from a branch."""
        return [pull for pull in self.pulls() if pull.branch == branch][-1]

    def comments(self, pull: Pull) -> list[str]:
        """Return the comments on a pull request."""
        return [entry["body"] for entry in self.call("GET", f"/repos/{SLUG}/issues/{pull.number}/comments")]

    def approve(self, pull: Pull) -> None:
        """Approve the newest state of a pull request, as the reviewer."""
        content = {"event": "APPROVED", "body": "Seen."}
        self.call("POST", f"/repos/{SLUG}/pulls/{pull.number}/reviews", content, login=REVIEWER)

    def report(self, pull: Pull, check: str, *, passed: bool) -> None:
        """Report the result of a check for a pull request's newest commit, as a runner does."""
        content = {"context": check, "state": "success" if passed else "failure"}
        self.call("POST", f"/repos/{SLUG}/statuses/{pull.head}", content)

    def try_merge(self, pull: Pull) -> str:
        """Merge as the reviewer with the merge button. Return the forge's objection, or an empty string.

        Gitea checks for conflicts in the background, and answers that one has to wait until then.
        """
        until = time.monotonic() + _SECONDS
        while True:
            answer = self.ask("POST", f"/repos/{SLUG}/pulls/{pull.number}/merge", {"Do": "squash"}, login=REVIEWER)
            if answer.is_success:
                return ""
            if "try again later" not in answer.text.lower() or time.monotonic() > until:
                return answer.text
            time.sleep(0.3)

    def merge(self, pull: Pull) -> None:
        """Merge a pull request.

        Raises:
            AssertionError: The forge refuses.
        """
        said = self.try_merge(pull)
        assert not said, f"{pull.branch} is not merged: {said}"

    def hook(self, target: str, secret: str) -> None:
        """Add a webhook for every push."""
        config = {"url": target, "content_type": "json", "secret": secret}
        self.call(
            "POST", f"/repos/{SLUG}/hooks", {"type": "gitea", "config": config, "events": ["push"], "active": True}
        )

    def add_deploy_key(self, public: str) -> None:
        """Let a key push over SSH."""
        self.call("POST", f"/repos/{SLUG}/keys", {"title": "training", "key": public, "read_only": False})

    def unprotect(self, branch: str) -> None:
        """Remove the protection of a branch."""
        self.call("DELETE", f"/repos/{SLUG}/branch_protections/{branch}")


def start(kube: Kube, namespace: str) -> None:
    """Run the forge, and wait until it answers. Its data lives as long as the pod."""
    labels = {"app.kubernetes.io/name": HOST}
    kube.apply([_pod(namespace, labels), _service(namespace, labels)])
    kube.run("wait", "-n", namespace, f"pod/{HOST}", "--for=condition=Ready", "--timeout=180s", seconds=190)


def prepare(kube: Kube, namespace: str, base: str) -> Gitea:
    """Make the repository, the robot and the reviewer, and return the forge as the robot uses it."""
    for name, more in ((_ADMIN, ["--admin"]), (OWNER, []), (ROBOT, []), (REVIEWER, [])):
        _in_pod(kube, namespace, "gitea", "admin", "user", "create", "--config", f"{_CONFIG}/app.ini",
                "--username", name, "--password", _PASSWORD, "--email", f"{name}@example.com",
                "--must-change-password=false", *more)  # fmt: skip
    forge = Gitea(base, "")
    forge.call("POST", f"/admin/users/{OWNER}/repos", {"name": REPOSITORY, "default_branch": "main", "private": False})
    for name, rights in ((ROBOT, "admin"), (REVIEWER, "write")):
        forge.call("PUT", f"/repos/{SLUG}/collaborators/{name}", {"permission": rights})
    scopes = ["write:repository", "write:issue", "read:user"]
    made = forge.call("POST", f"/users/{ROBOT}/tokens", {"name": "commands", "scopes": scopes}, login=ROBOT)
    return Gitea(base, made["sha1"])


def host_key(kube: Kube, namespace: str) -> str:
    """Return the line of known_hosts for the forge's SSH server."""
    found = _in_pod(kube, namespace, "sh", "-c", f"cat {_DATA}/data/ssh/*.pub {_DATA}/ssh/*.pub 2>/dev/null || true")
    kind, key = found.split()[:2]
    return f"[{HOST}.{namespace}]:{SSH_PORT} {kind} {key}"


def _in_pod(kube: Kube, namespace: str, *command: str) -> str:
    return kube.run("exec", "-n", namespace, HOST, "--", *command, seconds=60)


def _settings(namespace: str) -> dict[str, str]:
    return {
        "server__ROOT_URL": f"{root(namespace)}/",
        "server__DISABLE_SSH": "false",
        "server__START_SSH_SERVER": "true",
        "server__SSH_DOMAIN": f"{HOST}.{namespace}",
        "server__SSH_PORT": str(SSH_PORT),
        "server__SSH_LISTEN_PORT": str(SSH_PORT),
        "server__BUILTIN_SSH_SERVER_USER": "git",
        "database__DB_TYPE": "sqlite3",
        "security__INSTALL_LOCK": "true",
        "service__DISABLE_REGISTRATION": "true",
        # Argo CD has a Service's address and a self-signed certificate.
        "webhook__ALLOWED_HOST_LIST": "private",
        "webhook__SKIP_TLS_VERIFY": "true",
        "queue__TYPE": "channel",
        "actions__ENABLED": "false",
        "log__LEVEL": "Warn",
    }


def _pod(namespace: str, labels: dict[str, str]) -> Manifest:
    volumes = {"data": _DATA, "config": _CONFIG, "tmp": "/tmp"}  # noqa: S108  in the pod
    container = {
        "name": "gitea",
        "image": IMAGE,
        "env": [{"name": f"GITEA__{name}", "value": value} for name, value in _settings(namespace).items()],
        "ports": [{"name": "http", "containerPort": PORT}, {"name": "ssh", "containerPort": SSH_PORT}],
        "readinessProbe": {"httpGet": {"path": "/api/healthz", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in volumes.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": HOST, "namespace": namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": name, "emptyDir": {}} for name in volumes],
        },
    }


def _service(namespace: str, labels: dict[str, str]) -> Manifest:
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in (("http", PORT), ("ssh", SSH_PORT))]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": HOST, "namespace": namespace},
        "spec": {"selector": labels, "ports": ports},
    }
