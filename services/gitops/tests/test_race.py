"""Many writers of one branch, and writers that are killed: every edit is applied once, and nothing is half-written.

Bare repositories are the remotes. Writers are processes. Those that are killed die at each of their git calls in turn.
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
from services.gitops.tests.conftest import DIGEST, commit_all, git, release_file

pytestmark = pytest.mark.slow

WRITERS = 20
COMMAND = Path(sys.executable).with_name("gitops")
REPOSITORY = "registry.example.com/acme/serving"
# With a digest, so that no registry is needed.
CHART = f"1.0.0@{DIGEST}"
SERVICES = ("iris", "wine")
PLATFORM = """\
repository: https://git.example.com/acme/pipeline.git
registry: {prefix: registry.example.com/acme}
environments: [{name: staging}, {name: production, from: staging}]
services: [{name: iris, model: iris}, {name: wine, model: wine}]
"""
RELEASE = Release(
    release=Notes(chart="0.1.0"),
    image=Image(repository=REPOSITORY, tag="first", digest=DIGEST),
    model=Model(name="iris", version="1", digest=DIGEST, uri="s3://mlflow/1/models/m-1"),
)
# Counts its calls, and kills its caller at one of them.
DEADLY_GIT = """#!/bin/sh
calls=$(($(cat "$CALLS") + 1))
echo $calls >"$CALLS"
[ $calls = "$DEADLY_CALL" ] && kill -KILL $PPID && exit 1
exec {git} "$@"
"""


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository in which both services run in staging."""
    start = tmp_path / "start"
    for service in SERVICES:
        file = start / release_file("staging", service)
        file.parent.mkdir(parents=True)
        file.write_text(written(None, RELEASE, "file"))
    (start / "platform.yaml").write_text(PLATFORM)
    git(start, "init", "--quiet", "--initial-branch", "main")
    commit_all(start, "first")
    git(tmp_path, "clone", "--quiet", "--bare", str(start), "remote.git")
    return tmp_path / "remote.git"


def clone(remote: Path, name: str) -> Path:
    folder = remote.parent / name
    git(remote.parent, "clone", "--quiet", str(remote), str(folder))
    return folder


def released(remote: Path, revision: str, service: str = "iris") -> Release:
    return read_release(git(remote, "show", f"{revision}:{release_file('staging', service)}"), revision)


def bumping(folder: Path, *arguments: str) -> BaseProcess:
    """Start the command in a separate process; its output goes to a file beside the clone."""

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
    """Return the exit code; it is negative if a signal ended the process."""
    process.join(150)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode is not None
    return process.exitcode


def test_commits_of_twenty_writers_of_two_services_all_arrive(
    remote: Path, record_property: Callable[[str, object], None]
) -> None:
    """Half of the writers of each service change its chart, the others its image: none may revert another."""
    wanted = []
    for number in range(WRITERS):
        pin = (
            ["--chart", f"1.0.{number}@{DIGEST}"] if number % 4 < 2 else ["--image", f"{REPOSITORY}:t{number}@{DIGEST}"]
        )
        wanted.append((clone(remote, f"writer-{number}"), f"staging/{SERVICES[number % 2]}", pin))
    folders = [folder for folder, _, _ in wanted]
    writers = [bumping(folder, target, *pin) for folder, target, pin in wanted]
    assert [ended(writer) for writer in writers] == [0] * WRITERS
    outcomes = [json.loads(said(folder).read_text()) for folder in folders]

    commits = git(remote, "rev-list", "--reverse", "main").split()
    assert sorted(commits[1:]) == sorted(outcome["commit"] for outcome in outcomes)
    assert git(remote, "rev-list", "--min-parents=2", "main") == ""
    by_commit = {outcome["commit"]: outcome for outcome in outcomes}
    expected = {name: {"chart": "0.1.0", "image.tag": "first"} for name in SERVICES}
    for commit in commits[1:]:
        (told,) = by_commit[commit]["targets"]
        change = told["changes"][0]
        service = told["target"].partition("/")[2]
        assert expected[service][change["pin"]] == change["before"]
        expected[service] = {**expected[service], change["pin"]: change["after"]}
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


