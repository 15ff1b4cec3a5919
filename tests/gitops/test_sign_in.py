"""The sign-in of people, from the block `oidc`: the settings of Argo CD and Grafana, and the rights of groups.

Argo CD's own command checks its settings and rights. Grafana does not run here.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.errors import BadInputError
from gitops.platform.reader import read_platform
from gitops.rendering.applications import chart_documents
from gitops.rendering.render import find_helm
from tests.gitops import definitions, installation
from tests.gitops.repository import WIDE
from tests.gitops.test_monitoring import KNOWN, unknown
from tests.gitops.test_settings import PATCHES, Argocd, argocd
from tests.support.helm import ROOT
from tests.support.manifests import Manifest

__all__ = ["argocd"]  # a fixture

OIDC = """\
oidc:
  issuer: https://login.example.com/dex
  admins: [platform]
  viewers: [everyone]
  owners: {"@flora/iris": [iris-people], "@flora/wine": [wine-people, cellar]}
  argocd: {url: "https://argocd.example.com", client: argo-cd}
  grafana:
    url: https://grafana.example.com
    client: grafana
    authUrl: https://login.example.com/dex/auth
    tokenUrl: https://login.example.com/dex/token
    apiUrl: https://login.example.com/dex/userinfo
  mlflow: {url: "https://models.example.com", client: mlflow}
"""


def rendered(folder: Path, platform: str) -> dict[tuple[str, str], Manifest]:
    (folder / "platform.yaml").write_text(platform)
    (folder / "apps").symlink_to(ROOT / "apps")
    found = chart_documents(folder, find_helm(ROOT))
    return {(entry["kind"], entry["metadata"]["name"]): entry for entry in found}


@pytest.fixture
def objects(tmp_path: Path) -> dict[tuple[str, str], Manifest]:
    return rendered(tmp_path, WIDE + OIDC)


def patches(objects: dict[tuple[str, str], Manifest]) -> dict[str, dict[str, str]]:
    """Return the data of the ConfigMaps that Argo CD's Application patches, by name."""
    found = objects["Application", "argocd"]["spec"]["source"]["kustomize"]["patches"]
    return {entry["target"]["name"]: yaml.safe_load(entry["patch"])["data"] for entry in found}


def policy(objects: dict[tuple[str, str], Manifest]) -> str:
    """Return the policy of Argo CD's enforcer: the global policy, and the roles of a project with their groups."""
    lines = [patches(objects)["argocd-rbac-cm"]["policy.csv"].rstrip()]
    for role in objects["AppProject", "serving"]["spec"]["roles"]:
        lines += role["policies"]
        lines += [f"g, {group}, proj:serving:{role['name']}" for group in role.get("groups", [])]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("group", "action", "name", "allowed"),
    [
        ("iris-people", "sync", "serving/iris-dev", True),
        ("iris-people", "rollback", "serving/iris-live", True),
        ("iris-people", "get", "serving/wine-live", True),
        ("iris-people", "sync", "serving/wine-live", False),
        ("iris-people", "rollback", "serving/wine-live", False),
        ("iris-people", "sync", "serving/iris-dev-of-others", False),
        ("iris-people", "update", "serving/iris-dev", False),
        ("iris-people", "override", "serving/iris-dev", False),
        ("iris-people", "delete", "serving/iris-dev", False),
        ("iris-people", "sync", "platform/postgres", False),
        ("cellar", "sync", "serving/wine-live-eu", True),
        ("cellar", "sync", "serving/iris-live-eu", False),
        ("everyone", "get", "platform/postgres", True),
        ("everyone", "sync", "serving/iris-dev", False),
        ("platform", "delete", "serving/iris-live", True),
        # Everybody else that the provider lets in.
        ("strangers", "get", "serving/iris-dev", False),
    ],
)
def test_groups_decide_who_may_do_what(
    group: str, action: str, name: str, allowed: bool, objects: dict[tuple[str, str], Manifest], argocd: Argocd
) -> None:
    assert patches(objects)["argocd-rbac-cm"]["policy.default"] == ""
    done = argocd.run("rbac", "can", group, action, "applications", name, "--policy-file",
                      argocd.file("policy.csv", policy(objects)), "--default-role", "")  # fmt: skip
    assert done.stdout.strip() == ("Yes" if allowed else "No"), done.stderr


