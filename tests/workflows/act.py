"""Runs whole workflows on this machine, by act (https://nektosact.com) in host mode: every job, step and condition.

What cannot be had here is stood in for: the actions of others by `stand_ins/OWNER/NAME/action.yml`, programs by
`stand_ins/bin`. Each says in its first lines what it does instead.
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
    """One job that was run; of a matrix, one of its jobs."""

    title: str
    """What GitHub's page calls it."""
    result: str
    """success or failure."""
    seconds: float
    steps: tuple[str, ...]
    """The steps that ran, by their names, without those that GitHub adds."""


class WorkflowRun(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that was run: its jobs in the order of their ends."""

    jobs: tuple[JobRun, ...]
    printed: Mapping[str, str]
    """What each job printed, by its title, and under no title what act itself did."""
    passed: bool

    def proved(self) -> "WorkflowRun":
        """Return it if all its jobs succeeded; AssertionError, with what the others printed, if not."""
        failed = {job.title for job in self.jobs if job.result != "success"} | {""}
        assert self.passed, "\n".join(f"{title}\n{text}" for title, text in self.printed.items() if title in failed)
        return self

    def ran(self, title: str) -> JobRun:
        """Return a job by its title, without the workflow's name."""
        return next(job for job in self.jobs if job.title.partition(" / ")[2] == title)


class Runner(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in for GitHub's runners and settings.

    Attributes:
        folder: Where a run's files may be put.
        remote: What is checked out, and pushed to.
        variables: The repository's variables.
        secrets: The repository's secrets, those of its environments included.
        environment: More variables of each step.
        skipped: Targets of make that are left out.
    """

    folder: Path
    remote: str
    variables: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}
    environment: Mapping[str, str] = {}
    skipped: Sequence[str] = ()

    @property
    def calls(self) -> list[str]:
        """What the programs that stand in were asked for."""
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
        """Run a workflow of a clone, at the commit that is checked out there.

        Args:
            clone: The clone; it is not changed.
            workflow: The workflow's path in it.
            event: What starts it.
            payload: The event, as far as the workflow looks at it.
            inputs: What a person typed who started it by hand.
            job: Only this job, and those that it needs.
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
    """The actions of others that a clone's pipelines use, each with its commit."""
    for path in sorted([*folder.glob(".*/workflows/*.yml"), *folder.glob(".*/actions/*/action.yml")]):
        yield from _USED.findall(path.read_text(encoding="utf-8"))


def _stood_in_for(clone: Path) -> Iterator[tuple[str, str]]:
    for name, commit in set(used_actions(clone)):
        yield f"{name}@{commit}", str(STAND_INS / name)


def _options(option: str, values: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        yield from (option, f"{name}={value}")


def _title(entry: Mapping[str, Any]) -> str:
    """What GitHub's page calls a job."""
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
