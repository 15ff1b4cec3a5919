"""How the forge tells Argo CD of pushes: https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/."""

import json
import secrets

import httpx

from tests.e2e.argocd.gitea import Gitea
from tests.e2e.kube import Kube

PATH = "/api/webhook"
_TARGET = f"https://argocd-server.argocd{PATH}"
# Gitea signs as Gogs does, and Argo CD knows it by that name.
_KEY = "webhook.gogs.secret"


def connect(kube: Kube, forge: Gitea) -> None:
    """Give both the same new secret, and wait until Argo CD refuses whoever lacks it."""
    secret = secrets.token_hex(20)
    patch = json.dumps({"stringData": {_KEY: secret}})
    kube.run("patch", "secret", "argocd-secret", "-n", "argocd", "--type=merge", "-p", patch)
    kube.wait(
        "Argo CD asks for the secret", lambda: forged(kube) == httpx.codes.BAD_REQUEST, seconds=60, namespace="argocd"
    )
    forge.hook(_TARGET, secret)


def forged(kube: Kube) -> int:
    """The status that a push gets which somebody made up; 0 while nothing answers."""
    headers = {"X-Gogs-Event": "push", "X-Gogs-Signature": "0" * 64}
    with kube.forwarded("argocd", "service/argocd-server", 443, scheme="https") as base:
        try:
            # The certificate is of Argo CD's own making.
            answer = httpx.post(f"{base}{PATH}", json={"ref": "refs/heads/main"}, headers=headers, verify=False)  # noqa: S501
        except httpx.TransportError:
            return 0
    return answer.status_code
