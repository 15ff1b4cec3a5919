"""`gitops migrate` on a fork with the previous version's own files, after releases, tuning and bumps."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitops.cli import execute
from gitops.documents import loaded, loaded_all
from gitops.files import write_whole
from gitops.fork import migrate, previous
from gitops.platform.reader import load_platform
from gitops.platform.targets import targets
from services.gitops.tests.conftest import DIGEST, ROOT, commit_all, git

PREVIOUS = ROOT / "tests/e2e/argocd/previous"
HELM = ROOT / ".cache/tools/bin/helm"
PLACES = {
    "https://github.com/OWNER/NAME": "https://git.example.com/flora/petals",
    "ghcr.io/OWNER/NAME": "registry.example.com/flora/petals",
    "OWNER/NAME": "flora/petals",
}
RELEASE = f"""\
# What runs here.
release:
  chart: 1.4.0  # the third
  hold: null
  metrics: {{accuracy: 0.97}}
image: {{repository: registry.example.com/flora/petals/serving, tag: 1.8.2, digest: "{DIGEST}"}}
model: {{name: iris-classifier, version: "7", digest: "{DIGEST}", uri: s3://mlflow/1/models/m-1/artifacts}}
"""


def old_files(folder: Path) -> None:
    """Write the files of a fork of the previous version after adopting, releasing, tuning and bumping."""
    for path in PREVIOUS.rglob("*.yaml"):
        text = path.read_text()
        for upstream, own in PLACES.items():
            text = text.replace(upstream, own)
        file = folder / path.relative_to(PREVIOUS)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    identity = (
        "repository: https://git.example.com/flora/petals.git\n"
        "registry: registry.example.com/flora/petals\nplainHttp: true\nadopted: true\n"
    )
    (folder / "argocd/identity.yaml").write_text(identity)
    for name in ("staging", "production"):
        (folder / "envs" / name / "release.yaml").write_text(RELEASE)
        tuning = folder / "envs" / name / "values.yaml"
        tuning.write_text(tuning.read_text() + "# ours, since the outage\nnodeSelector: {disk: fast}\n")
    (folder / "envs/platform").mkdir(exist_ok=True)
    (folder / "envs/platform/mlflow.yaml").write_text(
        "# No Ingress.\nimage:\n  repository: registry.example.com/flora/petals/mlflow\n"
        f"  tag: 1.0.0\n  digest: {DIGEST}\n# Two, for we are many.\nworkers: 2\n"
    )
    (folder / "envs/platform/training.yaml").write_text(
        "image:\n  repository: registry.example.com/flora/petals/training\n  tag: ''\n  digest: ''\n"
        "config:\n  data: iris\n  gate:\n    thresholds: {accuracy: 0.9}\n# By hand.\nsuspend: true\n"
        'schedule: "0 4 * * 1"\n'
    )


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fork of the previous version, before a merge of the new one."""
    folder = tmp_path / "old"
    folder.mkdir()
    old_files(folder)
    (folder / ".github").mkdir()
    (folder / ".github/CODEOWNERS").write_text("* @flora\n")
    git(folder, "init", "--quiet", "--template=", "--initial-branch", "main")
    commit_all(folder, "ours")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def merged(fork: Path) -> Path:
    """A fork of the previous version, after a merge of the new version's files."""
    for name in ("staging", "production"):
        (fork / "envs" / name / "values.yaml").unlink(missing_ok=True)
    old_files(fork)
    commit_all(fork, "merged")
    return fork


def objects(arguments: list[str | Path], folder: Path) -> dict[tuple[str, str], Any]:
    """Return the objects of the serving chart, by kind and name."""
    command = [HELM, "template", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = [entry for entry in loaded_all(done.stdout) if entry]
    return {(entry["kind"], entry["metadata"]["name"]): entry for entry in found}


@pytest.mark.parametrize("kind", ["old", "merged"])
def test_objects_keep_their_names_and_selectors(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fork: Path = request.getfixturevalue(kind)
    before = tmp_path / "before"
    shutil.copytree(fork / "envs", before)
    assert execute(["migrate"]) == 0
    platform = load_platform(fork)
    assert (platform.repository, platform.registry.prefix) == (
        "https://git.example.com/flora/petals.git",
        "registry.example.com/flora/petals",
    )
    assert platform.registry.plain_http
    assert [(entry.name, entry.source) for entry in platform.environments] == [
        ("staging", ""),
        ("production", "staging"),
    ]
    (service,) = platform.services
    assert (service.name, service.model, service.legacy_name) == ("iris", "iris-classifier", "serving")

    for target in targets(platform):
        name = target.environment.name
        assert target.release_name == f"serving-{name}"
        assert (fork / target.file).read_text() == RELEASE
        chart = ROOT / "charts/model-serving"
        files = [part for path in target.values_files if (fork / path).is_file() for part in ("-f", fork / path)]
        now = objects([target.release_name, chart, *files, "--set", f"smoke.alias={name}"], fork)
        old_values: list[str | Path] = ["-f", before / name / "values.yaml", "-f", before / name / "release.yaml"]
        then = objects([f"serving-{name}", chart, *old_values], fork)
        assert {key for key in now if key[0] != "ConfigMap"} == {key for key in then if key[0] != "ConfigMap"}
        for key in now.keys() & then.keys():
            assert now[key].get("spec", {}).get("selector") == then[key].get("spec", {}).get("selector")
        deployment = now["Deployment", f"serving-{name}"]["spec"]["template"]["spec"]
        assert deployment["nodeSelector"] == {"disk": "fast"}


@pytest.mark.parametrize("kind", ["old", "merged"])
def test_own_settings_are_kept_and_derived_ones_removed(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    fork: Path = request.getfixturevalue(kind)
    assert execute(["migrate", "--service", "petals"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    tuning = (fork / "envs/production/petals/values.yaml").read_text()
    assert "# ours, since the outage\nnodeSelector: {disk: fast}\n" in tuning
    assert "smoke" not in tuning
    assert loaded(tuning)["ingress"]["hosts"] == ["serving.localhost"]
    assert not (fork / "envs/production/values.yaml").exists()
    pins = loaded((fork / "envs/platform/pins/mlflow.yaml").read_text())
    assert pins == {
        "image": {"repository": "registry.example.com/flora/petals/mlflow", "tag": "1.0.0", "digest": DIGEST}
    }
    assert (fork / "envs/platform/mlflow.yaml").read_text() == "# No Ingress.\n# Two, for we are many.\nworkers: 2\n"
    assert loaded((fork / "envs/platform/training.yaml").read_text()) == {"schedule": "0 4 * * 1"}
    assert "schedule now belongs in models/NAME/training.yaml" in said
    assert not (fork / "argocd/identity.yaml").exists()
    commit_all(fork)
    assert execute(["migrate"]) == 2
    assert "no earlier layout here" in capsys.readouterr().err


def test_old_files_of_upstream_are_removed_and_those_of_people_stay(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (merged / "apps/mlflow.yaml").write_text((merged / "apps/mlflow.yaml").read_text() + "# ours\n")
    own = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: ours}\n"
    (merged / "apps/ours.yaml").write_text(own)
    assert execute(["migrate"]) == 0
    assert "by hand: apps/mlflow.yaml was changed here" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in (merged / "apps").glob("*.yaml")) == [
        "Chart.yaml",
        "mlflow.yaml",
        "notifications.yaml",
        "values.yaml",
    ]
    assert (merged / "apps/notifications.yaml").is_symlink(), "it is upstream's, and leads to what the chart reads"
    assert (merged / "apps/extra/ours.yaml").read_text() == own
    assert not list((merged / "argocd/projects").glob("*"))
    (merged / "apps/mlflow.yaml").unlink()
    # Check lists what is left to do by hand; everything else is consistent.
    (merged / "envs/platform/training.yaml").unlink()
    code = execute(["check"])
    assert code == 0, capsys.readouterr().err


def test_upstreams_placeholders_are_restored(old: Path) -> None:
    assert execute(["migrate"]) == 0
    for name, digest in previous.FILES.items():
        if (old / name).is_file():
            assert hashlib.sha256((old / name).read_bytes()).hexdigest() == digest
    assert "registry.example.com" in (old / "envs/staging/iris/release.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["old", "merged"])
def test_a_second_run_completes_a_migration_that_was_killed_at_any_step(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork: Path = request.getfixturevalue(kind)
    git(fork, "branch", "before")
    assert execute(["migrate"]) == 0
    whole = commit_all(fork, "migrated")
    wanted = git(fork, "rev-parse", f"{whole}^{{tree}}")

    steps = 0
    while True:
        git(fork, "reset", "--quiet", "--hard", "before")
        git(fork, "clean", "--quiet", "-ffd")
        steps += 1
        left = steps

        def killed(action: Any) -> Any:
            def act(*arguments: Any) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                action(*arguments)

            return act

        with monkeypatch.context() as patched:
            patched.setattr("gitops.fork.migrate.write_whole", killed(write_whole))
            patched.setattr(migrate._Moving, "remove", killed(migrate._Moving.remove))
            first = execute(["migrate"])
        if first == 0:
            break
        assert execute(["migrate"]) == 0
        git(fork, "add", "--all")
        assert git(fork, "write-tree") == wanted, f"after {steps} steps: {git(fork, 'diff', '--cached', whole)}"
    assert steps > 10


def test_a_vendored_manifest_is_moved(old: Path) -> None:
    manifest = "image: quay.io/argoproj/argocd:v3.6.1\n"
    kustomization = old / "argocd/install/kustomization.yaml"
    upstream = kustomization.read_text()
    address = next(line for line in upstream.splitlines() if "install.yaml" in line and "https" in line).strip("- ")
    kustomization.write_text(upstream.replace(address, "vendored.yaml"))
    (old / "argocd/install/vendored.yaml").write_text(manifest)
    assert execute(["migrate"]) == 0
    assert load_platform(old).argocd.vendored
    assert (old / "argocd/vendored/install.yaml").read_text() == manifest
    assert kustomization.read_text() == upstream


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("envs/staging/values.yaml", "a: [\n", "envs/staging/values.yaml is not valid YAML"),
        ("envs/staging/release.yaml", "release: {}\n", "envs/staging/release.yaml"),
        ("argocd/identity.yaml", "repository: 1\n", "argocd/identity.yaml cannot be used"),
    ],
)
def test_an_invalid_file_is_named(
    old: Path, file: str, text: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / file).write_text(text)
    assert execute(["migrate"]) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert (old / "argocd/identity.yaml").is_file()
