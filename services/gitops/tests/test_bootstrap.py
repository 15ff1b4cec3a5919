"""Bootstrap: the order of its steps, what it refuses, a second run, and explanations of failures."""

import json
from pathlib import Path
from typing import Any

import pytest

from gitops.cluster import argocd
from gitops.cluster.argocd import GitAccess, Login
from gitops.cluster.bootstrap import Bootstrap, Options, Result
from gitops.cluster.secrets import Fixed, bootstrap_secrets, decoded, secret_manifest
from gitops.errors import BadInputError, NotConvergedError
from gitops.fork.adopt import Places, adopt_fork
from gitops.git.repository import Repository
from gitops.platform.model import Environment, Platform, Registry
from gitops.platform.reader import load_platform
from gitops.terminal import Terminal
from services.gitops.tests.conftest import commit_all
from services.gitops.tests.memory_cluster import MemoryCluster

PLACES = Places(repository="https://git.example.com/flora/petals.git", registry="registry.example.com/flora/petals")
CAPTURED = Path(__file__).with_name("captured")
PATIENT = Options(minutes=1)
HASTY = Options(minutes=0.0001)


@pytest.fixture
def adopted(fork: Path) -> Path:
    """An adopted fork."""
    adopt_fork(Repository(fork), PLACES)
    commit_all(fork, "adopt")
    return fork


def bootstrap(fork: Path, cluster: MemoryCluster, options: Options = PATIENT) -> Result:
    return Bootstrap(Repository(fork), cluster, Terminal(), options).run()


def test_everything_is_created_in_the_order_of_dependencies(adopted: Path) -> None:
    cluster = MemoryCluster()
    result = bootstrap(adopted, cluster)
    order = [
        "Namespace/argocd",
        "Namespace/ml-pipeline",
        "Secret/postgres-auth",
        "Secret/repository-charts",
        "CustomResourceDefinition/applications.argoproj.io",
        "Deployment/argocd-server",
        "AppProject/platform",
        "Application/root",
    ]
    positions = [cluster.order.index(step) for step in order]
    assert positions == sorted(positions)
    assert {"root", "argocd", "postgres", "minio", "mlflow", "monitoring"} <= set(result.applications)
    assert [password.what for password in result.passwords if "postgres-auth" in password.command] == ["Postgres"]


