"""Run whole workflows on this machine, by act (https://nektosact.com) in host mode: every job, step and condition.

Stand-ins replace what is not available here: `stand_ins/OWNER/NAME/action.yml` other people's actions, and
`stand_ins/bin` programs. The first lines of each say what it does instead.
"""

import datetime as dt
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from embedded.processes import program
from tests.workflows.workflow import ROOT

STAND_INS = Path(__file__).parent / "stand_ins"
PROGRAMS = STAND_INS / "bin"
_USED = re.compile(r"uses:\s*([\w.-]+/[\w./-]+)@(\w+)")
_RUNNERS = ("ubuntu-24.04", "ubuntu-latest")
_SECONDS = 1800


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """One job that ran, or one of the jobs of a matrix."""

    title: str
    """What GitHub's page calls it."""
    result: str
    """success or failure."""
    seconds: float
    steps: tuple[str, ...]
    """The steps that ran, by their names, without those that GitHub adds."""


class WorkflowRun(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that ran: its jobs, in the order in which they ended."""

    jobs: tuple[JobRun, ...]
    printed: Mapping[str, str]
    """What each job printed, by its title, and under no title what act itself did."""
    passed: bool

    def proved(self) -> "WorkflowRun":
        """Return the run if all jobs succeeded; otherwise fail with the output of the other jobs."""
        failed = {job.title for job in self.jobs if job.result != "success"} | {""}
        assert self.passed, "\n".join(f"{title}\n{text}" for title, text in self.printed.items() if title in failed)
        return self

    def ran(self, title: str) -> JobRun:
        """Return a job by its title, without the workflow's name."""
        return next(job for job in self.jobs if job.title.partition(" / ")[2] == title)


class Runner(msgspec.Struct, frozen=True, kw_only=True):
    """A stand-in for GitHub's runners and settings.

    Attributes:
        folder: The folder for a run's files.
        remote: The repository that jobs check out and push to.
        variables: The repository's variables.
        secrets: The repository's secrets, those of its environments included.
        environment: Further variables of each step.
        skipped: Targets of make that are not run.
    """

    folder: Path
    remote: str
    variables: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    skipped: Sequence[str] = ()

    @property
    def calls(self) -> list[str]:
        """The calls of the programs that are stand-ins."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(
        self,
        clone: Path,
        workflow: str,
        event: str,
        payload: Mapping[str, Any],
        *,
        inputs: Mapping[str, str] | None = None,
        job: str | None = None,
    ) -> WorkflowRun:
        """Run a workflow of a clone, at its checked-out commit.

        Args:
            clone: The clone; it is not changed.
            workflow: The workflow's path in it.
            event: The event that starts it.
            payload: The parts of the event that the workflow uses.
            inputs: The inputs of a person who starts it by hand.
            job: If given, only this job and those that it needs run.
        """
        (self.folder / "event.json").write_text(json.dumps({**payload, "inputs": dict(inputs or {})}))
        command = [
            *(program("act"), event, "--workflows", workflow, "--eventpath", str(self.folder / "event.json"), "--json"),
            *("--no-skip-checkout", "--no-cache-server", "--action-cache-path", str(self.folder / "act")),
            *(("--job", job) if job else ()),
            *_options("--platform", dict.fromkeys(_RUNNERS, "-self-hosted")),
            *_options("--local-repository", dict(_stood_in_for(clone))),
            *_options("--var", self.variables),
            *_options("--secret", self.secrets),
            *_options("--input", inputs or {}),
            *_options("--env", self._environment()),
        ]
        done = subprocess.run(
            command,
            cwd=clone,
            env=os.environ | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}:{ROOT / '.cache/tools/bin'}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        printed = {"": done.stderr}
        for entry in said:
            if entry.get("raw_output") or entry.get("level") == "error":
                title = _title(entry)
                printed[title] = printed.get(title, "") + entry["msg"].rstrip("\n") + "\n"
        return WorkflowRun(jobs=tuple(_jobs(said)), printed=printed, passed=done.returncode == 0)

    def _environment(self) -> dict[str, str]:
        own = {"REMOTE": self.remote, "INSTALLED": str(ROOT), "SKIPPED": " ".join(self.skipped)}
        places = {name.upper(): str(self.folder / name) for name in ("calls", "signed", "artifacts", "images")}
        ours = {f"STAND_IN_{name}": value for name, value in (own | places).items()}
        # act gives programs a terminal, which GitHub does not.
        return {"TERM": "dumb", **ours, **self.environment}


def used_actions(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the foreign actions that a clone's pipelines use, each with its commit."""
    for path in sorted([*folder.glob(".*/workflows/*.yml"), *folder.glob(".*/actions/*/action.yml")]):
        yield from _USED.findall(path.read_text(encoding="utf-8"))


def _stood_in_for(clone: Path) -> Iterator[tuple[str, str]]:
    for name, commit in set(used_actions(clone)):
        yield f"{name}@{commit}", str(STAND_INS / name)


def _options(option: str, values: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        yield from (option, f"{name}={value}")


def _title(entry: Mapping[str, Any]) -> str:
    """Return the title of a job on GitHub's pages."""
    if "job" not in entry:
        return ""
    values = (entry.get("matrix") or {}).values()
    of = ", ".join(str(value.get("name", value) if isinstance(value, dict) else value) for value in values)
    return f"{entry['job'].partition('/')[0]} / {entry['jobID']}" + (f" ({of})" if of else "")


def _jobs(said: Sequence[Mapping[str, Any]]) -> Iterator[JobRun]:
    started: dict[str, dt.datetime] = {}
    steps: dict[str, list[str]] = {}
    for entry in said:
        name = entry.get("job")
        if name is None:
            continue
        now = dt.datetime.fromisoformat(entry["time"])
        started.setdefault(name, now)
        if entry.get("stage") == "Main" and "stepResult" in entry and len(entry.get("stepID", ())) == 1:
            steps.setdefault(name, []).append(entry["step"])
        if "jobResult" in entry:
            yield JobRun(
                title=_title(entry),
                result=entry["jobResult"],
                seconds=(now - started[name]).total_seconds(),
                steps=tuple(steps.get(name, ())),
            )
