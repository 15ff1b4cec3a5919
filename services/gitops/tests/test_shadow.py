"""`gitops shadow`: what it pins, and nothing else, what it refuses, and what becomes of it later."""

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

# Fixtures are found by their names in a module.
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


def test_it_pins_the_shadow_and_nothing_else_where_pins_come_by_pull_requests_too(
    both: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert "already so" in capsys.readouterr().out
    assert git(origin, "rev-parse", "main") == commit

    assert execute(["shadow", "production/iris", "--sample", "0.5"]) == 0
    assert pinned(origin) == shadowed(1, 2, 0.5)
    # The share that was said once stays.
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert pinned(origin) == shadowed(1, 2, 0.5)

    assert execute(["history", "production/iris"]) == 0
    assert "shadow 2" in capsys.readouterr().out
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert (both / PRODUCTION).read_bytes() == before
    assert git(origin, "log", "-1", "--format=%s", "main") == "shadow(production/iris): off"
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert "already so" in capsys.readouterr().out


def test_what_staging_ran_once_may_be_tried_too(both: Path, origin: Path) -> None:
    push(both, "staging", release(3), "bump(staging/iris): iris 3")
    assert execute(["shadow", "production/iris", "--model", "2", "--sample", "1"]) == 0
    assert pinned(origin) == shadowed(1, 2, 1.0)


def test_an_environment_that_nothing_feeds_tries_whatever_passed_its_gate(clone: Path, origin: Path) -> None:
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
def test_what_cannot_be_tried_is_refused_and_nothing_is_written(
    both: Path, origin: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(origin, "rev-parse", "main")
    assert named in refused(capsys, 2, *arguments)
    assert git(origin, "rev-parse", "main") == before == git(both, "rev-parse", "HEAD")


def test_a_chart_that_runs_no_shadows_gets_none(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["bump", "staging/iris", "--chart", "0.1.0"]) == 0
    assert "version 0.1.0 of the serving chart, which does not support shadows" in refused(
        capsys, 2, "staging/iris", "--model", "9"
    )


def test_a_shadow_before_the_first_release_is_refused(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing is released to production/iris" in refused(capsys, 2, "production/iris", "--model", "2")


@pytest.mark.parametrize("place", ["staging", "production"])
def test_a_hold_of_either_side_is_respected_and_off_is_never_refused(
    both: Path, origin: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert execute(["hold", f"{place}/iris", "--reason", "wrong answers"]) == 0
    assert f"{place}/iris is held: wrong answers" in refused(capsys, 3, "production/iris", "--model", "2")
    push(both, "production", msgspec.structs.replace(pinned(origin), shadow=shadowed(1, 2).shadow), "a shadow")
    assert execute(["shadow", "production/iris", "--off"]) == 0
    assert pinned(origin).tried is None


def test_a_version_that_does_badly_where_it_runs_is_not_tried(
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


def test_it_can_be_proposed_in_its_place(
    both: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["shadow", "production/iris", "--model", "2", "--pr"]) == 0
    (pull,) = hub.opened()
    assert pull["head"]["ref"] == "shadow/production/iris"
    assert pinned(origin) == release(1)
    assert pinned(origin, revision="shadow/production/iris") == shadowed(1, 2)
    git(both, "fetch", "--quiet", "origin", "shadow/production/iris")
    assert execute(["review", "--base", "main", "--head", "FETCH_HEAD"]) == 0


def test_a_promotion_of_the_shadow_ends_it_and_one_of_another_version_does_not(both: Path, origin: Path) -> None:
    assert execute(["shadow", "production/iris", "--model", "2"]) == 0
    assert execute(["promote", "--branch-only"]) == 0
    assert git(origin, "show", f"{BRANCH}:{PRODUCTION}") == git(origin, "show", f"main:{STAGING}")
    assert "no shadow" in git(origin, "log", "-1", "--format=%s", BRANCH)
    push(both, "staging", release(3), "bump(staging/iris): iris 3")
    assert execute(["promote", "--branch-only"]) == 0
    assert pinned(origin, revision=BRANCH) == msgspec.structs.replace(release(3), shadow=shadowed(1, 2).shadow)


def test_a_first_promotion_takes_no_shadow_along(clone: Path, origin: Path) -> None:
    assert execute(["shadow", "staging/iris", "--model", "9"]) == 0
    assert execute(["promote", "--branch-only"]) == 0
    assert pinned(origin, revision=BRANCH) == release(2)


@pytest.mark.parametrize(
    ("options", "stays"), [(["--model", "9"], False), (["--model", "8"], True), (["--chart", "0.1.0"], False)]
)
def test_a_bump_keeps_a_shadow_unless_it_answers_now_or_the_chart_knows_none(
    clone: Path, origin: Path, options: list[str], stays: bool
) -> None:
    assert execute(["shadow", "staging/iris", "--model", "9"]) == 0
    assert execute(["bump", "staging/iris", *options]) == 0
    assert (pinned(origin, STAGING).tried == shadowed(2, 9).tried) is stays
    assert ("shadow" in git(origin, "show", f"main:{STAGING}")) is stays


def test_a_rollback_ends_it_and_is_no_step_of_its_own(both: Path, origin: Path) -> None:
    assert execute(["shadow", "staging/iris", "--model", "9"]) == 0
    assert execute(["rollback", "staging/iris", "--reason", "slow"]) == 0
    now = pinned(origin, STAGING)
    assert (now.model, now.tried, now.held) == (release(1).model, None, "slow")


def test_check_names_a_shadow_that_is_what_answers(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (both / PRODUCTION).read_text()
    uri = "s3://mlflow/1/models/m-1/artifacts"
    (both / PRODUCTION).write_text(f'{text}shadow: {{version: "1", digest: {DIGEST}, uri: {uri}}}\n')
    execute(["check"])
    assert "gitops shadow production/iris --off" in " ".join(capsys.readouterr().err.split())


def test_verify_holds_the_shadow_against_the_registry(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