def test_a_writer_that_is_killed_at_any_step_leaves_nothing_half_written(
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
            code = ended(bumping(mine, "staging/iris", "--chart", f"{chart}@{DIGEST}"))
        for folder in (mine, remote):
            assert list(folder.rglob("*.lock")) == []
            assert released(folder, "main").release.chart in (pinned, chart)
        assert git(mine, "status", "--porcelain") == ""
        if code == 0:
            break
        assert code == -9
        deaths += 1
        assert ended(bumping(mine, "staging/iris", "--chart", f"{chart}@{DIGEST}")) == 0
        git(mine, "pull", "--quiet", "--ff-only")
        pinned = released(remote, "main").release.chart
        assert pinned == chart
    assert 10 < deaths < 59
    assert len(git(remote, "rev-list", "main").split()) == deaths + 2
    for folder in (mine, remote):
        assert git(folder, "fsck", "--strict", "--no-dangling") == ""


def test_two_commands_can_run_in_one_clone(remote: Path) -> None:
    folder = clone(remote, "shared")
    writers = [
        subprocess.Popen(
            [COMMAND, "bump", f"staging/{service}", "--chart", f"2.0.{number}@{DIGEST}", "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number, service in enumerate(SERVICES)
    ]
    said = [writer.communicate(timeout=100) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    for number, service in enumerate(SERVICES):
        assert released(remote, "main", service).release.chart == f"2.0.{number}"
    git(folder, "fsck", "--strict")


def two_clones(remote: Path) -> tuple[Path, Path]:
    """Two clones: the first push of one comes after a push of the other."""
    mine, other = clone(remote, "mine"), clone(remote, "other")
    hook = mine / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\n[ -e done ] || {{ touch done; cd {other} && git push --quiet; }}\n")
    hook.chmod(0o755)
    return mine, other


def test_an_edit_is_applied_again_after_another_push(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hold that is pushed in between is respected, because the edit is applied again instead of merged."""
    mine, other = two_clones(remote)
    file = other / release_file("staging")
    file.write_text(file.read_text().replace("hold: null", "hold: {reason: wrong answers}"))
    commit_all(other, "hold")
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 3
    assert "wrong answers" in capsys.readouterr().err
    assert released(remote, "main").release.chart == "0.1.0"
    assert execute(["bump", "staging/wine", "--chart", CHART]) == 0


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
def test_a_lost_answer_makes_no_second_commit(
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
        assert execute(["bump", "staging/iris", "--chart", CHART, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["commit"] == git(remote, "rev-parse", "main") == git(mine, "rev-parse", "main")
    assert outcome["attempts"] == (1 if arrived else 2)
    assert len(git(remote, "rev-list", "main").split()) == 2


def test_a_missing_remote_is_named(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = clone(remote, "mine")
    remote.rename(remote.with_suffix(".gone"))
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 2
    assert "git remote --verbose" in capsys.readouterr().err
    assert git(mine, "status", "--porcelain") == ""


def test_a_chain_of_commits_is_pushed_whole_or_built_again(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another writer changes one service while a bump of both is in progress."""
    mine, other = two_clones(remote)
    file = other / release_file("staging", "wine")
    file.write_text(file.read_text().replace("tag: first", "tag: second"))
    commit_all(other, "another image")
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging", "--chart", CHART, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["attempts"] == 2
    assert len(git(remote, "rev-list", "main").split()) == 4
    wine = released(remote, "main", "wine")
    assert (wine.release.chart, wine.image.tag, released(remote, "main").release.chart) == ("1.0.0", "second", "1.0.0")


@pytest.mark.parametrize(("word", "named"), [("tests failed", "tests failed"), ("fatal: lint", "fatal: lint")])
def test_a_refusal_of_a_hook_is_not_retried(
    remote: Path, word: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, asked = clone(remote, "mine"), remote.parent / "asked"
    hook = mine / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\necho asked >>{asked}\necho 'not on a Friday: {word}' >&2\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 2
    assert named in capsys.readouterr().err
    assert asked.read_text() == "asked\n"
    assert released(remote, "main").release.chart == "0.1.0"


def test_the_refusal_of_a_protected_branch_is_reported_with_a_remedy(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'GH006: Protected branch update failed' >&2\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.chdir(clone(remote, "mine"))
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 2
    said = capsys.readouterr().err
    assert "GH006: Protected branch update failed" in said
    assert "--pr" in said


def test_a_read_only_remote_is_no_race(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message of a remote's file system. A hook writes it, because root may write anywhere."""
    hook = remote / "hooks" / "update"
    hook.write_text('#!/bin/sh\necho "cannot lock ref: unable to create main.lock: Permission denied" >&2\nexit 1\n')
    hook.chmod(0o755)
    monkeypatch.chdir(clone(remote, "mine"))
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 2
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["master", "trunk", "release/live"])
def test_the_branch_may_have_any_name(
    remote: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = clone(remote, "mine")
    (mine / "platform.yaml").write_text(f"{PLATFORM}branch: {name}\n")
    git(mine, "checkout", "--quiet", "-b", name)
    commit_all(mine, "another branch")
    git(mine, "push", "--quiet", "--set-upstream", "origin", name)
    main = git(remote, "rev-parse", "main")
    monkeypatch.chdir(mine)
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 0
    assert f"pushed to {name}" in capsys.readouterr().out
    assert git(remote, "rev-parse", name) == git(mine, "rev-parse", "HEAD")
    assert git(remote, "rev-parse", "main") == main


def test_commands_work_in_a_linked_worktree(
    remote: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = clone(remote, "mine")
    git(mine, "worktree", "add", "--quiet", "-b", "feature", str(remote.parent / "linked"))
    monkeypatch.chdir(remote.parent / "linked")
    assert execute(["bump", "staging/iris", "--chart", CHART]) == 0
    assert f"git -C {mine} pull" in " ".join(capsys.readouterr().err.split())
    assert released(remote, "main").release.chart == "1.0.0"
    assert git(mine, "status", "--porcelain") == ""


@pytest.mark.parametrize("folder", ["", "platforms/ml", "platforms/ml/envs/staging"])
def test_a_project_in_a_subfolder_is_refused_with_a_remedy(
    remote: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = remote.parent / "large"
    git(remote.parent, "clone", "--quiet", str(remote), str(large / "platforms" / "ml"))
    shutil.rmtree(large / "platforms" / "ml" / ".git")
    git(large, "init", "--quiet", "--initial-branch", "main")
    commit_all(large, "everything")
    monkeypatch.chdir(large / folder)
    assert execute(["status", "--offline"]) == 2
    assert "git subtree split --prefix platforms/ml" in " ".join(capsys.readouterr().err.split())
