"""The server and its smoke test accept the variables that the model-serving chart sets.

The same code as in the container reads the rendered variables, so a misspelt, invalid or contradictory setting fails
here. Every value that should restart pods does.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving import environment
from serving.batch.settings import ScoreSettings
from serving.settings import Settings, SmokeSettings
from tests.support import helm
from tests.support.manifests import Manifest, name_of, parse

SCENARIOS = helm.scenarios("model-serving")
# The AWS libraries and OpenMP read these, not the server.
BY_OTHERS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "OMP_NUM_THREADS"}


def render(*values: Path) -> dict[str, Manifest]:
    outcome = helm.template("model-serving", *values)
    assert outcome.code == 0, outcome.errors
    return {name_of(manifest): manifest for manifest in parse(outcome.output)}


def only(manifests: dict[str, Manifest], kind: str) -> Manifest:
    # A canary has a Rollout instead of a Deployment.
    kinds = {kind, "Rollout"} if kind == "Deployment" else {kind}
    (found,) = (manifest for manifest in manifests.values() if manifest["kind"] in kinds)
    return found


def variables(manifests: dict[str, Manifest], kind: str) -> dict[str, str]:
    """Return a container's environment, including its ConfigMap, with a word instead of each Secret's value."""
    spec = only(manifests, kind)["spec"]
    (container,) = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]["containers"]
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        found |= manifests[f"ConfigMap/{source['configMapRef']['name']}"]["data"]
    return found | {variable["name"]: variable.get("value", "from-a-secret") for variable in container["env"]}


def names(kind: type[Settings] | type[SmokeSettings] | type[ScoreSettings]) -> set[str]:
    return {variable.name for variable in environment.variables(kind)}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_the_server_takes_its_settings(scenario: Path) -> None:
    given = variables(render(scenario), "Deployment")
    unknown = {name for name in given if not name.startswith("OTEL_")} - BY_OTHERS - names(Settings)
    assert unknown == set()
    settings = environment.read(Settings, given)
    values = yaml.safe_load(scenario.read_text(encoding="utf-8"))
    assert settings.model_version == values.get("model", {}).get("version", "")
    assert settings.port == 8080


def test_the_server_takes_further_models() -> None:
    settings = environment.read(
        Settings, variables(render(helm.CHARTS / "model-serving/ci/5-several.yaml"), "Deployment")
    )
    followed = [(model.name, model.stage.lower()) for model in settings.extra_models if not model.version]
    assert followed == [("wine-classifier", "staging"), ("diabetes-regressor", "candidate")]
    (pinned,) = (model for model in settings.extra_models if model.version)
    assert (pinned.name, pinned.version) == ("digits-classifier", "3")
    assert pinned.digest.startswith("sha256:012345")
    assert pinned.uri.startswith("s3://mlflow/2/")


@pytest.mark.parametrize("scenario", SCENARIOS[:3], ids=lambda path: path.stem)
def test_the_smoke_test_takes_its_settings(scenario: Path) -> None:
    given = variables(render(scenario), "Job")
    # Both get the same description of the model. The smoke test ignores where it comes from.
    assert set(given) <= names(SmokeSettings) | {"MODEL_STAGE", "MODEL_URI"} | BY_OTHERS
    environment.read(SmokeSettings, given)


def test_the_smoke_test_checks_the_pin_and_moves_the_alias() -> None:
    settings = environment.read(SmokeSettings, variables(render(helm.CHARTS / "model-serving/ci/2-pinned.yaml"), "Job"))
    assert settings.model_version == "7"
    assert settings.model_digest.startswith("sha256:fedcba")
    assert settings.smoke_alias == "production"
    assert settings.smoke_url == "http://serving-staging:80"


def test_files_are_scored_by_the_settings_of_the_server_and_their_own() -> None:
    manifests = render(helm.CHARTS / "model-serving/ci/9-batch.yaml")
    # Kubernetes sets the index as an annotation of each pod.
    given = variables(manifests, "CronJob") | {"SCORE_SHARD": "3"}
    assert set(given) <= names(Settings) | names(ScoreSettings) | BY_OTHERS
    server = variables(manifests, "Deployment")
    assert {name: given[name] for name in server} == server
    settings = environment.read(ScoreSettings, given)
    assert (settings.score_shards, settings.score_shard, settings.kept) == (4, 3, ("id",))
    assert (settings.score_input, settings.score_format) == ("s3://tables/iris/**/*.parquet", "parquet")
    assert environment.read(Settings, given).model_version == "7"


@pytest.mark.parametrize(
    "values",
    [
        {"model": {"version": "8"}},
        {"model": {"version": "7", "digest": f"sha256:{'0' * 64}"}},
        {"image": {"digest": f"sha256:{'1' * 64}"}},
        {"settings": {"maxRows": 17}},
        {"shutdown": {"graceSeconds": 3}},
        {"extraModels": [{"name": "wine-classifier"}]},
    ],
    ids="-".join,
)
def test_a_change_of_the_server_replaces_its_pods(values: dict[str, Any], tmp_path: Path) -> None:
    changed = tmp_path / "values.yaml"
    changed.write_text(yaml.safe_dump(values), encoding="utf-8")
    pods = only(render(SCENARIOS[0]), "Deployment")["spec"]["template"]
    assert only(render(SCENARIOS[0], changed), "Deployment")["spec"]["template"] != pods


def test_a_change_outside_the_server_keeps_its_pods(tmp_path: Path) -> None:
    changed = tmp_path / "values.yaml"
    notes = {"chart": "0.2.0", "hold": {"reason": "rolled back"}, "metrics": {"accuracy": 0.5}}
    changed.write_text(yaml.safe_dump({"release": notes, "autoscaling": {"maxReplicas": 9}}), encoding="utf-8")
    pods = only(render(SCENARIOS[0]), "Deployment")["spec"]["template"]
    assert only(render(SCENARIOS[0], changed), "Deployment")["spec"]["template"] == pods
