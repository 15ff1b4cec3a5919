"""Secrets with which forges sign their webhooks to Argo CD; without one, Argo CD trusts every caller."""

from collections.abc import Mapping, Sequence

from gitops.cluster.secrets import filled_in, random_secret
from gitops.platform.forges import FORGES
from gitops.rendering.manifests import Manifest

SECRET = "argocd-secret"  # noqa: S105  its name, not its content
# Argo CD accepts webhooks of these too, whichever forge the fork uses.
_OTHERS = ("webhook.bitbucketserver.secret", "webhook.bitbucket.uuid", "webhook.azuredevops.password")


def guarded(objects: Sequence[Manifest], present: Mapping[str, str]) -> list[Manifest]:
    """Return Argo CD's installation with a secret for the webhooks of every forge.

    Args:
        objects: The installation.
        present: The current content of the Secret, by key; it is kept.
    """
    keys = (*(facts.webhook_key for facts in FORGES.values()), *_OTHERS)
    wanted = {key: present.get(key) or random_secret() for key in keys}
    return filled_in(objects, SECRET, wanted)
