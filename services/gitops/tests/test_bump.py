"""`gitops bump` with a stand-in for MLflow and real git: what it pins, where it pushes, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import UNSET

from gitops.cli import execute
from gitops.pins.release import read_release
from services.gitops.tests.conftest import DIGEST, PLATFORM, add_service, commit_all, git, release_file
from services.gitops.tests.mlflow_answers import TAGS, answering, as_mlflow

IMAGE = f"registry.example.com/acme/serving:1.8.2@{DIGEST}"
STAGING = release_file("staging")


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """The address of a registry with one version."""
    with answering(as_mlflow) as (url, _):
        yield url


def bump(*options: str, target: str = "staging/iris") -> int:
    return execute(["bump", *([target] if target else []), *options])


@pytest.fixture
def released(fork: Path, origin: Path, model: str) -> Path:
    """A clone and its remote, in which staging runs version 1."""
    assert bump("--image", IMAGE, "--model", "iris-classifier/1", "--chart", "0.1.0", "--mlflow-url", model) == 0
    return fork


def test_the_first_bump_pins_everything_and_keeps_other_edits(
    fork: Path, origin: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (fork / "apps" / "extra" / "mine.yaml").write_text("# half-finished work\n")
    git(fork, "add", "apps/extra/mine.yaml")
    (fork / "notes.txt").write_text("mine\n")
    options = ["--image", IMAGE, "--model", "iris-classifier@candidate", "--chart", "0.1.0", "--mlflow-url", model]
    assert bump(*options, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert git(origin, "rev-parse", "main") == git(fork, "rev-parse", "HEAD") == said["commit"]
    pins = read_release((fork / STAGING).read_text(), "file")
    assert (pins.model.version, pins.model.digest, pins.model.uri) == ("1", DIGEST, "s3://mlflow/1/models/m-1")
    assert (pins.image.tag, pins.image.digest, pins.release.chart) == ("1.8.2", DIGEST, "0.1.0")
    assert pins.release.metrics == {"accuracy": 0.973684, "log_loss": 0.11}
    assert git(origin, "show", "--name-only", "--format=%s", said["commit"]).split("\n") == [
        "bump(staging/iris): image 1.8.2, iris-classifier 1, chart 0.1.0",
        "",
        str(STAGING),
    ]
    assert git(fork, "status", "--porcelain").split("\n") == ["A  apps/extra/mine.yaml", "?? notes.txt"]


def test_a_later_bump_changes_only_the_pins_it_names(
    released: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (released / STAGING).read_text()
    capsys.readouterr()
    assert bump("--chart", "0.2.0", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "commit": (commit := git(origin, "rev-parse", "main")),
        "attempts": 1,
        "targets": [
            {
                "target": "staging/iris",
                "files": [str(STAGING)],
                "changes": [{"pin": "chart", "before": "0.1.0", "after": "0.2.0"}],
                "commit": commit,
                "left_alone": "",
                "branch": None,
                "url": None,
            }
        ],
    }
    assert (released / STAGING).read_text() == before.replace("chart: 0.1.0", "chart: 0.2.0")
    assert "\nchart: 0.1.0 -> 0.2.0" in git(origin, "show", "--no-patch", "--format=%B", "main")


def test_the_variant_for_batch_scoring_is_pinned_with_the_image(
    released: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pinned() -> object:
        return read_release((released / STAGING).read_text(), "file").image.batch_digest

    repository, batch = IMAGE.partition(":")[0], "sha256:" + "b" * 64
    # The schema of a chart without batch scoring would refuse it.
    assert bump("--batch-image", f"1.8.2-batch@{batch}") == 0
    assert pinned() is UNSET
    assert bump("--chart", "0.2.0", "--batch-image", f"1.8.2-batch@{batch}") == 0
    assert pinned() == batch
    assert f"\nimage.batchDigest: - -> {batch}" in git(origin, "show", "--no-patch", "--format=%B", "main")
    # Another chart keeps it, but another image removes it.
    assert bump("--chart", "0.2.1") == 0
    assert pinned() == batch
    assert bump("--image", "1.8.3@sha256:" + "c" * 64) == 0
    assert pinned() is UNSET
    assert "batchDigest" not in (released / STAGING).read_text()
    assert bump("--image", IMAGE, "--batch-image", f"{repository}:1.8.2-batch@{batch}") == 0
    assert pinned() == batch
    capsys.readouterr()
    assert bump("--batch-image", f"registry.example.com/other/serving:1@{batch}") == 2
    assert "is not the repository of the image" in capsys.readouterr().err
    assert bump("--batch-image", "1.8.2-batch") == 2
    assert "--batch-image: '1.8.2-batch' has no digest" in capsys.readouterr().err


def test_a_commit_has_the_reason_of_the_training_from_the_registry(
    released: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "ModelInputDrift since\nnoon: x. " + "y" * 600

    def answer(path: str, before: int) -> tuple[int, bytes]:
        status, body = as_mlflow(path, before)
        said = json.loads(body)
        if version := said.get("model_version"):
            version["version"] = "2"
            version["tags"].append({"key": "reason", "value": why})
        return status, json.dumps(said).encode()

    with answering(answer) as (url, _):
        assert bump("--model", "@candidate", "--mlflow-url", url) == 0
        message = git(origin, "show", "--no-patch", "--format=%B", "main")
        assert message.split("\n")[2] == "Trained because: ModelInputDrift since noon: x. ..."
        assert message.split("\n")[3:5] == ["", "model.version: 1 -> 2"]
        # The reason belongs to the model, and only the image changed.
        assert bump("--image", IMAGE.replace("1.8.2", "1.8.3"), "--model", "@candidate", "--mlflow-url", url) == 0
    assert "Trained because" not in git(origin, "show", "--no-patch", "--format=%B", "main")


def test_a_bump_without_changes_makes_no_commit(
    released: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert bump("--chart", "0.1.0", "--image", IMAGE) == 0
    assert "needs no change" in capsys.readouterr().out
    assert git(origin, "rev-parse", "main") == before


def test_the_release_name_is_pinned_if_the_chart_supports_it(released: Path, model: str) -> None:
    def pinned() -> object:
        return read_release((released / STAGING).read_text(), "file").model.release

    assert pinned() is UNSET
    assert bump("--model", "1", "--chart", "0.2.0", "--mlflow-url", model) == 0
    assert pinned() == TAGS["release"]
    assert bump("--chart", "0.1.0") == 0
    assert pinned() is UNSET


def test_short_forms_refer_to_the_present_pins(released: Path, model: str) -> None:
    other = "sha256:" + "ab" * 32
    assert bump("--image", f"1.9.0@{other}", "--model", "@candidate", "--mlflow-url", model) == 0
    assert bump("--model", "1", "--mlflow-url", model) == 0
    pins = read_release((released / STAGING).read_text(), "file")
    assert (pins.image.repository, pins.image.tag) == ("registry.example.com/acme/serving", "1.9.0")
    assert pins.image.digest == other


def test_no_push_commits_locally_and_a_dry_run_commits_nothing(
    released: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert bump("--chart", "0.2.0", "--dry-run") == 0
    assert "0.2.0" in capsys.readouterr().out
    assert git(released, "rev-parse", "HEAD") == before
    assert bump("--chart", "0.2.0", "--no-push") == 0
    assert git(released, "rev-parse", "HEAD~1") == git(origin, "rev-parse", "main") == before
    assert "chart: 0.2.0" in (released / STAGING).read_text()
    assert git(released, "status", "--porcelain") == ""


def test_a_file_with_uncommitted_edits_is_not_overwritten(
    released: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = (released / STAGING).read_text() + "# a thought\n"
    (released / STAGING).write_text(edited)
    assert bump("--chart", "0.2.0", "--no-push") == 2
    assert "changes that are not committed" in capsys.readouterr().err
    assert bump("--chart", "0.2.0") == 0
    assert "is not updated" in capsys.readouterr().err
    assert (released / STAGING).read_text() == edited
    assert "chart: 0.2.0" in git(origin, "show", f"main:{STAGING}")


def test_local_commits_are_not_pushed_along(released: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (released / "notes.txt").write_text("mine\n")
    mine = commit_all(released, "not reviewed yet")
    assert bump("--chart", "0.2.0") == 0
    assert "git pull --rebase" in capsys.readouterr().err
    assert git(released, "rev-parse", "HEAD") == mine
    assert "not reviewed yet" not in git(origin, "log", "--format=%s", "main")


@pytest.mark.parametrize("checkout", ["--quiet --detach", "--quiet -b feature"])
def test_the_main_branch_gets_the_commit_whatever_is_checked_out(released: Path, origin: Path, checkout: str) -> None:
    git(released, "checkout", *checkout.split())
    head = git(released, "rev-parse", "HEAD")
    assert bump("--chart", "0.2.0") == 0
    assert git(released, "rev-parse", "HEAD") == head
    assert git(released, "rev-parse", "main") == git(origin, "rev-parse", "main") != head


def test_the_platforms_images_are_pinned_in_files_that_upstream_never_changes(fork: Path, origin: Path) -> None:
    pins = {name: fork / "envs" / "platform" / "pins" / f"{name}.yaml" for name in ("mlflow", "training")}
    images = [f"{name}=registry.example.com/acme/{name}:1.8.2@{DIGEST}" for name in pins]
    assert bump("--image", images[0], "--image", images[1], target="platform") == 0
    for name, path in pins.items():
        image = {"repository": f"registry.example.com/acme/{name}", "tag": "1.8.2", "digest": DIGEST}
        assert yaml.safe_load(path.read_text()) == {"image": image}
    assert git(origin, "log", "-1", "--format=%s", "main") == "bump(platform): mlflow 1.8.2, training 1.8.2"
    remarked = pins["mlflow"].read_text().replace("image:", "# asked for by Ada\nimage:")
    pins["mlflow"].write_text(remarked)
    commit_all(fork, "remark")
    git(fork, "push", "--quiet")
    assert bump("--image", images[0].replace("1.8.2", "1.9.0"), target="platform") == 0
    assert pins["mlflow"].read_text() == remarked.replace("1.8.2", "1.9.0")
    assert git(origin, "show", "--name-only", "--format=", "main") == "envs/platform/pins/mlflow.yaml"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--image", f"registry.example.com/acme/mlflow:1.8.2@{DIGEST}"], "does not name the part"),
        (["--image", f"mlflow=1.8.2@{DIGEST}"], "has no tag"),
        (["--image", f"grafana=registry.example.com/grafana:1.8.2@{DIGEST}"], "no part 'grafana'"),
        (["--image", f"observability=registry.example.com/o:1.8.2@{DIGEST}"], "no image.repository"),
        (["--chart", "0.1.0"], "neither --model nor --chart"),
    ],
)
def test_invalid_pins_of_the_platform_are_refused(
    fork: Path, origin: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bump(*options, target="platform") == 2
    assert named in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model", "iris-classifier"], "neither NAME/VERSION nor NAME@ALIAS"),
        (["--image", "registry.example.com/flora/serving:1.8.2"], "has no digest"),
        (["--chart", "main"], "--chart"),
        (["--model", "wine/1"], "another registered model"),
        (["--image", IMAGE, "--image", IMAGE], "runs one image"),
        ([], "--image, --model or --chart"),
        (["--model", "iris-classifier/1", "--chart", "0.1.0"], "its first release needs"),
    ],
)
def test_invalid_pins_are_refused_and_nothing_is_written(
    fork: Path, origin: Path, model: str, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert bump(*options, "--mlflow-url", model) == 2
    assert named in capsys.readouterr().err
    assert git(fork, "status", "--porcelain") == ""
    assert git(origin, "rev-parse", "main") == before


def test_an_unknown_environment_is_refused_with_a_list_of_the_known(
    fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bump("--chart", "0.1.0", target="qa") == 2
    assert "the environments staging and production" in capsys.readouterr().err


def test_the_command_itself_is_installed() -> None:
    command = Path(sys.executable).with_name("gitops")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip()


@pytest.fixture
def two_services(released: Path, origin: Path) -> Path:
    """Staging runs both iris and wine."""
    add_service(released, "wine", "wine-classifier")
    pins = (released / STAGING).read_text().replace("iris-classifier", "wine-classifier")
    wine = released / release_file("staging", "wine")
    wine.parent.mkdir()
    wine.write_text(pins)
    commit_all(released, "wine")
    git(released, "push", "--quiet")
    return released


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """Return the result for each target."""
    return {entry["target"]: entry for entry in json.loads(capsys.readouterr().out)["targets"]}


def test_a_bump_of_an_environment_is_one_push_with_a_commit_per_service(
    two_services: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_service(two_services, "roses", "roses-classifier")
    commit_all(two_services, "roses, not released")
    git(two_services, "push", "--quiet")
    pushes = origin / "pushes"
    hook = origin / "hooks" / "post-receive"
    hook.write_text(f"#!/bin/sh\necho pushed >>{pushes}\n")
    hook.chmod(0o755)
    before = git(origin, "rev-parse", "main")
    capsys.readouterr()
    assert bump("--chart", "0.2.0", "--json", target="staging") == 0
    outcome = said(capsys)
    assert git(origin, "log", "--format=%H", f"{before}..main").split() == [
        outcome["staging/wine"]["commit"],
        outcome["staging/iris"]["commit"],
    ]
    assert outcome["staging/roses"]["left_alone"] == "nothing is released there"
    assert pushes.read_text() == "pushed\n"


def test_a_held_service_stops_no_other_and_the_code_is_3_only_if_all_are_held(
    two_services: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["hold", "staging/wine", "--reason", "wrong answers"]) == 0
    assert bump("--chart", "0.2.0", target="staging") == 0
    assert "staging/wine is not changed: staging/wine is held: wrong answers" in " ".join(
        capsys.readouterr().err.split()
    )
    assert "chart: 0.2.0" in git(origin, "show", f"main:{STAGING}")
    assert "chart: 0.1.0" in git(origin, "show", f"main:{release_file('staging', 'wine')}")
    assert execute(["hold", "staging", "--reason", "freeze"]) == 0
    assert bump("--chart", "0.3.0", target="staging") == 3


def test_an_invalid_file_stops_no_other_service(
    two_services: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two_services / release_file("staging", "wine")).write_text("release: [\n")
    commit_all(two_services, "broken")
    git(two_services, "push", "--quiet")
    assert bump("--chart", "0.2.0", target="staging") == 2
    assert "is not valid YAML" in capsys.readouterr().err
    assert "chart: 0.2.0" in git(origin, "show", f"main:{STAGING}")
    # The message names a command that helps.
    assert execute(["rollback", "staging/wine"]) == 0
    assert read_release(git(origin, "show", f"main:{release_file('staging', 'wine')}"), "file").release.chart == "0.1.0"


@pytest.mark.parametrize(
    ("target", "options", "named"),
    [
        ("production/iris", ["--chart", "0.1.0"], "gitops promote production/iris"),
        ("staging/lilies", ["--chart", "0.1.0"], "There is no service 'lilies'"),
        ("staging", ["--model", "@candidate"], "staging has 2 services"),
    ],
)
def test_an_invalid_target_of_a_bump_is_refused(
    two_services: Path, origin: Path, target: str, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert bump(*options, target=target) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert git(origin, "rev-parse", "main") == before


def test_a_bump_keeps_the_shadow_and_drops_the_digest_of_another_chart_version(released: Path, origin: Path) -> None:
    text = (released / STAGING).read_text().replace("chart: 0.1.0", f"chart: 0.2.0\n  chartDigest: {DIGEST}")
    shadow = f'shadow: {{version: "2", release: v1.1.0, digest: {DIGEST}, uri: s3://mlflow/1/models/m-2}}\n'
    (released / STAGING).write_text(text + shadow)
    commit_all(released, "a shadow")
    git(released, "push", "--quiet")
    other = "sha256:" + "ab" * 32
    assert bump("--image", f"1.9.0@{other}") == 0
    assert f"chartDigest: {DIGEST}" in (released / STAGING).read_text()
    assert bump("--chart", "0.3.0") == 0
    assert "chartDigest" not in (released / STAGING).read_text()
    assert shadow in (released / STAGING).read_text()


def test_line_ends_and_comments_stay_byte_for_byte(released: Path, origin: Path) -> None:
    text = (released / STAGING).read_text().replace("hold: null", "hold: ~").replace("0.11", "1.1e-01") + "...\n"
    written = text.replace("\n", "\r\n").encode()
    (released / STAGING).write_bytes(written)
    commit_all(released, "from another editor")
    git(released, "push", "--quiet")
    assert bump("--chart", "0.2.0") == 0
    assert (released / STAGING).read_bytes() == written.replace(b"chart: 0.1.0", b"chart: 0.2.0")


def test_a_new_version_is_pinned_in_every_environment_without_from(
    two_services: Path, origin: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training only names the model: platform.yaml has its service, and here a second environment without `from`."""
    edited = (two_services / PLATFORM).read_text()
    (two_services / PLATFORM).write_text(edited.replace("{name: staging}", "{name: staging}\n  - {name: trial}"))
    pins = (two_services / STAGING).read_text().replace('version: "1"', 'version: "9"')
    trial, production = release_file("trial"), release_file("production")
    for file in (trial, production):
        (two_services / file).parent.mkdir(parents=True, exist_ok=True)
        (two_services / file).write_text(pins)
    commit_all(two_services, "a trial")
    git(two_services, "push", "--quiet")
    assert execute(["hold", "staging/iris", "--reason", "under observation"]) == 0
    capsys.readouterr()
    assert execute(["bump", "--model", "iris-classifier@candidate", "--mlflow-url", model, "--json"]) == 0
    outcome = said(capsys)
    assert outcome.keys() == {"staging/iris", "trial/iris"}
    assert [name for name, entry in outcome.items() if entry["commit"]] == ["trial/iris"]
    assert "under observation" in outcome["staging/iris"]["left_alone"]
    assert read_release(git(origin, "show", f"main:{trial}"), "file").model.version == "1"
    assert read_release(git(origin, "show", f"main:{production}"), "file").model.version == "9"


def test_an_image_without_a_target_is_pinned_for_all_services_without_from(two_services: Path, origin: Path) -> None:
    assert bump("--chart", "0.2.0", target="") == 0
    for service in ("iris", "wine"):
        assert "chart: 0.2.0" in git(origin, "show", f"main:{release_file('staging', service)}")


def test_a_model_that_no_service_serves_is_reported_without_failure(
    fork: Path, origin: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fork / PLATFORM
    file.write_text(file.read_text().replace("iris-classifier", "pear-classifier"))
    commit_all(fork, "another model")
    git(fork, "push", "--quiet")
    before = git(origin, "rev-parse", "main")
    assert execute(["bump", "--model", "iris-classifier@candidate", "--mlflow-url", model]) == 0
    assert "No service serves iris-classifier" in " ".join(capsys.readouterr().err.split())
    assert git(origin, "rev-parse", "main") == before


def test_without_a_target_a_model_needs_its_name(
    fork: Path, origin: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["bump", "--model", "@candidate", "--mlflow-url", model]) == 2
    assert "neither NAME/VERSION nor NAME@ALIAS" in capsys.readouterr().err
