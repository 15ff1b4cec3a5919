"""Run other programs: with a timeout, and with errors that name the command and a remedy."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gitops.errors import GitopsError, OutageError

_WAYS_TO_GET = {
    "git": "install it with the system's package manager",
    "kubectl": "install it as described at https://kubernetes.io/docs/tasks/tools/",
    "cosign": "run tools/install cosign in the repository",
    "helm": "run tools/install helm in the repository",
}
_SHOWN_ERROR_LINES = 12
# Error handler for text passed from one program to another: every byte stays the same, line ends included.
EXACT = "surrogateescape"


class ProgramMissingError(GitopsError):
    """A program that the command needs is not installed."""

    exit_code = 2

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is required but was not found: {_WAYS_TO_GET.get(program, 'install it')}.")


class ProgramFailedError(GitopsError):
    """A program exited with a non-zero status; `errors` is its error stream, `last_line` the last line of that."""

    status: int

    def __init__(self, command: Sequence[str], status: int, errors: str) -> None:
        self.errors = errors.strip()
        self.last_line = self.errors.splitlines()[-1] if self.errors else "it said nothing"
        self.status = status
        said = "\n".join(self.errors.splitlines()[-_SHOWN_ERROR_LINES:]) or "and said nothing."
        super().__init__(f"`{shlex.join(command)}` failed with status {status}: {said}")


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program until it exits and return its output.

    Args:
        command: The program and its arguments. They show in errors and process lists, so never put a secret here.
        cwd: Where to run it.
        stdin: Its standard input; pass secrets this way.
        timeout: Seconds after which it is killed.
        environment: Variables that are added to those of this process.

    Raises:
        ProgramMissingError: The program is not installed.
        ProgramFailedError: It exited with a non-zero status.
        OutageError: It took longer than `timeout`.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=cwd,
            input=(stdin or "").encode(errors=EXACT),
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError:
        raise ProgramMissingError(Path(command[0]).name) from None
    except subprocess.TimeoutExpired:
        raise OutageError(
            f"`{shlex.join(command)}` did not end within {timeout:.0f} s: its server does not answer, or is very slow; "
            "run the command by hand to see."
        ) from None
    if done.returncode:
        raise ProgramFailedError(command, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors=EXACT)
