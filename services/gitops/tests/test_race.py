"""Many writers of one branch, and writers that are killed: every edit lands once, and nothing is ever half-written.

Bare repositories stand in for the remote; writers are processes, and the killed ones die at each of their calls of
git in turn.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from gitops.cli import execute
from gitops.pins.release import Image, Model, Notes, Release, read_release, written
from gitops.platform.environments import release_file
from services.gitops.tests.conftest import DIGEST, commit_all, git

WRITERS = 20
COMMAND = Path(sys.executable).with_name("gitops")
REPOSITORY = "registry.example.com/acme/serving"
ENVIRONMENTS = ("staging", "production")
RELEASE = Release(
    release=Notes(chart="0.1.0"),
    image=Image(repository=REPOSITORY, tag="first", digest=DIGEST),
    model=Model(name="iris", version="1", digest=DIGEST, uri="s3://mlflow/1/models/m-1"),
)
# Counts its calls, and at one of them kills who called.
DEADLY_GIT = """#!/bin/sh
calls=$(($(cat "$CALLS") + 1))
echo $calls >"$CALLS"
[ $calls = "$DEADLY_CALL" ] && kill -KILL $PPID && exit 1
exec {git} "$@"
"""


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository in which both environments run something."""
    start = tmp_path / "start"
    for environment in ENVIRONMENTS:
        (start / release_file(environment)).parent.mkdir(parents=True)
        (start / release_file(environment)).write_text(written(None, RELEASE, "file"))
    git(start, "init", "--quiet", "--initial-branch", "main")
    commit_all(start, "first")
    git(tmp_path, "clone", "--quiet", "--bare", str(start), "remote.git")
    return tmp_path / "remote.git"


def clone(remote: Path, name: str) -> Path:
    folder = remote.parent / name
    git(remote.parent, "clone", "--quiet", str(remote), str(folder))
    return folder


def released(remote: Path, revision: str, environment: str) -> Release:
    return read_release(git(remote, "show", f"{revision}:{release_file(environment)}"), revision)


def bumping(folder: Path, *arguments: str) -> BaseProcess:
    """Start the command in a process of its own; what it says goes to a file beside the clone."""

    def run() -> None:
        os.chdir(folder)
        with said(folder).open("w") as stream, contextlib.redirect_stdout(stream):
            code = execute(["bump", *arguments, "--json"])
        sys.exit(code)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def said(folder: Path) -> Path:
    return folder.with_suffix(".json")


def ended(process: BaseProcess) -> int:
    """The exit code, negative where a signal ended it."""
    process.join(150)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode is not None
    return process.exitcode


def test_twenty_writers_of_two_environments_all_land(
    remote: Path, record_property: Callable[[str, object], None]
) -> None:
    """Half of the writers of each environment move its chart, the others its image: none may undo the other."""
    wanted = []
    for number in range(WRITERS):
        pin = ["--chart", f"1.0.{number}"] if number % 4 < 2 else ["--image", f"{REPOSITORY}:t{number}@{DIGEST}"]
        wanted.append((clone(remote, f"writer-{number}"), ENVIRONMENTS[number % 2], pin))
    folders = [folder for folder, _, _ in wanted]
    writers = [bumping(folder, environment, *pin) for folder, environment, pin in wanted]
    assert [ended(writer) for writer in writers] == [0] * WRITERS
    outcomes = [json.loads(said(folder).read_text()) for folder in folders]

    commits = git(remote, "rev-list", "--reverse", "main").split()
    assert sorted(commits[1:]) == sorted(outcome["commit"] for outcome in outcomes)
    assert git(remote, "rev-list", "--min-parents=2", "main") == ""
    by_commit = {outcome["commit"]: outcome for outcome in outcomes}
    expected = {name: {"chart": "0.1.0", "image.tag": "first"} for name in ENVIRONMENTS}
    for commit in commits[1:]:
        (change,) = by_commit[commit]["changes"]
        environment = by_commit[commit]["environment"]
        assert expected[environment][change["pin"]] == change["before"]
        expected[environment] = {**expected[environment], change["pin"]: change["after"]}
        for name, pins in expected.items():
            found = released(remote, commit, name)
            assert {"chart": found.release.chart, "image.tag": found.image.tag} == pins
    assert git(remote, "fsck", "--strict", "--no-dangling") == ""
    assert [git(folder, "status", "--porcelain") for folder in folders] == [""] * WRITERS

    attempts = [outcome["attempts"] for outcome in outcomes]
    record_property(
        "summary",
        f"{WRITERS} writers, {sum(attempts)} attempts ({sum(attempts) - WRITERS} retries, at most {max(attempts)} by "
        f"one writer): {len(commits) - 1} commits in one line, none lost",
    )


