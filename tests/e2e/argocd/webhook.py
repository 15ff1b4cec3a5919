"""The webhook with which the forge reports pushes to Argo CD, set up as docs/forges.md says."""

import base64

import httpx

from tests.e2e.argocd.gitea import Gitea
from tests.e2e.kube import Kube

PATH = "/api/webhook"
_TARGET = f"https://argocd-server.argocd{PATH}"
_KEY = "webhook.gogs.secret"


def connect(kube: Kube, forge: Gitea) -> None:
    """Add the forge's webhook to Argo CD, with the secret that bootstrap made."""
    secret = kube.get("argocd", "secret", "argocd-secret")["data"][_KEY]
    forge.hook(_TARGET, base64.b64decode(secret).decode())


def forged(kube: Kube) -> int:
    """Return the status of the answer to a forged push."""
    headers = {"X-Gogs-Event": "push", "X-Gogs-Signature": "0" * 64}
    with kube.forwarded("argocd", "service/argocd-server", 443, scheme="https") as base:
        # Argo CD's certificate is self-signed.
        answer = httpx.post(f"{base}{PATH}", json={"ref": "refs/heads/main"}, headers=headers, verify=False)  # noqa: S501
    return answer.status_code
