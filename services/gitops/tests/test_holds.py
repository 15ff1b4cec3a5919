"""Holds and rollbacks: what they write, that every command respects a hold, and which pins a rollback restores."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops.cli import execute
from gitops.git.repository import Commit
from gitops.pins.history import Step, before_now
from gitops.pins.release import Hold, Image, Model, Notes, Release, read_release, written
from services.gitops.tests.conftest import DIGEST, add_service, commit_all, git, release_file
from services.gitops.tests.github import SLUG, TOKEN, GitHub, serving

STAGING = release_file("staging")


def release(version: int) -> Release:
    return Release(
        release=Notes(chart="0.1.0", metrics={"accuracy": 0.9 + version / 100}),
        image=Image(repository="registry.example.com/acme/serving", tag="1.8.2", digest=DIGEST),
        model=Model(
            name="iris-classifier",
            version=str(version),
            digest=DIGEST,
            uri=f"s3://mlflow/1/models/m-{version}/artifacts",
        ),
    )


@pytest.fixture
def clone(fork: Path, origin: Path) -> Path:
    """Staging ran versions 1, 2 and 3, one after the other."""
    for version in (1, 2, 3):
        file = fork / STAGING
        file.write_text(written(file.read_text() if file.exists() else None, release(version), "file"))
        commit_all(fork, f"bump(staging/iris): iris {version}")
    git(fork, "push", "--quiet")
    return fork


def pinned(folder: Path) -> Release:
    return read_release(git(folder, "show", f"main:{STAGING}"), "file")


def test_a_hold_has_reason_time_and_author_and_changes_nothing_else(clone: Path, origin: Path) -> None:
    before = (clone / STAGING).read_text()
    assert execute(["hold", "staging/iris", "--reason", "wrong answers\nfor short petals"]) == 0
    held = pinned(origin).release.hold
    assert isinstance(held, Hold)
    assert (held.reason, held.by) == ("wrong answers for short petals", "Ada <ada@example.com>")
    assert held.since.endswith("+00:00")
    assert git(origin, "log", "-1", "--format=%s", "main") == "hold(staging/iris): wrong answers for short petals"
    assert execute(["unhold", "staging/iris"]) == 0
    assert (clone / STAGING).read_text() == before
    assert git(origin, "log", "-1", "--format=%s", "main") == "unhold(staging/iris): wrong answers for short petals"


def test_a_second_hold_replaces_the_reason_unless_it_is_the_same(clone: Path, origin: Path) -> None:
    assert execute(["hold", "staging/iris", "--reason", "one"]) == 0
    first = git(origin, "rev-parse", "main")
    assert execute(["hold", "staging/iris", "--reason", "one"]) == 0
    assert git(origin, "rev-parse", "main") == first
    assert execute(["hold", "staging/iris", "--reason", "two"]) == 0
    assert pinned(origin).held == "two"
    assert execute(["unhold", "staging/iris"]) == execute(["unhold", "staging/iris"]) == 0
    assert pinned(origin).held is None


@pytest.mark.parametrize(
    "command",
    [
        ["bump", "staging/iris", "--chart", "0.2.0"],
        ["bump", "staging/iris", "--model", "9", "--mlflow-url", "http://127.0.0.1:9"],
        ["bump", "staging/iris", "--chart", "0.2.0", "--no-push"],
        ["bump", "staging/iris", "--chart", "0.2.0", "--dry-run"],
        ["promote", "--branch-only"],
        ["promote", "production/iris", "--dry-run"],
    ],
)
def test_every_command_of_automation_respects_a_hold(
    clone: Path, origin: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["hold", "staging/iris", "--reason", "wrong answers"]) == 0
    before = git(origin, "rev-parse", "main")
    assert execute(command) == 3
    assert "staging/iris is held: wrong answers. `gitops unhold staging/iris` lifts" in capsys.readouterr().err
    assert git(origin, "rev-parse", "main") == before == git(clone, "rev-parse", "HEAD")
    assert git(origin, "branch", "--list", "promote/*") == ""


def test_a_rollback_restores_pins_and_holds_until_the_hold_is_removed(
    clone: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["rollback", "staging/iris", "--reason", "slow"]) == 0
    now = pinned(origin)
    assert (now.image, now.model, now.release.metrics) == (release(2).image, release(2).model, {"accuracy": 0.92})
    assert now.held == "slow"
    assert git(origin, "log", "-1", "--format=%s", "main") == "rollback(staging/iris): iris-classifier 2"
    assert f"Back to {git(origin, 'log', '-1', '--format=%h', 'main~2')}" in git(
        origin, "log", "-1", "--format=%b", "main"
    )
    assert execute(["bump", "staging/iris", "--chart", "0.2.0"]) == 3
    assert execute(["unhold", "staging/iris"]) == 0
    assert execute(["bump", "staging/iris", "--chart", "0.2.0"]) == 0
    assert (pinned(origin).release.chart, pinned(origin).model.version, pinned(origin).held) == ("0.2.0", "2", None)


def test_a_second_rollback_goes_further_back_and_a_third_is_refused(
    clone: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["rollback", "staging/iris"]) == 0
    assert execute(["rollback", "staging/iris"]) == 0
    assert pinned(origin).model.version == "1"
    assert execute(["rollback", "staging/iris"]) == 2
    assert "no earlier pins" in capsys.readouterr().err


def test_a_rollback_can_name_any_commit(clone: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = git(clone, "rev-parse", "HEAD~2")
    assert execute(["rollback", "staging/iris", "--to", first]) == 0
    assert pinned(origin).model == release(1).model
    for to, named in ((first, "already"), (f"{first}~1", "nothing was released"), ("none-such", "git does not know")):
        assert execute(["rollback", "staging/iris", "--to", to]) == 2
        assert named in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("ran", "target"),
    [
        ([1], None),
        ([1, 1], None),
        ([1, 2], 1),
        ([1, 2, 2], 1),
        ([1, 2, 1], None),
        ([1, 2, 3, 2], 1),
        ([1, 2, 3, 2, 4], 2),
        ([1, 2, 3, 1, 4], 1),
        ([1, None, 2], 1),
    ],
)
def test_a_rollback_never_restores_pins_that_were_rolled_back(ran: list[int | None], target: int | None) -> None:
    commit = Commit(sha="0" * 40, author="Ada", when=datetime.now(UTC), subject="")
    steps = [Step(commit=commit, release=None if version is None else release(version)) for version in reversed(ran)]
    found = before_now(steps)
    assert (found.release if found else None) == (None if target is None else release(target))


@pytest.fixture
def hub(clone: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub with the repository of `origin`, where nobody may push to main."""
    hook = origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nwhile read -r _ _ ref; do [ $ref != refs/heads/main ] || exit 1; done\n")
    hook.chmod(0o755)
    with serving(GitHub(origin)) as hub:
        for name, value in {"TOKEN": TOKEN, "API_URL": hub.url, "REPOSITORY": SLUG}.items():
            monkeypatch.setenv(f"GITHUB_{name}", value)
        yield hub