def test_argo_cd_accepts_the_sign_in_and_the_policy(objects: dict[tuple[str, str], Manifest], argocd: Argocd) -> None:
    settings = yaml.safe_load((PATCHES / "argocd-cm.yaml").read_text(encoding="utf-8"))
    settings["metadata"] |= {"namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}}
    settings["data"] |= patches(objects)["argocd-cm"]
    done = argocd.run("validate", "--argocd-cm-path", argocd.file("argocd-cm.yaml", settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "❌" not in done.stdout
    config = yaml.safe_load(settings["data"]["oidc.config"])
    assert (config["issuer"], config["clientID"]) == ("https://login.example.com/dex", "argo-cd")
    assert config["enablePKCEAuthentication"] is True
    assert "clientSecret" not in config
    done = argocd.run("rbac", "validate", "--policy-file", argocd.file("policy.csv", policy(objects)))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "name"), [("Application", "argocd"), ("AppProject", "serving")])
def test_it_is_valid_by_argo_cds_definitions(kind: str, name: str, objects: dict[tuple[str, str], Manifest]) -> None:
    if not installation.definitions():
        pytest.skip(installation.MISSING)
    assert list(definitions.problems(objects[kind, name])) == []


def test_grafana_lets_in_the_same_groups_and_nobody_else(objects: dict[tuple[str, str], Manifest]) -> None:
    sources = objects["Application", "monitoring"]["spec"]["sources"]
    values: dict[str, Any] = sources[0]["helm"]["valuesObject"]
    assert list(unknown(values, yaml.safe_load(KNOWN.read_text(encoding="utf-8")))) == []
    oauth = values["grafana"]["grafana.ini"]["auth.generic_oauth"]
    assert oauth["role_attribute_strict"] is True
    roles = oauth["role_attribute_path"].split(" || ")
    assert roles[0] == "contains(groups[*], 'platform') && 'Admin'"
    assert {role.split("'")[1]: role.split("'")[3] for role in roles[1:]} == dict.fromkeys(
        ["everyone", "iris-people", "wine-people", "cellar"], "Viewer"
    )


def test_mlflow_lets_in_the_same_groups_and_gives_owners_no_more_than_to_read(
    objects: dict[tuple[str, str], Manifest],
) -> None:
    values = objects["Application", "mlflow"]["spec"]["source"]["helm"]["valuesObject"]
    assert values["networkPolicy"]["servingNamespaces"], "the other derived values are kept"
    assert values["signIn"] == {
        "enabled": True,
        "issuer": "https://login.example.com/dex",
        "client": "mlflow",
        "clientSecret": "",
        "url": "https://models.example.com",
        "groupsClaim": "groups",
        "admins": ["platform"],
        "viewers": ["everyone", "iris-people", "wine-people", "cellar"],
    }


def test_without_the_block_nothing_changes(tmp_path: Path) -> None:
    objects = rendered(tmp_path, WIDE)
    assert "kustomize" not in objects["Application", "argocd"]["spec"]["source"]
    assert [role["name"] for role in objects["AppProject", "serving"]["spec"]["roles"]] == ["viewer", "promoter"]
    assert "valuesObject" not in objects["Application", "monitoring"]["spec"]["sources"][0]["helm"]
    assert "signIn" not in str(objects["Application", "mlflow"])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("issuer: https://login.example.com/dex", "issuer: login", "oidc.issuer: 'login' is not an address"),
        ('@flora/wine":', '@flora/whine":', "no service has the owner '@flora/whine'"),
        ("[everyone]", "['every, one']", "the group 'every, one' may not hold commas"),
        ("apiUrl:", "apiURL:", "apiURL"),
        ("models.example.com", "models.example.com/mlflow", "oidc.mlflow.url: MLflow needs a separate host"),
        ("client: mlflow", "client: mlflow, secret: Mlflow_Oidc", "oidc.mlflow.secret: 'Mlflow_Oidc' is not the name"),
    ],
)
def test_faults_are_named(before: str, after: str, said: str) -> None:
    text = WIDE + OIDC.replace(before, after)
    with pytest.raises(BadInputError) as error:
        read_platform(text)
    assert said in str(error.value)