def test_a_writer_that_is_killed_at_any_step_leaves_nothing_half_done(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("git")
    deadly = tmp_path / "bin" / "git"
    deadly.parent.mkdir()
    deadly.write_text(DEADLY_GIT.format(git=real))
    deadly.chmod(0o755)
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    mine, pinned, deaths = clone(remote, "mine"), "0.1.0", 0
    for call in range(1, 60):
        chart = f"1.0.{call}"
        calls.write_text("0")
        with monkeypatch.context() as patched:
            patched.setenv("PATH", f"{deadly.parent}:{os.environ['PATH']}")
            patched.setenv("DEADLY_CALL", str(call))
            code = ended(bumping(mine, "staging", "--chart", chart))
        for folder in (mine, remote):
            assert list(folder.rglob("*.lock")) == []
            assert released(folder, "main", "staging").release.chart in (pinned, chart)
        assert git(mine, "status", "--porcelain") == ""
        if code == 0:
            break
        assert code == -9
        deaths += 1
        assert ended(bumping(mine, "staging", "--chart", chart)) == 0
        git(mine, "pull", "--quiet", "--ff-only")
        pinned = released(remote, "main", "staging").release.chart
        assert pinned == chart
    assert 10 < deaths < 59
    assert len(git(remote, "rev-list", "main").split()) == deaths + 2
    for folder in (mine, remote):
        assert git(folder, "fsck", "--strict", "--no-dangling") == ""


def test_two_commands_in_one_clone_do_not_disturb_one_another(remote: Path) -> None:
    folder = clone(remote, "shared")
    writers = [
        subprocess.Popen(
            [COMMAND, "bump", environment, "--chart", f"2.0.{number}", "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number, environment in enumerate(ENVIRONMENTS)
    ]
    said = [writer.communicate(timeout=100) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    for number, environment in enumerate(ENVIRONMENTS):
        assert released(remote, "main", environment).release.chart == f"2.0.{number}"
    git(folder, "fsck", "--strict")


def test_an_edit_is_applied_anew_to_what_somebody_else_pushed(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hold that comes in between is respected: the edit is made again, not merged."""
    mine, other = clone(remote, "mine"), clone(remote, "other")
    hook = mine / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\n[ -e done ] || {{ touch done; cd {other} && git push --quiet; }}\n")
    hook.chmod(0o755)
    file = other / release_file("staging")
    file.write_text(file.read_text().replace("hold: null", "hold: {reason: wrong answers}"))
    commit_all(other, "hold")
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging", "--chart", "1.0.0"]) == 3
    assert "wrong answers" in capsys.readouterr().err
    assert released(remote, "main", "staging").release.chart == "0.1.0"
    assert execute(["bump", "production", "--chart", "1.0.0"]) == 0


LOSING_GIT = """#!/bin/sh
case "$*" in
  *push*)
    [ -e "$LOST" ] && exec {git} "$@"
    touch "$LOST"
    {first} "$@"
    echo "fatal: the remote end hung up unexpectedly" >&2
    exit 128 ;;
esac
exec {git} "$@"
"""


@pytest.mark.parametrize("arrived", [True, False])
def test_an_answer_that_gets_lost_makes_no_second_commit(
    remote: Path, tmp_path: Path, arrived: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, real = clone(remote, "mine"), shutil.which("git")
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(LOSING_GIT.format(git=real, first=real if arrived else ":"))
    program.chmod(0o755)
    monkeypatch.setenv("LOST", str(tmp_path / "lost"))
    monkeypatch.chdir(mine)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        assert execute(["bump", "staging", "--chart", "1.0.0", "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["commit"] == git(remote, "rev-parse", "main") == git(mine, "rev-parse", "main")
    assert outcome["attempts"] == (1 if arrived else 2)
    assert len(git(remote, "rev-list", "main").split()) == 2


def test_a_remote_that_is_not_there_is_named(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = clone(remote, "mine")
    remote.rename(remote.with_suffix(".gone"))
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging", "--chart", "1.0.0"]) == 2
    assert "git remote --verbose" in capsys.readouterr().err
    assert git(mine, "status", "--porcelain") == ""