@pytest.mark.parametrize(
    ("command", "branch", "title"),
    [
        (["rollback", "staging/iris"], "rollback/staging/iris", "rollback(staging/iris): iris-classifier 2"),
        (["hold", "staging/iris", "--reason", "slow"], "hold/staging/iris", "hold(staging/iris): slow"),
        (["bump", "staging/iris", "--chart", "0.2.0"], "bump/staging/iris", "bump(staging/iris): chart 0.2.0"),
    ],
)
def test_with_a_protected_branch_each_command_opens_a_pull_request(
    clone: Path,
    origin: Path,
    hub: GitHub,
    command: list[str],
    branch: str,
    title: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = git(origin, "rev-parse", "main")
    assert execute(command) == 2
    assert "--pr" in capsys.readouterr().err
    assert execute([*command, "--pr"]) == 0
    (pull,) = hub.opened()
    assert (pull["title"], pull["head"]["ref"]) == (title, branch)
    assert git(origin, "rev-parse", "main") == main == git(origin, "rev-parse", f"{branch}~1")
    assert git(origin, "diff", "--name-only", "main", branch) == str(STAGING)
    assert git(clone, "rev-parse", "HEAD") == main


def test_a_pull_request_needs_a_token_and_a_push(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["rollback", "staging/iris", "--pr"]) == 2
    assert "--pr needs GITHUB_TOKEN" in capsys.readouterr().err
    assert execute(["rollback", "staging/iris", "--pr", "--no-push"]) == 2
    assert "exclude one another" in capsys.readouterr().err


def test_history_says_who_when_and_what(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["rollback", "staging/iris", "--reason", "slow"]) == 0
    capsys.readouterr()
    assert execute(["history", "staging/iris", "--json", "--limit", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["moved"] for entry in told] == ["iris-classifier 2", "iris-classifier 3", "iris-classifier 2"]
    assert {entry["author"] for entry in told} == {"Ada"}
    assert {"pin": "model.version", "before": "3", "after": "2"} in told[0]["changes"]
    assert execute(["history", "staging/iris"]) == 0
    assert "rollback(staging/iris): iris-classifier 2" in capsys.readouterr().out
    assert execute(["history", "production/iris"]) == 0
    assert "Nothing is released to production/iris yet" in capsys.readouterr().out


def test_without_a_release_there_is_no_hold_and_no_rollback(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["hold", "production/iris", "--reason", "x"],
        ["unhold", "production/iris"],
        ["rollback", "production/iris"],
    ):
        assert execute(command) == 2
        assert "Nothing is released to production/iris" in capsys.readouterr().err


@pytest.fixture
def two_services(clone: Path) -> Path:
    """Wine runs in staging too, and ran another version before."""
    add_service(clone, "wine", "wine-classifier")
    file = clone / release_file("staging", "wine")
    file.parent.mkdir()
    for version in (4, 5):
        text = written(None, release(version), "file").replace("iris-classifier", "wine-classifier")
        file.write_text(text)
        commit_all(clone, f"wine {version}")
    git(clone, "push", "--quiet")
    return clone


def of_wine(folder: Path) -> Release:
    return read_release(git(folder, "show", f"main:{release_file('staging', 'wine')}"), "file")


def test_services_are_held_and_rolled_back_independently(two_services: Path, origin: Path) -> None:
    assert execute(["rollback", "staging/wine", "--reason", "slow"]) == 0
    assert (of_wine(origin).model.version, of_wine(origin).held) == ("4", "slow")
    assert (pinned(origin).model.version, pinned(origin).held) == ("3", None)
    assert execute(["bump", "staging/iris", "--chart", "0.2.0"]) == 0
    assert execute(["bump", "staging/wine", "--chart", "0.2.0"]) == 3


def test_an_environment_means_all_of_its_services(two_services: Path, origin: Path) -> None:
    before = git(origin, "rev-parse", "main")
    assert execute(["hold", "staging", "--reason", "freeze"]) == 0
    assert (pinned(origin).held, of_wine(origin).held) == ("freeze", "freeze")
    assert git(origin, "log", "--format=%s", f"{before}..main").splitlines() == [
        "hold(staging/wine): freeze",
        "hold(staging/iris): freeze",
    ]
    assert execute(["unhold", "staging"]) == 0
    assert execute(["rollback", "staging"]) == 0
    assert (pinned(origin).model.version, of_wine(origin).model.version) == ("2", "4")


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_rollback_needs_the_whole_history_or_a_commit(
    clone: Path, origin: Path, depth: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The missing history may include the step that was rolled back from."""
    assert execute(["rollback", "staging/iris"]) == 0
    shallow = clone.parent / "shallow"
    git(clone.parent, "clone", "--quiet", "--depth", str(depth), f"file://{origin}", str(shallow))
    monkeypatch.chdir(shallow)
    before = git(origin, "rev-parse", "main")
    assert execute(["rollback", "staging/iris", "--dry-run"]) == 2
    assert "git fetch --unshallow" in capsys.readouterr().err
    git(shallow, "fetch", "--quiet", "--unshallow")
    assert execute(["rollback", "staging/iris"]) == 0
    assert pinned(origin).model.version == "1"
    assert git(origin, "rev-parse", "main~1") == before


def test_a_branch_of_the_old_layout_that_prevents_a_new_one_is_named(
    clone: Path, origin: Path, hub: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    git(origin, "branch", "hold/staging", "main")
    assert execute(["hold", "staging/iris", "--reason", "slow", "--pr"]) == 2
    assert "git push origin --delete hold/staging" in " ".join(capsys.readouterr().err.split())


def test_an_invalid_file_is_named_and_other_services_are_held(
    two_services: Path, origin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two_services / release_file("staging", "wine")).write_text("release: [\n")
    commit_all(two_services, "broken")
    git(two_services, "push", "--quiet")
    assert execute(["hold", "staging", "--reason", "freeze"]) == 2
    assert "staging/wine is not changed" in capsys.readouterr().err
    assert pinned(origin).held == "freeze"