def test_no_value_of_a_secret_is_ever_shown(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = MemoryCluster()
    options = Options(minutes=1, registry=Login(user="ada", password="s3cret-token"))
    result = bootstrap(adopted, cluster, options)
    shown = "".join(capsys.readouterr()) + str(result)
    wanted = bootstrap_secrets(load_platform(adopted))
    fixed = {value.text for spec in wanted for value in spec.keys.values() if isinstance(value, Fixed)}
    secrets = {value for spec in wanted for value in _values(cluster, spec.namespace, spec.name).values()}
    assert len(secrets - fixed) > 10
    assert not [value for value in (secrets - fixed) | {"s3cret-token"} if value in shown]


def test_running_again_changes_no_secret_and_keeps_credentials_given_earlier(adopted: Path) -> None:
    cluster = MemoryCluster()
    login = Login(user="ada", password="token")
    bootstrap(adopted, cluster, Options(minutes=1, git=GitAccess(login=login), registry=login))
    before = {key: value for key, value in cluster.objects.items() if key[0] == "secrets"}
    bootstrap(adopted, cluster)
    assert {key: value for key, value in cluster.objects.items() if key[0] == "secrets"} == before
    assert _values(cluster, "argocd", argocd.GIT_SECRET)["password"] == "token"
    pull = json.loads(_values(cluster, "ml-pipeline-staging", "registry-credentials")[".dockerconfigjson"])
    assert pull["auths"]["registry.example.com"]["username"] == "ada"


def test_guessable_ids_are_reported_with_a_remedy(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = MemoryCluster()
    keys = {"AWS_ACCESS_KEY_ID": "serving", "AWS_SECRET_ACCESS_KEY": "x"}
    cluster.apply([secret_manifest("ml-pipeline", "s3-serving", keys)])
    bootstrap(adopted, cluster)
    said = " ".join(capsys.readouterr().err.split())
    assert "ids that can be guessed (ml-pipeline/s3-serving)" in said
    assert "run gitops rotate-keys" in said
    bootstrap(adopted, MemoryCluster())
    assert "rotate-keys" not in capsys.readouterr().err


def test_a_short_outage_of_the_cluster_is_waited_for(adopted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops.cluster.convergence._PAUSE", 0.0)
    cluster = MemoryCluster()
    original = cluster.annotate_all

    def annotate_all(*arguments: str) -> None:
        original(*arguments)
        cluster.outages = 2

    monkeypatch.setattr(cluster, "annotate_all", annotate_all)
    assert bootstrap(adopted, cluster).applications
    assert cluster.outages == 0


def test_a_sync_that_argo_cd_gave_up_on_is_restarted(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Argo CD syncs a revision once, and the cause of the failure may be gone."""
    failed = {"sync": {"status": "OutOfSync"}, "health": {"status": "Missing"}, "operationState": {"phase": "Failed"}}
    hook = {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}, "operationState": {"phase": "Error"}}
    cluster = MemoryCluster(mlflow=failed, minio=hook)
    assert bootstrap(adopted, cluster).applications
    assert cluster.operations.keys() == {"mlflow", "minio"}
    operation = cluster.operations["mlflow"]
    assert operation["sync"]["prune"] is True
    assert "ServerSideApply=true" in operation["sync"]["syncOptions"]
    assert operation["retry"]["limit"] == -1
    assert "revision" not in operation["sync"], "the newest one of the branch"
    assert "restarted after a failure: minio, mlflow" in " ".join(capsys.readouterr().err.split())


def test_a_running_sync_is_not_restarted(adopted: Path) -> None:
    running = {"sync": {"status": "OutOfSync"}, "health": {"status": "Missing"}, "operationState": {"phase": "Running"}}
    cluster = MemoryCluster(mlflow=running)
    with pytest.raises(NotConvergedError):
        bootstrap(adopted, cluster, HASTY)
    assert cluster.operations == {}


def test_a_sync_with_outdated_sources_is_ended_and_restarted(adopted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync would forever look for what a new commit removed, and no other sync could start."""
    monkeypatch.setattr("gitops.cluster.convergence._PAUSE", 0.0)
    retrying = {
        "sync": {"status": "Synced"},
        "health": {"status": "Healthy"},
        "operationState": {"phase": "Running", "message": "Retrying attempt #5"},
    }
    cluster = MemoryCluster(argocd=retrying)
    cluster.running["argocd"] = {"sync": {"sources": [{"path": "argocd/projects"}]}, "retry": {"limit": -1}}
    assert bootstrap(adopted, cluster).applications
    assert cluster.operations.keys() == {"argocd"}
    assert "sources" not in cluster.operations["argocd"]["sync"], "what the application names now"


def test_a_failure_names_object_cause_last_log_lines_and_remedy(
    adopted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    degraded = {"sync": {"status": "Synced"}, "health": {"status": "Degraded"}}
    cluster = MemoryCluster(mlflow=degraded)
    for pod in json.loads((CAPTURED / "pods.json").read_text()):
        cluster.put("pods", pod)
    for event in json.loads((CAPTURED / "events.json").read_text()):
        event["metadata"]["namespace"] = "ml-pipeline"
        cluster.put("events", event)
    with pytest.raises(NotConvergedError, match=r"Not up after .* minutes: mlflow\. Argo CD keeps trying"):
        bootstrap(adopted, cluster, HASTY)
    said = " ".join(capsys.readouterr().err.split())
    assert "mlflow: Synced, Degraded" in said
    assert "Pod ml-pipeline/crashes: container server: CrashLoopBackOff" in said
    assert "server: no such database: mlflow" in said
    assert "-> Push that image" in said


def test_an_application_can_be_left_out_where_its_kinds_are_known(adopted: Path) -> None:
    cluster = MemoryCluster()
    with pytest.raises(BadInputError, match="does not know the kinds ServiceMonitor"):
        bootstrap(adopted, cluster, Options(without=("monitoring",), minutes=1))
    assert cluster.order == []
    cluster.put("customresourcedefinitions", {"metadata": {"name": "servicemonitors.monitoring.coreos.com"}})
    result = bootstrap(adopted, cluster, Options(without=("monitoring", "training"), minutes=1))
    root = cluster.find("applications", "root", "argocd")
    assert root
    assert root["spec"]["source"]["helm"]["valuesObject"]["without"] == ["monitoring", "training"]
    assert not {"monitoring", "training"} & set(result.applications)
    with pytest.raises(BadInputError, match="apps has no 'grafana'"):
        bootstrap(adopted, cluster, Options(without=("grafana",)))


def test_a_fork_is_refused_until_adopting_is_committed(fork: Path) -> None:
    cluster = MemoryCluster()
    adopt_fork(Repository(fork), PLACES)
    with pytest.raises(BadInputError, match=r"as committed still has the address of the template"):
        bootstrap(fork, cluster)
    assert cluster.order == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": "v1.31.9"}, "1.32 or newer is needed"),
        ({"administrator": False}, "is not an administrator of the cluster"),
        ({"objects": {}}, "No node of the cluster is ready"),
    ],
)
def test_an_unsuitable_cluster_is_refused_before_anything_is_created(
    adopted: Path, change: dict[str, Any], named: str
) -> None:
    cluster = MemoryCluster()
    for name, value in change.items():
        setattr(cluster, name, value)
    with pytest.raises(BadInputError, match=named):
        bootstrap(adopted, cluster)
    assert cluster.order == []


def test_uncommitted_changes_are_reported(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (adopted / "envs/staging/values.yaml").write_text("replicaCount: 2\n")
    bootstrap(adopted, MemoryCluster())
    assert "Not committed, so Argo CD does not see it: envs/staging/values.yaml." in capsys.readouterr().err


def test_namespaces_have_the_strictest_level_that_their_pods_allow() -> None:
    platform = some_platform(environments=[Environment(name="dev"), Environment(name="eu", namespace="shop")])
    manifests = argocd.namespace_manifests(argocd.namespaces(platform))
    levels = {
        entry["metadata"]["name"]: entry["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for entry in manifests
    }
    assert levels.pop("monitoring") == "privileged"
    assert levels == dict.fromkeys(("argocd", "ml-pipeline", "ml-pipeline-dev", "shop"), "restricted")
    assert {spec.namespace for spec in bootstrap_secrets(platform)} <= {*levels, "monitoring"}


def test_the_root_reads_the_forks_own_repository_and_branch(adopted: Path) -> None:
    text = (adopted / "platform.yaml").read_text()
    (adopted / "platform.yaml").write_text(text.replace("branch: main", "branch: trunk"))
    commit_all(adopted, "another branch")
    cluster = MemoryCluster()
    bootstrap(adopted, cluster)
    root = cluster.find("applications", "root", "argocd")
    assert root
    source = root["spec"]["source"]
    assert (source["repoURL"], source["targetRevision"], source["path"]) == (PLACES.repository, "trunk", "apps")
    assert source["helm"]["valueFiles"] == ["/platform.yaml"]


def test_an_application_of_apps_extra_does_not_stop_bootstrap(
    adopted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (adopted / "apps/extra/broken.yaml").write_text("a: [")
    (adopted / "apps/extra/plugin.yaml").write_text(
        "kind: ApplicationSet\nmetadata: {name: theirs}\nspec: {generators: [{clusters: {}}], template: {}}\n"
    )
    commit_all(adopted, "files of other people")
    degraded = {"sync": {"status": "Unknown"}, "health": {"status": "Degraded"}}
    result = bootstrap(adopted, MemoryCluster(extra=degraded))
    said = capsys.readouterr().err
    assert "apps/extra/broken.yaml: it is not valid YAML" in said
    assert "apps/extra/plugin.yaml: ApplicationSet theirs: the generator clusters cannot be expanded" in said
    assert "postgres" in result.applications
    assert "extra" not in result.applications


def test_another_cluster_is_prepared_or_left_to_the_person(adopted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (adopted / "platform.yaml").read_text()
    text = text.replace("services:", "  - {name: eu, from: staging, cluster: west}\nservices:")
    clusters = "clusters:\n  west: {server: https://10.0.0.5:6443, s3: https://s3.example.com, mlflow: https://ml.example.com}\n"
    (adopted / "platform.yaml").write_text(text + clusters)
    commit_all(adopted, "another cluster")
    cluster, there = MemoryCluster(), MemoryCluster()
    cluster.others["there"] = there
    bootstrap(adopted, cluster)
    said = " ".join(capsys.readouterr().err.split())
    assert "Argo CD does not know the cluster west yet" in said
    needed = "s3-serving, s3-predictions, mlflow-serving, mlflow-smoke and registry-credentials"
    assert f"The cluster west needs the Secrets {needed} in ml-pipeline-eu" in said
    assert there.order == []
    bootstrap(adopted, cluster, Options(minutes=1, contexts={"west": "there"}))
    assert there.find("namespaces", "ml-pipeline-eu")
    assert _values(there, "ml-pipeline-eu", "s3-serving") == _values(cluster, "ml-pipeline", "s3-serving")
    assert not cluster.find("namespaces", "ml-pipeline-eu")
    with pytest.raises(BadInputError, match=r"no environment of platform\.yaml is in the cluster 'east'; it has: west"):
        bootstrap(adopted, cluster, Options(contexts={"east": "there"}))


def some_platform(**changes: Any) -> Platform:
    facts: dict[str, Any] = {
        "repository": "git@git.example.com:flora/petals.git",
        "registry": Registry(prefix="10.0.0.1:5000/acme", plain_http=True),
        "environments": [Environment(name="staging")],
    }
    return Platform(**facts | changes)


def test_argo_cd_gets_access_to_git_and_charts() -> None:
    platform = some_platform()
    git, charts = (decoded(entry) for entry in argocd.repository_secrets(platform, GitAccess(ssh_key="KEY"), None, {}))
    assert git == {"type": "git", "url": platform.repository, "sshPrivateKey": "KEY"}
    assert charts == {
        "type": "helm",
        "name": "charts",
        "url": "10.0.0.1:5000/acme/charts",
        "enableOCI": "true",
        "insecureOCIForceHttp": "true",
    }


def _values(cluster: MemoryCluster, namespace: str, name: str) -> dict[str, str]:
    secret = cluster.find("secrets", name, namespace)
    assert secret
    return decoded(secret)
