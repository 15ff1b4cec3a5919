"""Protection against forged webhooks in bootstrap: Argo CD gets a secret for every forge."""

from pathlib import Path

from gitops.cluster.bootstrap import Bootstrap, Options
from gitops.cluster.secrets import decoded
from gitops.cluster.webhooks import SECRET
from gitops.git.repository import Repository
from gitops.platform.forges import FORGES
from gitops.terminal import Terminal
from services.gitops.tests.memory_cluster import MemoryCluster
from services.gitops.tests.test_notifications import at_home


def bootstrap(fork: Path, cluster: MemoryCluster) -> dict[str, str]:
    Bootstrap(Repository(fork), cluster, Terminal(), Options(minutes=1)).run()
    found = cluster.find("secrets", SECRET, "argocd")
    assert found
    return decoded(found)


def test_every_forge_gets_its_own_secret_which_is_kept(fork: Path) -> None:
    at_home(fork, "github.com")
    cluster = MemoryCluster()
    made = bootstrap(fork, cluster)
    # The settings that Argo CD reads: https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/
    assert set(made) == {
        "webhook.github.secret", "webhook.gitlab.secret", "webhook.gogs.secret",
        "webhook.bitbucketserver.secret", "webhook.bitbucket.uuid", "webhook.azuredevops.password",
    }  # fmt: skip
    assert {facts.webhook_key for facts in FORGES.values()} <= set(made)
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 32 for value in made.values())
    assert bootstrap(fork, cluster) == made
