"""`gitops check` on the project's own files, and on every kind of inconsistency."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import DIGEST, ROOT

RELEASE = f"""\
release: {{chart: 1.4.0, hold: null, metrics: {{accuracy: 0.97}}}}
image: {{repository: ghcr.io/a/b/serving, tag: 1.8.2, digest: "{DIGEST}"}}
model: {{name: MODEL, version: "7", digest: "{DIGEST}", uri: s3://mlflow/1/models/m-1/artifacts}}
"""


def write(path: str, text: str) -> Callable[[Path], None]:
    def act(fork: Path) -> None:
        (fork / path).parent.mkdir(parents=True, exist_ok=True)
        (fork / path).write_text(text)

    return act


def edit(path: str, before: str, after: str) -> Callable[[Path], None]:
    def act(fork: Path) -> None:
        text = (fork / path).read_text()
        assert before in text
        (fork / path).write_text(text.replace(before, after))

    return act


def link(fork: Path) -> None:
    (fork / "envs/production/iris/values.yaml").unlink()
    (fork / "envs/production/iris/values.yaml").symlink_to("../../staging/iris/values.yaml")


def found(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    said = json.loads(capsys.readouterr().out)
    return said["problems"], said["notes"]


def test_the_project_has_no_inconsistencies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert execute(["check", "--json"]) == 0
    assert found(capsys)[0] == []


def runs_on(runs_on: str, folder: str = ".github") -> Callable[[Path], None]:
    return write(f"{folder}/workflows/own.yml", f"on: push\njobs:\n  train: {{runs-on: {runs_on}, steps: []}}\n")


CASES = [
    (runs_on("self-hosted"), ".github/workflows/own.yml: the job train runs on self-hosted, your own runner"),
    (runs_on("[linux, self-hosted]"), "the job train runs on linux, your own runner"),
    (runs_on("{group: gpus, labels: [ubuntu-24.04]}"), "the job train runs on gpus, your own runner"),
    (runs_on("gpu", ".gitea"), ".gitea/workflows/own.yml: the job train runs on gpu, your own runner"),
    (edit("platform.yaml", "from: staging", "from: dev"), "production has `from: dev`"),
    (write("envs/dev/iris/values.yaml", ""), "envs/dev: platform.yaml has no such environment"),
    (write("envs/staging/pear/values.yaml", ""), "envs/staging/pear: there is no service 'pear'"),
    (write("envs/staging/iris/release.yaml", "release: {"), "envs/staging/iris/release.yaml is not valid YAML"),
    (write("envs/staging/iris/release.yaml", "release: {}"), "envs/staging/iris/release.yaml"),
    (
        write("envs/staging/iris/release.yaml", RELEASE.replace("MODEL", "pear")),
        "envs/staging/iris/release.yaml pins pear, but platform.yaml says that iris serves iris-classifier",
    ),
    (
        write("envs/production/iris/values.yaml", "ingress: {hosts: [IRIS-staging.localhost]}"),
        "production/iris uses the host IRIS-staging.localhost, which staging/iris already has",
    ),
    (
        write("envs/production/iris/values.yaml", "ingress: {host: x}\n"),
        "envs/production/iris/values.yaml: the chart model-serving has no value ingress.host",
    ),
    (
        write("envs/staging/values.yaml", "replicas: 2\n"),
        "envs/staging/values.yaml: the chart model-serving has no value",
    ),
    (
        write("envs/staging/values.yaml", 'autoscaling: {enabled: true, maxReplicas: "3"}\n'),
        "envs/staging/values.yaml: autoscaling.maxReplicas is '3', but must be a whole number",
    ),
    (
        write("envs/staging/values.yaml", "autoscaling: {minReplicas: 0}\n"),
        "autoscaling.minReplicas is 0, but must be at least 1",
    ),
    (write("envs/values.yaml", "autoscaling: [1]\n"), "autoscaling is a list, but must be a mapping"),
    (
        write("envs/values.yaml", "settings: {logLevel: loud}\n"),
        "settings.logLevel is 'loud', but must be one of debug",
    ),
    (write("envs/values.yaml", "extraEnv: [{name: 5}]\n"), "extraEnv[0].name is 5, but must be text"),
    (
        write("envs/values.yaml", "autoscaling: {targetCPU: 2 cores}\n"),
        "targetCPU is '2 cores', but must be text of the form",
    ),
    (write("envs/values.yaml", "settings:\n#  maxRows: 5\n"), "settings is empty, but needs a value"),
    (write("envs/values.yaml", "settings: {maxRows: 1}\nsettings: {maxRows: 2}\n"), "the key 'settings' occurs twice"),
    (write("envs/staging/iris/values.yml", ""), "envs/staging/iris/values.yml: nothing reads a file of this name"),
    (write("envs/staging/tuning.yaml", ""), "envs/staging/tuning.yaml: nothing reads a file of this name"),
    (write("envs/staging/iris/more/values.yaml", ""), "iris/more/values.yaml: nothing reads a file of this name"),
    (write("envs/value.yaml", ""), "envs/value.yaml: nothing reads a file of this name"),
    (
        write("models/pear/training.yml", ""),
        "models/pear/training.yml: nothing reads a file of this name: call it training",
    ),
    (write("charts/mlflow/values.schema.json", "<<<<<<<\n{"), "charts/mlflow/values.schema.json is not valid JSON"),
    (write("training/training.schema.json", "{"), "training/training.schema.json is not valid JSON"),
    (write("envs/values.yaml", "- a\n"), "envs/values.yaml holds no values"),
    (write("envs/platform/minio.yaml", "storage: {siez: 1Gi}\n"), "the chart minio has no value storage.siez"),
    (write("envs/platform/mlflow.yaml", "a: [\n"), "envs/platform/mlflow.yaml is not valid YAML"),
    (link, "envs/production/iris/values.yaml is a symbolic link"),
    (
        write("envs/staging/iris/values.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "envs/staging/iris/values.yaml is stored in Git LFS",
    ),
    (edit("platform.yaml", '"@OWNER"', '"@flora/iris"'), "add the line `/envs/*/iris/ @flora/iris` at its end"),
    (write(".github/CODEOWNERS", "/docs/ @a\n"), "nobody owns /envs/production/"),
    (edit("platform.yaml", "branch: main", "argocd: {vendored: true}"), "argocd/vendored/install.yaml is missing"),
    (write("argocd/identity.yaml", "repository: x\n"), "argocd/identity.yaml: left from the layout before version 0.2"),
    (write("envs/staging/release.yaml", "release: {}\n"), "envs/staging/release.yaml: left from the layout before"),
]


@pytest.mark.parametrize(("act", "named"), CASES, ids=[named[:40] for _, named in CASES])
def test_each_inconsistency_is_a_sentence(
    fork: Path, act: Callable[[Path], None], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["check", "--json"]) == 0
    capsys.readouterr()
    act(fork)
    assert execute(["check", "--json"]) == 2
    assert named in "\n".join(found(capsys)[0])


@pytest.mark.parametrize(
    "values",
    [
        "autoscaling: {enabled: yes}\n",  # YAML 1.1, as Helm reads it
        "settings: {maxRows: 5_000}\n",
        "autoscaling: {maxReplicas: 3.0}\n",
        "resources: {limits: {cpu: null}}\n",
        "shadow:\n",
        "podAnnotations: {a: 'yes'}\n",
        "autoscaling: {maxReplicas: 3}\r\nsettings: {maxRows: 5}\r\n",
        "# nothing\n",
        "",
    ],
)
def test_values_that_helm_accepts_are_no_problem(fork: Path, values: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("envs/values.yaml", values)(fork)
    assert execute(["check", "--json"]) == 0
    assert found(capsys)[0] == []


def test_a_pattern_that_only_helm_understands_refuses_nothing(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = {"properties": {"name": {"type": "string", "pattern": "^\\pL+$"}}}
    (fork / "charts/mlflow/values.schema.json").write_text(json.dumps(schema))
    write("envs/platform/mlflow.yaml", "name: a\n")(fork)
    assert execute(["check", "--json"]) == 0
    assert found(capsys)[0] == []


def test_a_vendored_manifest_of_another_version_is_reported(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("platform.yaml", "branch: main", "argocd: {vendored: true}")(fork)
    write("argocd/vendored/install.yaml", "image: quay.io/argoproj/argocd:v0.1.0\n")(fork)
    assert execute(["check"]) == 2
    assert "install.yaml is Argo CD v0.1.0" in " ".join(capsys.readouterr().err.split())


def test_models_that_training_would_refuse_are_problems(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = "training/training.schema.json"
    write(schema, (ROOT / schema).read_text())(fork)
    write("models/plum/training.yaml", "name: plum\ndata: iris\nnme: x\ngate: {treshold: {}}\n")(fork)
    write("models/fig/training.yaml", "name: [\n")(fork)
    write("models/pear/training.yaml", "data: iris\n")(fork)
    write("models/cherry/training.yaml", "name: plum\ndata: wine\n")(fork)
    write("models/cherry/values.yaml", "data: {secret: login}\n")(fork)
    values = "charts/training/values.schema.json"
    write(values, (ROOT / values).read_text())(fork)
    write("models/melon/training.yaml", "name: melon\ndata: 5\nparams: 5\n")(fork)
    write("models/kiwi/training.yaml", "name: kiwi\ndata: tables/kiwi.csv\n")(fork)
    for name, data in (("lime", "lime.csv"), ("date", "s3://tables/date.csv"), ("sloe", "/data/sloe.csv")):
        write(f"models/{name}/training.yaml", f"name: {name}\ndata: {data}\n")(fork)
    write("models/lime/lime.csv", "a,b\n1,2\n")(fork)
    assert execute(["check", "--json"]) == 2
    said = "\n".join(found(capsys)[0])
    assert "models/plum/training.yaml: there is no setting nme" in said
    assert "models/plum/training.yaml: there is no setting gate.treshold" in said
    assert "models/fig/training.yaml is not valid YAML" in said
    assert "models/pear/training.yaml: name must be set" in said
    assert "models/cherry and models/plum register the same model 'plum'" in said
    assert "models/cherry/values.yaml: the chart training has no value data.secret" in said
    assert "models/melon/training.yaml: params is 5, but must be a mapping" in said
    assert "models/melon/training.yaml: data must be set, as text" in said
    assert "data is 5" not in said
    assert "models/kiwi/training.yaml: data: 'tables/kiwi.csv' is not next to this file" in said
    assert not any(name in said for name in ("lime", "date", "sloe"))


def test_harmless_findings_are_notes(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("envs/staging/iris/release.yaml", RELEASE.replace("MODEL", "iris-classifier"))(fork)
    write("models/pear/training.yaml", "name: pear-classifier\ndata: iris\n")(fork)
    write("apps/extra/broken.yaml", "a: [\n")(fork)
    write("apps/extra/odd.yaml", "a: 1\n")(fork)
    write("apps/extra/fine.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: x}\nspec: {a: [=]}\n")(fork)
    assert execute(["check", "--json"]) == 0
    problems, notes = found(capsys)
    said = "\n".join(notes)
    assert problems == []
    assert "production/iris was never released, but staging was: run `gitops promote production/iris`" in said
    assert "models/pear trains pear-classifier, which no service serves" in said
    assert "apps/extra/broken.yaml is not valid YAML" in said
    assert "apps/extra/odd.yaml holds something" in said
    assert "fine.yaml" not in said


@pytest.mark.parametrize("private", [True, False])
def test_self_hosted_runners_are_only_for_private_repositories(
    fork: Path, private: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_on("[self-hosted, gpu]")(fork)
    write(".github/workflows/theirs.yml", "jobs: {a: {runs-on: ubuntu-24.04}, b: {runs-on: '${{ vars.RUNNER }}'}}")(
        fork
    )
    if private:
        (fork / "platform.yaml").write_text((fork / "platform.yaml").read_text() + "visibility: private\n")
    assert execute(["check", "--json"]) == (0 if private else 2)
    named = [problem for problem in found(capsys)[0] if "runner" in problem]
    assert ["own.yml" in problem for problem in named] == ([] if private else [True])
