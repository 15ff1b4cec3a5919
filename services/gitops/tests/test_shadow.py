"""`gitops shadow`: it pins only the shadow; what it refuses, and how other commands treat a shadow."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gitops.cli import execute
from gitops.commands import shadowing
from gitops.pins.release import Release, Shadow, read_release
from services.gitops.tests import promotion_setup
from services.gitops.tests.conftest import DIGEST, git
from services.gitops.tests.github import GitHub
from services.gitops.tests.memory_cluster import WELL, MemoryCluster
from services.gitops.tests.mlflow_answers import answering, as_mlflow_of_many
from services.gitops.tests.promotion_setup import BRANCH, PRODUCTION, STAGING, push, release

# pytest finds fixtures by their names in the module.
clone, hub = promotion_setup.clone, promotion_setup.hub


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The address of a registry that has every version."""
    with answering(as_mlflow_of_many) as (url, _):
        yield url


@pytest.fixture(autouse=True)
def _asked_there(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)


@pytest.fixture
def both(clone: Path) -> Path:
    """Staging ran 1 and runs 2; production runs 1."""
    push(clone, "production", release(1), "promote(production/iris): iris 1")
    return clone


def pinned(folder: Path, file: Path = PRODUCTION, revision: str = "main") -> Release:
    return read_release(git(folder, "show", f"{revision}:{file}"), "file")


def shadowed(version: int, number: int, sample: float = 0.1) -> Release:
    shadow = Shadow(version=str(number), digest=DIGEST, uri=f"s3://mlflow/1/models/m-{number}/artifacts", sample=sample)
    return msgspec.structs.replace(release(version), shadow=shadow)


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    capsys.readouterr()
    assert execute(["shadow", *arguments]) == code
    return " ".join(capsys.readouterr().err.split())


