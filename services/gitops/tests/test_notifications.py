"""Argo CD's notifications in bootstrap: values in their Secret, and subscriptions of projects for values that exist."""

from pathlib import Path

import pytest
import yaml

from gitops.cli import execute
from gitops.cluster.bootstrap import Bootstrap, Options
from gitops.cluster.notifications import SECRET, SERVICES, checked
from gitops.cluster.secrets import decoded, encoded
from gitops.errors import BadInputError
from gitops.fork.adopt import Places, adopt_fork
from gitops.git.repository import Repository
from gitops.platform.reader import load_platform
from gitops.rendering.manifests import Manifest
from gitops.terminal import Terminal
from services.gitops.tests.conftest import commit_all
from services.gitops.tests.memory_cluster import MemoryCluster

SUBSCRIBE = "notifications.argoproj.io/subscribe"
CONFIGURATION = Path(__file__).parents[3] / "argocd/patches/argocd-notifications-cm.yaml"
WEBHOOK, TOKEN = "https://chat.example.com/hooks/5ecret", "github_pat_5ecret"


def at_home(fork: Path, host: str) -> None:
    adopt_fork(Repository(fork), Places(repository=f"https://{host}/flora/petals.git", registry="ghcr.io/flora/petals"))
    commit_all(fork, "adopt")


@pytest.fixture
def adopted(fork: Path) -> Path:
    """A fork at GitHub."""
    at_home(fork, "github.com")
    return fork


def bootstrap(fork: Path, cluster: MemoryCluster, **notify: str) -> None:
    Bootstrap(Repository(fork), cluster, Terminal(), Options(minutes=1, notify=notify)).run()


def secret(cluster: MemoryCluster) -> dict[str, str]:
    found = cluster.find("secrets", SECRET, "argocd")
    assert found
    return decoded(found)


def subscriptions(cluster: MemoryCluster, project: str) -> set[str]:
    found = cluster.find("appprojects", project, "argocd")
    assert found
    annotations: Manifest = found["metadata"].get("annotations") or {}
    return {name.removeprefix(f"{SUBSCRIBE}.") for name in annotations if name.startswith(SUBSCRIBE)}


def test_without_options_nobody_is_notified(adopted: Path) -> None:
    cluster = MemoryCluster()
    bootstrap(adopted, cluster)
    assert secret(cluster) == {}
    assert not subscriptions(cluster, "serving") | subscriptions(cluster, "platform")


def test_a_deployment_of_serving_starts_the_promotion(adopted: Path) -> None:
    cluster = MemoryCluster()
    bootstrap(adopted, cluster, github=TOKEN)
    assert secret(cluster) == {"github-token": TOKEN}
    assert subscriptions(cluster, "serving") == {"on-deployed.github"}
    assert not subscriptions(cluster, "platform")


def test_people_are_notified_of_deployments_and_problems(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = MemoryCluster()
    bootstrap(adopted, cluster, people=WEBHOOK)
    assert secret(cluster) == {"webhook-url": WEBHOOK}
    wrong = {"on-sync-failed.people", "on-degraded.people"}
    assert subscriptions(cluster, "serving") == {"on-deployed.people", *wrong}
    assert subscriptions(cluster, "platform") == wrong
    assert "5ecret" not in "".join(capsys.readouterr())


def test_earlier_values_stay_and_can_be_replaced(adopted: Path) -> None:
    cluster = MemoryCluster()
    bootstrap(adopted, cluster, people=WEBHOOK)
    bootstrap(adopted, cluster, github=TOKEN)
    assert secret(cluster) == {"webhook-url": WEBHOOK, "github-token": TOKEN}
    assert {"on-deployed.people", "on-deployed.github"} <= subscriptions(cluster, "serving")
    bootstrap(adopted, cluster, github="another")
    assert secret(cluster) == {"webhook-url": WEBHOOK, "github-token": "another"}


def test_a_key_that_a_person_added_is_subscribed(adopted: Path) -> None:
    cluster = MemoryCluster()
    mine = {"name": SECRET, "namespace": "argocd"}
    cluster.put("secrets", {"metadata": mine, "data": encoded({"github-token": TOKEN, "of-others": "x"})})
    bootstrap(adopted, cluster)
    assert subscriptions(cluster, "serving") == {"on-deployed.github"}


def test_github_is_notified_only_about_its_own_repository(fork: Path) -> None:
    at_home(fork, "git.example.com")
    cluster = MemoryCluster()
    with pytest.raises(BadInputError, match=r"https://git\.example\.com/flora/petals\.git is not there"):
        bootstrap(fork, cluster, github=TOKEN)
    assert cluster.order == []


@pytest.mark.parametrize(("name", "value"), [("people", "chat.example.com/5ecret"), ("github", "5ecret\nX-Other: 1")])
def test_an_invalid_value_is_refused_without_showing_it(
    name: str, value: str, adopted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVICES[name].variable, value)
    assert execute(["bootstrap", "--notify", name]) == 2
    said = capsys.readouterr().err
    assert SERVICES[name].variable in said
    assert "5ecret" not in said


def with_a_chat(fork: Path) -> None:
    file = fork / "platform.yaml"
    owner = load_platform(fork).services[0].owner
    file.write_text(file.read_text() + f'chats: {{"{owner}": green-house}}\n')
    commit_all(fork, "an owner has a chat")


def test_the_address_of_an_owners_chat_is_needed_only_once(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_a_chat(adopted)
    cluster = MemoryCluster()
    with pytest.raises(BadInputError, match="GITOPS_NOTIFY_WEBHOOK_URL_GREEN_HOUSE, and add --notify green-house"):
        bootstrap(adopted, cluster)
    assert cluster.order == [], "nothing is begun that would send to no address"
    bootstrap(adopted, cluster, **{"green-house": WEBHOOK})
    bootstrap(adopted, cluster)
    assert secret(cluster) == {"webhook-url-green-house": WEBHOOK}
    # The Applications subscribe, because those of a project belong to several owners.
    assert not subscriptions(cluster, "serving") | subscriptions(cluster, "platform")
    assert "5ecret" not in "".join(capsys.readouterr())


def test_an_unknown_chat_is_refused_with_a_list_of_the_known(adopted: Path) -> None:
    with_a_chat(adopted)
    cluster = MemoryCluster()
    with pytest.raises(BadInputError, match=r"--notify greenhouse is unknown\. Known are people, github, green-house"):
        bootstrap(adopted, cluster, greenhouse=WEBHOOK)
    assert cluster.order == []


def test_the_address_of_a_chat_is_an_address(
    adopted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITOPS_NOTIFY_WEBHOOK_URL_GREEN_HOUSE", "chat.example.com/5ecret")
    assert execute(["bootstrap", "--notify", "green-house"]) == 2
    said = capsys.readouterr().err
    assert "GITOPS_NOTIFY_WEBHOOK_URL_GREEN_HOUSE is not an address" in said
    assert "5ecret" not in said


def test_a_line_break_at_the_end_of_a_token_is_removed() -> None:
    assert checked("github", f"{TOKEN}\n") == TOKEN


def test_services_keys_and_triggers_are_those_of_the_configuration() -> None:
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))["data"]
    assert {f"service.webhook.{name}" for name in SERVICES} == {name for name in configuration if "service." in name}
    for name, service in SERVICES.items():
        assert f"${service.key}" in configuration[f"service.webhook.{name}"]
        assert all(f"trigger.{trigger}" in configuration for found in service.triggers.values() for trigger in found)
