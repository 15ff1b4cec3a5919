"""What .github says runs, read for the rules: workflows, their jobs, and the commands of their steps.

YAML is read with every scalar as text, because `on` is a word here and versions are no numbers.
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
# Words that only start another command, with the options that take no word of their own.
_STARTERS = frozenset({"tools/unless-held", "xargs"})


@dataclass(frozen=True)
class Step:
    """One step; `run` is None where it uses an action."""

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
    """One job of a workflow. `env` and `permissions` are what holds in it, the workflow's own included."""

    workflow: str
    name: str
    steps: tuple[Step, ...]
    env: Mapping[str, str]
    permissions: Mapping[str, str] | str | None
    values: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Where it stands, for people."""
        return f"{self.workflow}: {self.name}"

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """The commands of all its steps."""
        return [command for step in self.steps for command in step.commands]

    @property
    def reaches_main(self) -> bool:
        """Whether it holds a token that can push."""
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
        """What starts it, with the filters of each event."""
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
    """All of it, so that a fixture can change one file."""

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
        """The steps of the action of our own."""
        return [_step(step) for step in _loaded(self.prepare)["runs"]["steps"]]

    def workflow(self, name: str) -> Workflow:
        """The workflow of a file."""
        return next(workflow for workflow in self.workflows if workflow.name == name)

    def changed(self, name: str, find: str, write: str) -> "Files":
        """A copy in which one text of one workflow is another; ValueError where it is not there exactly once."""
        workflow = self.workflow(name)
        if workflow.text.count(find) != 1:
            raise ValueError(f"{name} has {workflow.text.count(find)} times, and not once: {find}")
        other = replace(workflow, text=workflow.text.replace(find, write))
        return replace(self, workflows=tuple(other if each is workflow else each for each in self.workflows))


def read() -> Files:
    """What stands in the working tree."""
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
    """The shell variables that a step's commands read."""
    return set(re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text))


def _loaded(text: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # it makes nothing but text
    return content


def _step(values: Mapping[str, Any]) -> Step:
    return Step(run=values.get("run"), uses=values.get("uses"), env=values.get("env", {}), values=values)


def commands_of(script: str) -> Iterator[tuple[str, ...]]:
    """The commands of some shell, one tuple of words each, without redirections and starters."""
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
    """The command behind its starters, which do not change what it may do."""
    if words[0] not in _STARTERS:
        return tuple(words)
    rest = [number for number, word in enumerate(words) if number and not word.startswith("-")]
    return _started(words[rest[0] :]) if rest else tuple(words)
