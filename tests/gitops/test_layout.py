"""apps/, envs/ and platform.yaml fit together: order, completeness, names, places."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from gitops.cluster.argocd import namespaces
from gitops.platform.model import HERE, PUSHGATEWAY, ROLLOUTS
from gitops.platform.targets import targets
from tests.gitops import capacity
from tests.gitops.repository import WIDE
from tests.gitops.stack import App, Stack, placed
from tests.support import helm
from tests.support.helm import ROOT
from tests.support.manifests import Manifest, metadata, parse, strings

WAVE = "argocd.argoproj.io/sync-wave"
STORES = {"minio", "seaweedfs"}


@pytest.fixture(params=["everything", "wide", "grown"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return this repository, the wide one, or the grown one, rendered."""
    found: Stack = request.getfixturevalue(request.param)
    return found


@pytest.fixture(
    params=[("tree", "everything"), ("wide_tree", "wide"), ("grown_tree", "grown")], ids=lambda pair: pair[1]
)
def files(request: pytest.FixtureRequest) -> tuple[Path, Stack]:
    """Return each of them together with its files."""
    tree, stack = request.param
    return request.getfixturevalue(tree), request.getfixturevalue(stack)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("postgres", "mlflow"),
        ("minio", "mlflow"),
        ("monitoring", "mlflow"),
        ("mlflow", "training"),
        ("mlflow", "argocd"),
    ],
)
def test_first_start_goes_in_order(earlier: str, later: str, everything: Stack) -> None:
    waves = {
        manifest["metadata"]["name"]: int(metadata(manifest, "annotations").get(WAVE, 0))
        for manifest in everything.app("root").rendered
        if manifest["kind"] != "AppProject"
    }
    assert waves[earlier] < waves[later]


def test_everything_can_be_read(stack: Stack) -> None:
    assert stack.unread == []


def test_every_file_of_envs_is_read_by_an_application(files: tuple[Path, Stack]) -> None:
    tree, stack = files
    read = {
        name.removeprefix("$values").lstrip("/")
        for app in stack.apps
        for source in app.sources
        for name in (source.get("helm") or {}).get("valueFiles") or []
    }
    there = {str(path.relative_to(tree)) for path in (tree / "envs").rglob("*.yaml")}
    # Values of parts that platform.yaml does not choose are not read.
    wanted = {ROLLOUTS: stack.platform.rollouts, PUSHGATEWAY: stack.platform.pushgateway}
    others = STORES - {stack.platform.store} | {name for name, there in wanted.items() if not there}
    assert there - {f"envs/platform/{name}.yaml" for name in others} <= read


def test_every_chart_is_run_by_an_application(everything: Stack, wide: Stack) -> None:
    charts = {path.parent.name for path in (ROOT / "charts").glob("*/Chart.yaml")} - {"common"}
    run = {
        source.get("chart") or str(source.get("path")).removeprefix("charts/")
        for app in (*everything.apps, *wide.apps)
        for source in app.sources
    }
    assert charts <= run


def test_every_model_has_its_training(everything: Stack) -> None:
    models = {path.parent.name for path in (ROOT / "models").glob("*/training.yaml")}
    assert {f"training-{name}" for name in models} <= {app.name for app in everything.apps}


def test_there_is_a_pushgateway_if_configured_and_trainings_know_it(everything: Stack, wide: Stack) -> None:
    assert PUSHGATEWAY not in {app.name for app in everything.apps}
    assert wide.app(PUSHGATEWAY).namespace == "monitoring"
    for stack, pushed in ((everything, None), (wide, {"pushgateway": "http://pushgateway.monitoring:9091"})):
        given = [
            source["helm"]["valuesObject"].get("outcomes")
            for app in stack.apps
            for source in app.sources
            if app.name.startswith("training-")
        ]
        assert given
        assert given == [pushed] * len(given)


