"""`gitops render` and `gitops diff` on the project's own charts, with the real Helm and a git history."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from gitops.cli import execute
from gitops.documents import loaded_all
from gitops.errors import BadInputError
from gitops.pins.release import Image, Model, Notes, Release, Shadow, written
from gitops.platform.reader import load_platform
from gitops.rendering.applications import applications, filled
from gitops.rendering.render import find_helm
from services.gitops.tests.conftest import DIGEST, add_service, commit_all, release_file


def pins(version: str = "7", chart: str | None = None, root: Path = Path()) -> Release:
    own = yaml.safe_load((root / "charts/model-serving/Chart.yaml").read_text())["version"]
    return Release(
        release=Notes(chart=chart or own, metrics={"accuracy": 0.97}),
        image=Image(repository="registry.example.com/acme/serving", tag="1.8.2", digest=DIGEST),
        model=Model(
            name="iris-classifier", version=version, digest=DIGEST, uri=f"s3://mlflow/1/models/m-{version}/artifacts"
        ),
    )


def pin(fork: Path, environment: str, version: str = "7", chart: str | None = None) -> None:
    (fork / release_file(environment)).write_text(written(None, pins(version, chart, fork), environment))


@pytest.fixture
def released(fork: Path) -> Path:
    """Both environments run version 7."""
    pin(fork, "staging")
    pin(fork, "production")
    commit_all(fork, "release")
    return fork


def rendered(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert execute(["render", *arguments]) == 0
    return [document for document in yaml.safe_load_all(capsys.readouterr().out) if document]


def changed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert execute(["diff", *arguments, "--json"]) == 0
    return {entry["object"]: entry["diff"] for entry in json.loads(capsys.readouterr().out)["objects"]}


def test_an_environment_renders_with_its_pins_and_tuning_in_its_namespace(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = rendered(["production"], capsys)
    text = yaml.safe_dump(documents)
    assert f"registry.example.com/acme/serving:1.8.2@{DIGEST}" in text
    assert "s3://mlflow/1/models/m-7/artifacts" in text
    assert {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "Service"} <= {str(d["kind"]) for d in documents}
    namespaces = {yaml.safe_load(yaml.safe_dump(d))["metadata"].get("namespace") for d in documents}
    assert namespaces == {"ml-pipeline-production"}


def test_a_shadow_and_its_bounds_are_values_of_the_chart(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pin and the bounds come from two files and are merged. Without the pin, the bounds have no effect."""
    tuning = released / release_file("production").with_name("values.yaml")
    tuning.write_text(f"{tuning.read_text()}\nshadow: {{minRows: 1000, maxDisagreement: 0.05}}\n")
    assert execute(["check"]) == 0
    assert changed(["production/iris"], capsys) == {}
    release = pins(root=released)
    beside = Shadow(version="8", digest=DIGEST, uri="s3://mlflow/1/models/m-8/artifacts", sample=0.5)
    file = released / release_file("production")
    file.write_text(written(file.read_text(), release.tried_beside(beside), "file"))
    assert execute(["check"]) == 0
    shown = changed(["production/iris"], capsys)
    assert list(shown) == ["Deployment ml-pipeline-production/iris"]
    (deployment,) = shown.values()
    for name, value in {"VERSION": "8", "DIGEST": DIGEST, "URI": beside.uri, "SAMPLE": "0.5"}.items():
        assert f"+        - name: SHADOW_{name}" in deployment
        assert value in deployment
    file.write_text(written(file.read_text(), release, "file"))
    assert changed(["production/iris"], capsys) == {}


def test_a_platform_application_renders_by_name(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"StatefulSet", "Service"} <= {
        str(document["kind"]) for document in rendered(["platform", "postgres"], capsys)
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["qa"], "the environments staging and production"),
        (["staging"], "Nothing is released there: there is no envs/staging/iris/release.yaml"),
        (["platform", "grafana"], "it has: argocd,"),
    ],
)
def test_a_missing_target_is_named(
    fork: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["render", *arguments]) == 2
    assert named in capsys.readouterr().err