def test_it_pins_only_the_shadow_also_with_a_from(both: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (both / PRODUCTION).read_bytes()
    capsys.readouterr()
    assert execute(["shadow", "production/iris", "--model", "2", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["targets"]
    assert {change["pin"].partition(".")[0] for change in told["changes"]} == {"shadow"}
    assert pinned(origin) == shadowed(1, 2)
    assert (both / PRODUCTION).read_bytes().startswith(before)
    assert git(origin, "show", "--name-only", "--format=%s", "main").splitlines() == [
        "shadow(production/iris): iris-classifier 2, 0.1 of the requests",
        "",
        str(PRODUCTION),
    ]

    commit = git(origin, "rev-parse", "main")
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert "needs no change" in capsys.readouterr().out
    assert git(origin, "rev-parse", "main") == commit

    assert execute(["shadow", "production/iris", "--sample", "0.5"]) == 0
    assert pinned(origin) == shadowed(1, 2, 0.5)
    # The share from the last command stays.
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert pinned(origin) == shadowed(1, 2, 0.5)

    assert execute(["history", "production/iris"]) == 0
    assert "shadow 2" in capsys.readouterr().out
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert (both / PRODUCTION).read_bytes() == before
    assert git(origin, "log", "-1", "--format=%s", "main") == "shadow(production/iris): off"
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert "needs no change" in capsys.readouterr().out


def test_a_version_that_staging_ran_earlier_is_allowed(both: Path, origin: Path) -> None:
    push(both, "staging", release(3), "bump(staging/iris): iris 3")
    assert execute(["shadow", "production/iris", "--model", "2", "--sample", "1"]) == 0
    assert pinned(origin) == shadowed(1, 2, 1.0)


def test_without_a_from_any_version_that_passed_its_gate_is_allowed(clone: Path, origin: Path) -> None:
    assert execute(["shadow", "staging/iris", "--model", "@candidate"]) == 0
    assert pinned(origin, STAGING) == shadowed(2, 9)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["production/iris", "--model", "3"], "never ran in staging/iris, which feeds production/iris and runs 2"),
        (["production/iris", "--model", "1"], "answers with iris-classifier 1 itself"),
        (["production/iris", "--model", "99"], "did not pass its gate"),
        (["production/iris", "--model", "wine/1"], "another registered model"),
        (["production/iris", "--sample", "0.2"], "no shadow, so --sample cannot be changed"),
        (["production/iris", "--model", "2", "--sample", "1.5"], "<= 1"),
        (["production/iris", "--model", "2", "--sample", "0"], "> 0"),
        (["production/iris", "--model", "2", "--off"], "--model"),
        (["production/iris"], "--off"),
        (["production/lilies", "--off"], "no service 'lilies'"),
    ],
)
def test_an_invalid_shadow_is_refused_and_nothing_is_written(
    both: Path, origin: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert named in refused(capsys, 2, *arguments)
    assert git(origin, "rev-parse", "main") == before == git(both, "rev-parse", "HEAD")


def test_a_chart_without_shadows_is_refused(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["bump", "staging/iris", "--chart", "0.1.0"]) == 0
    assert "version 0.1.0 of the serving chart, which does not support shadows" in refused(
        capsys, 2, "staging/iris", "--model", "9"
    )


def test_a_shadow_before_the_first_release_is_refused(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing is released to production/iris" in refused(capsys, 2, "production/iris", "--model", "2")


@pytest.mark.parametrize("place", ["staging", "production"])
def test_a_hold_of_either_side_is_respected_except_by_off(
    both: Path, origin: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert execute(["hold", f"{place}/iris", "--reason", "wrong answers"]) == 0
    assert f"{place}/iris is held: wrong answers" in refused(capsys, 3, "production/iris", "--model", "2")
    push(both, "production", msgspec.structs.replace(pinned(origin), shadow=shadowed(1, 2).shadow), "a shadow")
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert pinned(origin).tried is None


def test_a_version_with_problems_in_its_source_is_refused(
    both: Path, origin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = MemoryCluster()
    monkeypatch.setattr(shadowing, "Cluster", lambda *_, **__: cluster)
    application = {"name": "iris-staging", "namespace": "argocd"}
    failed = {**WELL, "operationState": {"phase": "Failed", "message": "the smoke test failed"}}
    cluster.put("applications", {"metadata": application, "status": failed})
    assert "staging/iris has not proved its pins" in refused(capsys, 3, "production/iris", "--model", "2")
    cluster.put("applications", {"metadata": application, "status": WELL})
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0


def test_it_can_open_a_pull_request_instead(
    both: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["shadow", "production/iris", "--model", "2", "--pr"]) == 0
    (pull,) = hub.opened()
    assert pull["head"]["ref"] == "shadow/production/iris"
    assert pinned(origin) == release(1)
    assert pinned(origin, revision="shadow/production/iris") == shadowed(1, 2)
    git(both, "fetch", "--quiet", "origin", "shadow/production/iris")
    assert execute(["review", "--base", "main", "--head", "FETCH_HEAD"]) == 0


def test_a_promotion_removes_the_shadow_only_if_it_is_the_promoted_version(both: Path, origin: Path) -> None:
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert execute(["promote", "--branch-only"]) == 0
    assert git(origin, "show", f"{BRANCH}:{PRODUCTION}") == git(origin, "show", f"main:{STAGING}")
    assert "no shadow" in git(origin, "log", "-1", "--format=%s", BRANCH)
    push(both, "staging", release(3), "bump(staging/iris): iris 3")
    assert execute(["promote", "--branch-only"]) == 0
    assert pinned(origin, revision=BRANCH) == msgspec.structs.replace(release(3), shadow=shadowed(1, 2).shadow)


def test_a_first_promotion_does_not_copy_the_shadow(clone: Path, origin: Path) -> None:
    assert execute(["shadow", "staging/iris", "--model", "9"]) == 0
    assert execute(["promote", "--branch-only"]) == 0
    assert pinned(origin, revision=BRANCH) == release(2)


@pytest.mark.parametrize(
    ("options", "stays"), [(["--model", "9"], False), (["--model", "8"], True), (["--chart", "0.1.0"], False)]
)
def test_a_bump_keeps_a_shadow_unless_it_is_the_new_model_or_unsupported(
    clone: Path, origin: Path, options: list[str], stays: bool
) -> None:
    assert execute(["shadow", "staging/iris", "--model", "9"]) == 0
    assert execute(["bump", "staging/iris", *options]) == 0
    assert (pinned(origin, STAGING).tried == shadowed(2, 9).tried) is stays
    assert ("shadow" in git(origin, "show", f"main:{STAGING}")) is stays


def test_a_rollback_removes_the_shadow_and_a_shadow_is_no_release(both: Path, origin: Path) -> None:
    assert execute(["shadow", "staging/iris", "--model", "9"]) == 0
    assert execute(["rollback", "staging/iris", "--reason", "slow"]) == 0
    now = pinned(origin, STAGING)
    assert (now.model, now.tried, now.held) == (release(1).model, None, "slow")


def test_check_reports_a_shadow_that_is_the_model_itself(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (both / PRODUCTION).read_text()
    uri = "s3://mlflow/1/models/m-1/artifacts"
    (both / PRODUCTION).write_text(f'{text}shadow: {{version: "1", digest: {DIGEST}, uri: {uri}}}\n')
    execute(["check"])
    assert "gitops shadow production/iris --off" in " ".join(capsys.readouterr().err.split())


def test_verify_compares_the_shadow_with_the_registry(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    verify = ["verify", "production/iris", "--without", "image", "--without", "chart", "--json"]
    capsys.readouterr()
    assert execute(verify) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [(check["part"], check["problem"]) for check in told["checks"]] == [("model", ""), ("shadow", "")]
    text = (both / PRODUCTION).read_text()
    (both / PRODUCTION).write_text(text.replace("m-2/artifacts", "m-3/artifacts"))
    assert execute(verify) == 2
    assert "shadow of production/iris: its location is pinned as s3://mlflow/1/models/m-3" in " ".join(
        capsys.readouterr().err.split()
    )
