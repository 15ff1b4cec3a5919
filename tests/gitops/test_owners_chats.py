"""Which owners are notified about which services: `chats` of platform.yaml, in Argo CD's notification settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.errors import BadInputError
from gitops.platform.reader import read_platform
from tests.gitops import definitions, installation
from tests.gitops.repository import WIDE
from tests.gitops.test_settings import PATCHES
from tests.gitops.test_sign_in import OIDC, patches, rendered
from tests.support.manifests import Manifest

SUBSCRIBE = "notifications.argoproj.io/subscribe."
CHATS = 'chats: {"@flora/iris": greenhouse, "@flora/wine": cellar}\n'
Objects = dict[tuple[str, str], Manifest]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return rendered(tmp_path, WIDE + CHATS)


def subscriptions(objects: Objects, name: str) -> set[str]:
    annotations = objects["ApplicationSet", name]["spec"]["template"]["metadata"]["annotations"]
    return {key.removeprefix(SUBSCRIBE) for key in annotations if key.startswith(SUBSCRIBE)}


def base() -> dict[str, Any]:
    text = (PATCHES / "argocd-notifications-cm.yaml").read_text(encoding="utf-8")
    return {key: yaml.safe_load(value) for key, value in yaml.safe_load(text)["data"].items()}


def test_an_owner_is_notified_about_its_own_services_only(objects: Objects) -> None:
    told = {"on-deployed", "on-sync-failed", "on-degraded"}
    for environment in ("dev", "qa", "live", "live-eu"):
        assert subscriptions(objects, f"iris-{environment}") == {f"{event}.greenhouse" for event in told}
        assert subscriptions(objects, f"wine-{environment}") == {f"{event}.cellar" for event in told}
        # This service has no owner.
        assert subscriptions(objects, f"churn-of-many-customers-{environment}") == set()


def test_every_event_of_the_configuration_is_sent(objects: Objects) -> None:
    triggers = {key.removeprefix("trigger.") for key in base() if key.startswith("trigger.")}
    assert {name.partition(".")[0] for name in subscriptions(objects, "iris-live")} == triggers


def test_a_chat_gets_the_same_messages_as_the_common_chat_which_keeps_all(objects: Objects) -> None:
    data = {key: yaml.safe_load(text) for key, text in patches(objects)["argocd-notifications-cm"].items()}
    before = base()
    for key in ("template.deployed", "template.sync-failed", "template.degraded"):
        webhooks = data[key]["webhook"]
        assert webhooks["greenhouse"] == webhooks["cellar"] == before[key]["webhook"]["people"]
        assert {name: webhooks[name] for name in before[key]["webhook"]} == before[key]["webhook"]
    for chat in ("greenhouse", "cellar"):
        wanted = {**before["service.webhook.people"], "url": f"$webhook-url-{chat}"}
        assert data.pop(f"service.webhook.{chat}") == wanted
    assert all(key.startswith("template.") for key in data), "nothing else in the configuration changes"


def test_chats_and_sign_in_are_patches_of_one_installation(tmp_path: Path) -> None:
    objects = rendered(tmp_path, WIDE + OIDC + CHATS)
    assert set(patches(objects)) == {"argocd-cm", "argocd-rbac-cm", "argocd-notifications-cm"}


@pytest.mark.parametrize(("kind", "name"), [("Application", "argocd"), ("ApplicationSet", "iris-live")])
def test_it_is_valid_by_argo_cds_definitions(kind: str, name: str, objects: Objects) -> None:
    if not installation.definitions():
        pytest.skip(installation.MISSING)
    assert list(definitions.problems(objects[kind, name])) == []


def test_without_chats_nothing_changes(tmp_path: Path) -> None:
    objects = rendered(tmp_path, WIDE)
    assert "kustomize" not in objects["Application", "argocd"]["spec"]["source"]
    assert subscriptions(objects, "iris-live") == set()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"@flora/iris"', '"@flora/irris"', "chats: no service has the owner '@flora/irris'"),
        ("greenhouse", "people", "chats: 'people' is reserved for a receiver of all events"),
        ("greenhouse", "Green_House", "chats: 'Green_House' is not a DNS label"),
    ],
)
def test_faults_are_named(before: str, after: str, said: str) -> None:
    with pytest.raises(BadInputError) as error:
        read_platform(WIDE + CHATS.replace(before, after))
    assert said in str(error.value)
