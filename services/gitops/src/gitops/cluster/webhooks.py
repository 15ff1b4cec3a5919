"""The secrets that forges sign their webhooks to Argo CD with: without one, Argo CD trusts every caller."""

from collections.abc import Mapping, Sequence

from gitops.cluster.secrets import filled_in, random_secret
from gitops.platform.forges import FORGES
from gitops.rendering.manifests import Manifest

SECRET = "argocd-secret"  # noqa: S105  its name, not its content
# Argo CD takes webhooks of these too, whichever forge the fork is on.
_OTHERS = ("webhook.bitbucketserver.secret", "webhook.bitbucket.uuid", "webhook.azuredevops.password")


def guarded(objects: Sequence[Manifest], present: Mapping[str, str]) -> list[Manifest]:
    """Argo CD's installation, with a secret for the webhooks of every forge.

    Args:
        objects: The installation.
        present: What the Secret holds now, by key; it stays.
    """
    keys = (*(facts.webhook_key for facts in FORGES.values()), *_OTHERS)
    wanted = {key: present.get(key) or random_secret() for key in keys}
    return filled_in(objects, SECRET, wanted)
