"""Reads .github for the rules: workflows, their jobs, and the commands of their steps.

YAML is read with every scalar as text, because `on` would become a boolean, and versions numbers.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gitops.platform.reader import load_platform

ROOT = Path(__file__).resolve().parents[2]
_WORKFLOWS = Path(".github/workflows")
_PREPARE = Path(".github/actions/prepare/action.yml")
APP_TOKEN = "actions/create-github-app-token@"
_OPERATORS = frozenset({"|", "||", "&&", ";"})
# Commands that only start another command; their options take no separate values.
_STARTERS = frozenset({"tools/unless-held", "xargs"})


@dataclass(frozen=True)
class Step:
    """One step; `run` is None if it uses an action."""

    run: str | None
    uses: str | None
    env: Mapping[str, str]
    values: Mapping[str, Any]

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """The commands of a shell step, one tuple of words each, without redirections and starters."""
        return [] if self.run is None else list(commands_of(self.run))


@dataclass(frozen=True)
class Job:
    """One job of a workflow. `env` and `permissions` include those of the workflow."""

    workflow: str
    name: str
    steps: tuple[Step, ...]
    env: Mapping[str, str]
    permissions: Mapping[str, str] | str | None
    values: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its workflow and name, for people."""
        return f"{self.workflow}: {self.name}"

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """The commands of all its steps."""
        return [command for step in self.steps for command in step.commands]

    @property
    def reaches_main(self) -> bool:
        """Whether it has a token that can push."""
        own = isinstance(self.permissions, Mapping) and self.permissions.get("contents") == "write"
        return own or self.permissions == "write-all" or self.has_app_token

    @property
    def has_app_token(self) -> bool:
        """Whether it gets the App's token, which may pass the protection of main."""
        return any((step.uses or "").startswith(APP_TOKEN) for step in self.steps)


@dataclass(frozen=True)
class Workflow:
    """One file under .github/workflows."""

    name: str
    text: str

    @property
    def values(self) -> Mapping[str, Any]:
        """The whole file."""
        return _loaded(self.text)

    @property
    def events(self) -> Mapping[str, Any]:
        """The events that start it, with their filters."""
        on = self.values["on"]
        if isinstance(on, str):
            return {on: {}}
        if isinstance(on, list):
            return {name: {} for name in on}
        return {name: filters or {} for name, filters in on.items()}

    @property
    def jobs(self) -> list[Job]:
        """Its jobs."""
        whole = self.values
        return [
            Job(
                workflow=self.name,
                name=name,
                steps=tuple(map(_step, job.get("steps", []))),
                env={**whole.get("env", {}), **job.get("env", {})},
                permissions=job.get("permissions", whole.get("permissions")),
                values=job,
            )
            for name, job in whole["jobs"].items()
        ]


@dataclass(frozen=True)
class Files:
    """All files, so that a fixture can change one of them."""

    workflows: tuple[Workflow, ...]
    prepare: str
    names: frozenset[str]
    """What data names and nothing here may: environments, services, registered models and folders of models."""

    @property
    def jobs(self) -> list[Job]:
        """The jobs of every workflow."""
        return [job for workflow in self.workflows for job in workflow.jobs]

    @property
    def texts(self) -> Mapping[str, str]:
        """Every file by its path."""
        found = {str(_WORKFLOWS / workflow.name): workflow.text for workflow in self.workflows}
        return {**found, str(_PREPARE): self.prepare}

    @property
    def prepare_steps(self) -> list[Step]:
        """The steps of our own action."""
        return [_step(step) for step in _loaded(self.prepare)["runs"]["steps"]]

    def workflow(self, name: str) -> Workflow:
        """Return the workflow of a file."""
        return next(workflow for workflow in self.workflows if workflow.name == name)

    def changed(self, name: str, find: str, write: str) -> "Files":
        """Return a copy with a text of a workflow replaced; raise ValueError if it does not occur exactly once."""
        workflow = self.workflow(name)
        if workflow.text.count(find) != 1:
            raise ValueError(f"{name} has {workflow.text.count(find)} times, and not once: {find}")
        other = replace(workflow, text=workflow.text.replace(find, write))
        return replace(self, workflows=tuple(other if each is workflow else each for each in self.workflows))


def read() -> Files:
    """Return the files of the working tree."""
    paths = sorted((ROOT / _WORKFLOWS).glob("*.yml"))
    return Files(
        workflows=tuple(Workflow(name=path.name, text=path.read_text(encoding="utf-8")) for path in paths),
        prepare=(ROOT / _PREPARE).read_text(encoding="utf-8"),
        names=_names(),
    )


def _names() -> frozenset[str]:
    platform = load_platform(ROOT)
    return frozenset(
        {
            *(environment.name for environment in platform.environments),
            *(name for service in platform.services for name in (service.name, service.model)),
            *(folder.parent.name for folder in (ROOT / "models").glob("*/training.yaml")),
        }
    )


def variables(text: str) -> set[str]:
    """Return the shell variables that a step's commands read."""
    return set(re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text))


def _loaded(text: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # BaseLoader makes only text
    return content


def _step(values: Mapping[str, Any]) -> Step:
    return Step(run=values.get("run"), uses=values.get("uses"), env=values.get("env", {}), values=values)


def commands_of(script: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of a shell script, one tuple of words each, without redirections and starters."""
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "$@:%,+"
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if word in _OPERATORS:
                if words:
                    yield _started(words)
                words = []
            elif re.fullmatch(r"[<>]+", word):
                redirected = True
            elif redirected:
                redirected = False
            else:
                words.append(word)


def _started(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command without its starters, which do not change what it does."""
    if words[0] not in _STARTERS:
        return tuple(words)
    rest = [number for number, word in enumerate(words) if number and not word.startswith("-")]
    return _started(words[rest[0] :]) if rest else tuple(words)