def test_helms_error_about_the_schema_is_shown(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = released / "envs/staging/values.yaml"
    values.write_text(values.read_text() + "replicas: three\n")
    common = released / "charts/model-serving/charts/common"
    if not common.is_symlink():
        shutil.rmtree(common)
        common.symlink_to("../../common")
    assert execute(["render", "staging"]) == 2
    said = capsys.readouterr().err
    assert "replicas" in said
    assert "level=INFO" not in said


def test_another_chart_version_comes_from_the_registry_which_may_not_answer(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--repo", "http://127.0.0.1:9/fork.git", "--registry", "127.0.0.1:9/fork", "--registry-plain-http"]
    assert execute(["adopt", *options]) == 0
    pin(released, "staging", chart="99.0.0")
    assert execute(["render", "staging"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert execute(["render", "staging", "--chart-from", "tree"]) == 0


def test_an_edit_is_shown_as_changed_objects(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert changed(["staging"], capsys) == {}
    pin(released, "staging", version="8")
    objects = changed(["staging"], capsys)
    assert {name.split()[0] for name in objects} >= {"Deployment", "Job"}
    assert any("-" in text and "+" in text and "m-8" in text for text in objects.values())
    assert changed(["production"], capsys) == {}
    commit_all(released, "iris 8 to staging")
    assert changed(["staging"], capsys) == {}
    assert changed(["staging", "--revision", "HEAD~1"], capsys) == objects


def test_a_first_release_adds_all_objects(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = changed(["staging", "--revision", "HEAD~1"], capsys)
    assert objects
    assert all(text.startswith("--- a/") and "\n-" not in text.split("\n@@")[1] for text in objects.values())


def test_a_comparison_of_environments_shows_only_real_differences(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = changed(["production", "--against", "staging"], capsys)
    assert "HorizontalPodAutoscaler ml-pipeline-production/iris" in objects
    assert not [name for name in objects if name.startswith("ServiceAccount")]


def test_pins_of_another_environment_show_the_effect_of_a_promotion(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert changed(["production", "--pins-of", "staging"], capsys) == {}
    pin(released, "staging", version="8")
    objects = changed(["production", "--pins-of", "staging"], capsys)
    assert objects
    assert all("ml-pipeline-production/" in name for name in objects)
    assert not any("\n+" in text and "replicas" in text for text in objects.values())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["staging", "--revision", "none-such"], "git does not know 'none-such'"),
        (["staging", "--revision=--output=x"], "git does not know"),
        (["staging", "--revision", "HEAD", "--against", "production"], "give one of them"),
        (["platform", "--against", "staging"], "is not one"),
        (["production", "--pins-of", "qa"], "the environments staging and production"),
    ],
)
def test_an_invalid_comparison_is_refused(
    released: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["diff", *arguments]) == 2
    assert named in " ".join(capsys.readouterr().err.split())


def test_the_applications_are_those_of_argo_cd(released: Path) -> None:
    found = applications(released, find_helm(released))
    assert {entry.name for entry in found.applications} >= {"postgres", "minio", "mlflow"}
    serving = found.named("iris-staging")
    assert serving
    assert (serving.namespace, serving.project) == ("ml-pipeline-staging", "serving")
    assert serving.sources[0].target_revision == pins().release.chart
    for environment in ("staging", "production"):
        (released / release_file(environment)).unlink()
    left = applications(released, find_helm(released))
    assert [left.named(f"iris-{environment}") for environment in ("staging", "production")] == [None, None]


def test_an_invalid_service_stops_no_other(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_service(released, "wine", "wine-classifier")
    wine = released / release_file("staging", "wine")
    wine.parent.mkdir()
    wine.write_text(written(None, pins(root=released), "file"))
    wine.with_name("values.yaml").write_text("ingress: {hosts: [wine.localhost]}\n")
    commit_all(released, "wine")
    text = wine.read_text()
    for broken, said in (("release: [\n", "staging/wine cannot be rendered"), (text.replace('"7"', "'x'"), "wine")):
        wine.write_text(broken)
        assert execute(["render", "staging"]) == 2
        shown = capsys.readouterr()
        assert "name: iris" in shown.out
        assert said in shown.err
        assert execute(["diff", "staging", "--json"]) == 2
        compared = json.loads(capsys.readouterr().out)
        assert said in " ".join(compared["problems"])
        # It renders only at HEAD, which does not mean that its objects were removed.
        assert compared["objects"] == []
    assert rendered(["production"], capsys)


@pytest.mark.parametrize("template", ["{{ .model.nam }}", "{{ .model.name | upper }}", "{{ if .model }}x{{ end }}"])
def test_an_unsupported_template_is_refused(template: str) -> None:
    with pytest.raises(BadInputError, match="ApplicationSet serving"):
        filled({"metadata": [template]}, {"model": {"name": "iris"}}, "serving")


def test_only_strings_are_filled_in() -> None:
    template = {"name": "serving-{{ .path.basename }}", "n": 3, "list": ["{{.path.basename}}", None]}
    assert filled(template, {"path": {"basename": "qa"}}, "x") == {"name": "serving-qa", "n": 3, "list": ["qa", None]}


def test_defaults_of_platform_yaml_are_those_of_the_chart(fork: Path) -> None:
    whole = "repository: https://github.com/you/pipeline.git\nregistry: {prefix: ghcr.io/you/pipeline}\nservices: []\n"
    environments = "environments: [{name: staging}]\n"
    file = fork / "platform.yaml"
    file.write_text(f"{whole}{environments}")
    defaults = load_platform(fork)
    short = applications(fork, find_helm(fork))
    file.write_text(f"{whole}{environments}branch: {defaults.branch}\nforge: {defaults.forge_kind}\n")
    told = applications(fork, find_helm(fork))
    assert [entry.manifest for entry in short.applications] == [entry.manifest for entry in told.applications]


def test_services_are_shown_in_their_order_whichever_renders_first(
    released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"wine-{letter}" for letter in "dcba"]
    for name in names:
        add_service(released, name, f"{name}-classifier")
        (released / release_file("staging", name)).parent.mkdir()
        text = (released / release_file("staging")).read_text().replace("iris-classifier", f"{name}-classifier")
        (released / release_file("staging", name)).write_text(text)
        count = "many" if name == "wine-c" else "2"
        tuning = (released / release_file("staging", name)).with_name("values.yaml")
        tuning.write_text(f"replicaCount: {count}\ningress: {{hosts: [{name}.localhost]}}\n")
    assert execute(["render", "staging"]) == 2
    said = capsys.readouterr()
    services = [entry["metadata"]["name"] for entry in yaml.safe_load_all(said.out) if entry["kind"] == "Service"]
    assert services == ["iris", "wine-d", "wine-b", "wine-a"]
    assert "wine-c-staging does not render" in said.err
    assert said.err.index("wine-d-staging:") < said.err.index("wine-c-staging") < said.err.index("wine-b-staging:")


def test_manifests_are_read_as_yaml_1_2(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Prometheus operator's definitions contain a bare `=`; `on` is a string, and `010` is ten."""
    (fork / "apps/extra/definition.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: operators}\ndata: {enum: [=, on, no], mode: 010}\n"
    )
    assert execute(["render", "platform", "extra"]) == 0
    said = capsys.readouterr().out
    (found,) = [entry for entry in loaded_all(said) if entry]
    assert found["data"] == {"enum": ["=", "on", "no"], "mode": 10}
    commit_all(fork, "operators")
    assert changed(["platform", "extra"], capsys) == {}
