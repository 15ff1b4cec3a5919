"""Faults of a forge during a command: the error is clear, nothing is half done, and the next run continues."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gitops.cli import execute
from services.gitops.tests.conftest import git
from services.gitops.tests.github import Answer
from tests.forges.front import Cut, Fault
from tests.forges.stages import Stage

BRANCH = "promote/production/iris"
# The request that opens a pull request, on each forge.
_OPENING = re.compile(r"POST .*/(pulls|merge_requests)$")
_CLOSING = re.compile(r"(PATCH|PUT) .*/(pulls|merge_requests)/\d+$")
_COMMENT = re.compile(r"POST .*/(comments|notes)$")


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the text on the error stream as one line."""
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    return said


def whenever(pattern: re.Pattern[str], fault: Fault, *, times: int = 99) -> Callable[[str], Fault | None]:
    """Return a rule that makes a fault of the first requests that match."""
    left = [fault] * times

    def rule(request: str) -> Fault | None:
        return left.pop() if left and pattern.search(request) else None

    return rule


def test_an_expired_token_is_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    stage.hold_token("none")
    assert execute(["promote"]) == 2
    said = told(capsys)
    assert "with 401" in said
    assert f"{stage.variables.token} is not valid there, or has expired" in said
    stage.hold_token("all")
    assert execute(["promote"]) == 0
    assert len(stage.opened()) == 1


def test_missing_rights_are_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    stage.hold_token("reading")
    assert execute(["promote"]) == 2
    said = told(capsys)
    assert "with 403" in said
    assert f"{stage.variables.token} needs the rights to " in said
    assert stage.pulls() == []
    stage.hold_token("all")
    assert execute(["promote"]) == 0
    assert len(stage.opened()) == 1


def test_a_rate_limit_is_waited_for_and_then_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    slow = Answer(429, {"message": "slow down"}, {"Retry-After": "0"})
    stage.front.rule = whenever(re.compile(""), slow, times=2)
    assert execute(["promote"]) == 0
    assert len(stage.opened()) == 1
    stage.front.rule = whenever(re.compile(""), Answer(429, {"message": "slow down"}, {"Retry-After": "3000"}))
    assert execute(["promote"]) == 1
    assert "allows no more requests for 3000 s (slow down.): try again later" in told(capsys)


def test_a_failing_server_is_retried(stage: Stage) -> None:
    stage.pin("staging", 1)
    stage.front.rule = whenever(re.compile(""), Answer(502, {"message": "Bad Gateway"}), times=3)
    assert execute(["promote"]) == 0
    assert len(stage.opened()) == 1


def test_a_run_that_is_cut_off_before_the_pull_request_leaves_the_branch_and_continues(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.pin("staging", 1)
    stage.front.rule = whenever(_OPENING, Cut(done=False))
    assert execute(["promote"]) == 1
    assert "does not answer" in told(capsys)
    pushed = stage.head(BRANCH)
    assert pushed
    assert stage.pulls() == []
    stage.front.rule = lambda _: None
    assert execute(["promote"]) == 0
    assert (stage.head(BRANCH), len(stage.opened())) == (pushed, 1)


def test_a_lost_answer_opens_no_second_pull_request(stage: Stage) -> None:
    stage.pin("staging", 1)
    stage.front.rule = whenever(_OPENING, Cut(done=True), times=1)
    assert execute(["promote"]) == 0
    (pull,) = stage.pulls()
    assert (pull.state, list(pull.labels)) == ("open", ["promote"])


def test_a_hold_that_is_cut_off_continues_and_comments_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    assert execute(["promote"]) == 0
    stage.front.rule = whenever(_CLOSING, Cut(done=False))
    assert execute(["hold", "staging/iris", "--reason", "wrong answers"]) == 1
    (pull,) = stage.pulls()
    assert (pull.state, len(stage.comments(1))) == ("open", 1)
    stage.front.rule = lambda _: None
    capsys.readouterr()
    assert execute(["promote"]) == 3
    assert "staging/iris is held" in told(capsys)
    assert [pull.state for pull in stage.pulls()] == ["closed"]
    assert len(stage.comments(1)) == 1


def test_refused_labels_stop_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    labelling = re.compile(r"(POST .*/labels|PUT .*/merge_requests/1)$")
    stage.front.rule = whenever(labelling, Answer(403, {"message": "no labels for you"}))
    assert execute(["promote"]) == 0
    assert "has no label" in told(capsys)
    stage.front.rule = lambda _: None
    assert execute(["promote"]) == 0
    assert [list(pull.labels) for pull in stage.opened()] == [["promote"]]


def test_another_sites_page_at_the_address_is_reported(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.pin("staging", 1)
    stage.front.rule = whenever(re.compile(""), Answer(200, "please log in"))
    assert execute(["promote"]) == 1
    assert "does not offer" in told(capsys)


def test_ssl_cert_file_names_a_private_ca(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.pin("staging", 1)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named, *files], check=True, capture_output=True)
    with stage.front.encrypted(certificate, key) as url:
        monkeypatch.setenv(stage.variables.api, f"{url}{stage.below}")
        assert execute(["promote"]) == 1
        assert "SSL_CERT_FILE names a file of CAs to trust" in told(capsys)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert execute(["promote"]) == 0
    assert len(stage.opened()) == 1
    monkeypatch.setenv("SSL_CERT_FILE", str(key))
    assert execute(["promote"]) == 2
    assert "cannot be read as certificates" in told(capsys)


def test_requests_go_through_a_proxy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.pin("staging", 1)
    # Only requests through the proxy reach this host.
    monkeypatch.setenv(stage.variables.api, f"http://forge.example.com{stage.below}")
    monkeypatch.setenv("HTTP_PROXY", stage.front.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert execute(["promote"]) == 0
    assert len(stage.opened()) == 1


def test_two_runs_at_once_open_one_pull_request(stage: Stage) -> None:
    """In two scheduled runs, the second one looks for a pull request before the first one has opened it."""
    stage.pin("staging", 1)
    began: list[str] = []

    def meanwhile(request: str) -> None:
        if _OPENING.search(request) and not began:
            began.append(request)
            assert execute(["promote"]) == 0

    stage.front.rule = meanwhile
    assert execute(["promote"]) == 0
    assert began
    assert [pull.state for pull in stage.pulls()] == ["open"]


def test_a_merge_before_the_forge_is_read_does_no_harm(stage: Stage) -> None:
    """One person closes it; another opens it again and merges it, between the reads of the branch and of the forge."""
    stage.pin("staging", 1)
    done: list[str] = []

    def meanwhile(request: str) -> None:
        if not done:
            done.append(request)
            assert execute(["promote"]) == 0
            stage.merge(1)

    stage.front.rule = meanwhile
    assert execute(["promote"]) == 0
    assert [pull.state for pull in stage.pulls()] == ["merged"]


def test_a_merge_in_the_middle_does_no_harm(stage: Stage) -> None:
    """A person merges between the read of the branch and the write to the pull request."""
    stage.pin("staging", 1)
    assert execute(["promote"]) == 0
    stage.edit(1, "mine")

    def meanwhile(request: str) -> None:
        if _CLOSING.search(request) and stage.opened():
            stage.merge(1)

    stage.front.rule = meanwhile
    assert execute(["promote"]) == 0
    stage.front.rule = lambda _: None
    assert [pull.state for pull in stage.pulls()] == ["merged"]
    assert execute(["promote"]) == 0
    assert stage.pinned("production") == "1"
    assert git(stage.clone, "status", "--porcelain") == ""
