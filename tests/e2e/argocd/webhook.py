"""How the forge tells Argo CD of pushes, set up as docs/delivery.md says."""

import base64

import httpx

from tests.e2e.argocd.gitea import Gitea
from tests.e2e.kube import Kube

PATH = "/api/webhook"
_TARGET = f"https://argocd-server.argocd{PATH}"
_KEY = "webhook.gogs.secret"


def connect(kube: Kube, forge: Gitea) -> None:
    """Let the forge tell Argo CD of pushes, with the secret that bootstrap made."""
    secret = kube.get("argocd", "secret", "argocd-secret")["data"][_KEY]
    forge.hook(_TARGET, base64.b64decode(secret).decode())


def forged(kube: Kube) -> int:
    """The status that a push gets which somebody made up."""
    headers = {"X-Gogs-Event": "push", "X-Gogs-Signature": "0" * 64}
    with kube.forwarded("argocd", "service/argocd-server", 443, scheme="https") as base:
        # The certificate is of Argo CD's own making.
        answer = httpx.post(f"{base}{PATH}", json={"ref": "refs/heads/main"}, headers=headers, verify=False)  # noqa: S501
    return answer.status_code
