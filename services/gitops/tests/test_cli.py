"""The command line: an error is one sentence and exit code 2, and nothing waits for input without a terminal."""

from pathlib import Path

import pytest

from gitops.cli import execute


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["bootstrap", "--git-user", "ada"], "put it into GITOPS_GIT_PASSWORD"),
        (["bootstrap", "--registry-user", "ada"], "put it into GITOPS_REGISTRY_PASSWORD"),
        (["bootstrap", "--git-ssh-key", "none-such"], "none-such cannot be read"),
        (["bootstrap", "--git-ssh-key", "platform.yaml"], "is no"),
        (["bootstrap", "--notify", "people"], "put it into GITOPS_NOTIFY_WEBHOOK_URL"),
        (["bootstrap", "--notify", "github"], "put it into GITOPS_NOTIFY_GITHUB_TOKEN"),
        (["bootstrap", "--notify", "everybody"], "everybody"),
        (["bootstrap", "--minutes", "0"], "--minutes"),
        (["bootstrap"], "gitops adopt --repo URL --registry PREFIX"),
        (["teardown"], "add --yes"),
        (["status", "--verbose"], "--verbose"),
        (["release"], "release"),
        (["promote"], "promote needs GITHUB_TOKEN"),
        (["hold", "staging/iris", "--reason", " "], "--reason"),
        (["history", "qa"], "the environments staging and production"),
        (["bump", "staging/iris", "--chart", "0.1.0"], "has no remote"),
        (["render", "staging", "--chart-from", "elsewhere"], "elsewhere"),
    ],
)
def test_an_error_is_one_sentence(
    fork: Path,
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for what in ("GIT", "REGISTRY"):
        monkeypatch.delenv(f"GITOPS_{what}_PASSWORD", raising=False)
    for what in ("WEBHOOK_URL", "GITHUB_TOKEN"):
        monkeypatch.delenv(f"GITOPS_NOTIFY_{what}", raising=False)
    monkeypatch.setenv("PATH", f"{program_folder(fork)}:/usr/bin:/bin")
    assert execute(arguments) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert named in said
    assert "Traceback" not in said


def program_folder(fork: Path) -> Path:
    """A folder with a `kubectl` that knows its context and reaches no cluster."""
    folder = fork / ".cache" / "bin"
    folder.mkdir()
    kubectl = folder / "kubectl"
    kubectl.write_text('#!/bin/sh\ncase "$*" in *current-context*) echo somewhere ;; *) exit 1 ;; esac\n')
    kubectl.chmod(0o755)
    return folder
