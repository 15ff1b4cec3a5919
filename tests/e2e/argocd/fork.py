"""A fork of the working tree, as a person would make it: adopted, pushed, and changed by commits."""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.e2e.argocd.recording import Recording
from tests.e2e.kube import run_program
from tests.support.tree import copy_tree

ROOT = Path(__file__).resolve().parents[3]
_IDENTITY = {
    "GIT_AUTHOR_NAME": "A person",
    "GIT_AUTHOR_EMAIL": "person@example.com",
    "GIT_COMMITTER_NAME": "A person",
    "GIT_COMMITTER_EMAIL": "person@example.com",
}


class Fork(msgspec.Struct, frozen=True):
    """A checkout whose `origin` is the forge in the cluster."""

    folder: Path
    kubeconfig: str
    log: Path
    """The log of everything that the project's own commands print."""
    forge: Mapping[str, str]
    """Variables that lead the project's commands to the forge, including the token."""

    def git(self, *arguments: str) -> str:
        """Run git, and return its output."""
        return run_program(["git", *arguments], cwd=self.folder, environment=_IDENTITY).strip()

    def commit(self, message: str) -> str:
        """Commit all changes, push the commit, and return it."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.push()

    def push(self) -> str:
        """Push the commits, and return the newest one."""
        self.git("push", "--quiet", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def gitops(self, *arguments: str, seconds: float = 120, environment: Mapping[str, str] | None = None) -> str:
        """Run the project's command in the fork, as a person would."""
        return self.program(["gitops", *arguments], seconds=seconds, environment=environment)

    def program(self, command: list[str], *, seconds: float, environment: Mapping[str, str] | None = None) -> str:
        """Run a program in the fork, and write its output to the log."""
        started = time.monotonic()
        variables = {**self._variables, "COLUMNS": "120", **(environment or {})}
        printed = run_program(command, cwd=self.folder, environment=variables, seconds=seconds)
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{printed}({time.monotonic() - started:.0f} s)\n\n")
        return printed

    def recorded(self, recording: Recording, line: str) -> str:
        """Run a command line as a person at a terminal, and record it."""
        return recording.run(line, cwd=self.folder, environment=self._variables, seconds=120)

    @property
    def _variables(self) -> Mapping[str, str]:
        return {**_IDENTITY, **self.forge, "KUBECONFIG": self.kubeconfig}

    def read(self, path: str) -> Any:
        """Return the content of a YAML file."""
        return yaml.safe_load((self.folder / path).read_text())

    def edit(self, path: str, change: Callable[[Any], None]) -> None:
        """Change the content of a YAML file in place."""
        content = self.read(path)
        change(content)
        (self.folder / path).write_text(yaml.safe_dump(content, sort_keys=False))

    def replace(self, path: str, pattern: str, replacement: str) -> None:
        """Replace the one match in a file."""
        file = self.folder / path
        text, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
        if count != 1:
            raise AssertionError(f"{path}: {count} places match {pattern}")
        file.write_text(text)


def make_fork(fork: Fork, url: str, pushed_through: str) -> Fork:
    """Copy the working tree, including uncommitted changes, into a separate repository.

    Args:
        fork: The fork to make. Its folder must not exist.
        url: The address of its origin inside the cluster.
        pushed_through: The address of the same repository for this machine.
    """
    copy_tree(fork.folder)
    fork.git("init", "--quiet", "--initial-branch=main")
    for key in ("name", "email"):
        fork.git("config", f"user.{key}", _IDENTITY[f"GIT_AUTHOR_{key.upper()}"])
    fork.git("remote", "add", "origin", url)
    reach(fork, url, pushed_through)
    fork.git("add", "--all")
    fork.git("commit", "--quiet", "--message", "Fork")
    return fork


def reach(fork: Fork, url: str, pushed_through: str) -> None:
    """Make git use another address for the repository than the one inside the cluster."""
    fork.git("config", f"url.{pushed_through}.insteadOf", url)


def vendored_argocd() -> list[str]:
    """Return the options of `gitops adopt` for a cluster without internet access, if its manifest is available."""
    manifest = os.environ.get("ARGOCD_INSTALL_MANIFEST")
    return [f"--vendor-argocd={manifest}"] if manifest else []