def test_every_service_runs_where_platform_yaml_says(stack: Stack) -> None:
    platform = stack.platform
    for target in targets(platform):
        app = stack.app(target.application)
        assert (app.server, app.namespace) == (platform.cluster_of(target.environment).server, target.namespace)
        (service,) = objects(app, "Service")
        assert service["metadata"]["name"] == target.release_name
        (job,) = objects(app, "Job")
        variables = {
            each["name"]: each.get("value") for each in job["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        assert variables["SMOKE_ALIAS"] == target.environment.name
        assert variables["MODEL_URI"]
        assert variables["MODEL_DIGEST"]


def test_an_application_has_the_facts_for_notifications(stack: Stack) -> None:
    for target in targets(stack.platform):
        info = {entry["name"]: entry["value"] for entry in stack.app(target.application).manifest["spec"]["info"]}
        assert info["environment"] == target.environment.name
        assert info["service"] == target.service.name
        assert info["repository"] == stack.platform.slug
        assert info["model"].startswith(f"{target.service.model} ")


def test_every_object_has_a_name_that_the_api_server_accepts(stack: Stack) -> None:
    for app in stack.apps:
        for manifest in app.rendered:
            name = manifest["metadata"]["name"]
            longest = 63 if manifest["kind"] in {"Service", "Job", "Deployment", "StatefulSet"} else 253
            assert len(name) <= (52 if manifest["kind"] == "CronJob" else longest), f"{app.name}: {name}"
            assert re.fullmatch(r"[a-z0-9]([-.:a-z0-9]*[a-z0-9])?", name), f"{app.name}: {name}"
            for value in metadata(manifest, "labels").values():
                assert len(value) <= 63, f"{app.name}: {name}: {value}"


def test_bootstrap_makes_every_namespace_that_is_written_to(stack: Stack) -> None:
    names = {HERE: ""} | {cluster.server: name for name, cluster in stack.platform.clusters.items()}
    for app in stack.apps:
        made = namespaces(stack.platform, names[app.server])
        written = {space for manifest in app.rendered if (space := placed(app, manifest))} - {"kube-system"}
        assert written | {app.namespace} <= set(made), app.name


def test_nothing_in_another_cluster_has_an_address_inside_this_one(wide: Stack) -> None:
    elsewhere = [app for app in wide.apps if app.server != HERE]
    assert len(elsewhere) == 3
    for app in elsewhere:
        said = "\n".join(text for manifest in app.rendered for text in strings(manifest))
        assert not re.findall(r"\S*\.ml-pipeline[.:]\S*", said)
        assert "https://s3.example.com" in said
        assert "https://mlflow.example.com" in said


def test_pods_in_another_cluster_may_reach_the_store_and_mlflow(wide: Stack) -> None:
    elsewhere = [target for target in targets(wide.platform) if target.environment.cluster]
    assert elsewhere
    for target in elsewhere:
        cluster = wide.platform.cluster_of(target.environment)
        policies = {
            policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: policy["spec"]["egress"]
            for policy in objects(wide.app(target.application), "NetworkPolicy")
        }
        for component, address in (("server", cluster.s3), ("smoke", cluster.mlflow)):
            ways_out = [port["port"] for rule in policies[component] if "to" not in rule for port in rule["ports"]]
            assert (urlsplit(address).port or 443) in ways_out, f"{target.application}: {component} to {address}"


def test_a_cluster_that_does_not_reach_mlflow_moves_no_alias(tmp_path: Path) -> None:
    platform, values = tmp_path / "platform.yaml", tmp_path / "values.yaml"
    mlflow = ", mlflow: https://mlflow.example.com"
    assert mlflow in WIDE
    platform.write_text(WIDE.replace(mlflow, ""), encoding="utf-8")
    root = helm.run("helm", "template", "root", ROOT / "apps", "--values", platform)
    assert root.code == 0, root.errors
    (found,) = (m for m in parse(root.output) if m["metadata"]["name"] == "iris-live-eu")
    values.write_text(
        yaml.safe_dump(found["spec"]["template"]["spec"]["sources"][0]["helm"]["valuesObject"]), encoding="utf-8"
    )
    pinned = helm.CHARTS / "model-serving" / "ci" / "6-shadow.yaml"
    outcome = helm.template("model-serving", pinned, values)
    assert outcome.code == 0, outcome.errors
    assert "SMOKE_ALIAS" not in outcome.output
    assert "https://s3.example.com" in outcome.output


def test_a_failed_job_blocks_no_application(stack: Stack) -> None:
    """Argo CD calls a CronJob degraded if its last Job failed, and later waves of a sync wait for degraded objects."""
    jobs = [(app.name, job) for app in stack.apps for job in objects(app, "CronJob")]
    assert jobs
    for name, job in jobs:
        assert metadata(job, "annotations").get("argocd.argoproj.io/ignore-healthcheck") == "true", name


def test_shared_parts_let_in_the_environments_of_this_cluster_and_no_others(wide: Stack) -> None:
    for name in ("seaweedfs", "mlflow"):
        (guard,) = (each for each in objects(wide.app(name), "NetworkPolicy") if each["metadata"]["name"] == name)
        named = {
            text for text in strings(guard["spec"]["ingress"]) if text in {"shop", "live-eu", "ml-pipeline-staging"}
        }
        assert named == {"shop"}
        assert {"ml-pipeline-dev", "ml-pipeline-qa"} <= set(strings(guard["spec"]["ingress"]))


def test_one_line_chooses_the_store_for_all_of_its_users(everything: Stack, wide: Stack) -> None:
    for stack in (everything, wide):
        (other,) = STORES - {stack.platform.store}
        here = [app for app in stack.apps if app.server == HERE and app.objects is not None]
        assert stack.platform.store in {app.name for app in here}
        assert other not in {app.name for app in here}
        said = [(app.name, text) for app in here for manifest in app.rendered for text in strings(manifest)]
        assert not [name for name, text in said if re.search(rf"//{other}\.ml-pipeline", text)]
        users = {name for name, text in said if f"//{stack.platform.store}.ml-pipeline:9000" in text}
        services = {target.application for target in targets(stack.platform) if not target.environment.cluster}
        training = {app.name for app in here if app.name.startswith("training-")}
        assert {"postgres", "mlflow"} | services | training <= users


def test_requests_grow_with_the_services(everything: Stack, wide: Stack) -> None:
    def of_services(stack: Stack) -> list[int]:
        apps = [app for app in stack.apps if app.manifest["spec"]["project"] == "serving"]
        return [capacity.asked(app.rendered).memory for app in apps]

    assert len(of_services(wide)) == 12
    assert sum(of_services(wide)) > sum(of_services(everything))
    assert min(of_services(wide)) > 0


def objects(app: App, kind: str) -> list[Manifest]:
    return [manifest for manifest in app.rendered if manifest["kind"] == kind]
