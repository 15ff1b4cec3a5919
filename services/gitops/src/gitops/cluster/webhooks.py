"""The secrets that forges sign their webhooks to Argo CD with: without one, Argo CD believes whoever calls.

The keys: https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/
"""

from collections.abc import Mapping, Sequence

from gitops.cluster.secrets import filled_in, random_secret
from gitops.platform.model import ForgeKind
from gitops.rendering.manifests import Manifest

SECRET = "argocd-secret"  # noqa: S105  its name, not its content
KEYS: Mapping[ForgeKind, str] = {
    "github": "webhook.github.secret",
    "gitlab": "webhook.gitlab.secret",
    # Gitea and Forgejo sign as Gogs does.
    "gitea": "webhook.gogs.secret",
}
# Argo CD takes webhooks of these too, whichever forge the fork is on.
_OTHERS = ("webhook.bitbucketserver.secret", "webhook.bitbucket.uuid", "webhook.azuredevops.password")


def guarded(objects: Sequence[Manifest], present: Mapping[str, str]) -> list[Manifest]:
    """Argo CD's installation, with a secret for the webhooks of every forge.

    Args:
        objects: The installation.
        present: What the Secret holds now, by key; it stays.
    """
    wanted = {key: present.get(key) or random_secret() for key in (*KEYS.values(), *_OTHERS)}
    return filled_in(objects, SECRET, wanted)
