"""Runs the shell steps of a job here, as GitHub would: in order, with conditions, environment and outputs.

Of GitHub's expressions it knows what the jobs that are run so use: outputs of earlier steps, hashFiles of one path,
`==`, `!=` and `&&`. Steps that use an action do nothing; what they would have given is handed in.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.workflows.workflow import Job, Step

_EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
_OUTPUT = re.compile(r"steps\.([\w-]+)\.outputs\.([\w-]+)")
_FILES = re.compile(r"hashFiles\('([^'*]+)'\)")


@dataclass
class Run:
    """A job under way: what its steps put out, and what was printed."""

    root: Path
    environment: Mapping[str, str]
    known: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[tuple[str, str], str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    printed: str = ""

    def job(self, job: Job) -> None:
        """Run every shell step whose condition holds; AssertionError where one fails."""
        for step in job.steps:
            if step.run is not None and self._wanted(step):
                self._step(job, step)

    def value(self, expression: str) -> str:
        """What an expression is: of a step's output, of a file, or as it was handed in."""
        if match := _OUTPUT.fullmatch(expression):
            return self.outputs.get((match[1], match[2]), self.known.get(expression, ""))
        if match := _FILES.fullmatch(expression):
            return "a hash" if (self.root / match[1]).is_file() else ""
        if expression.startswith("'") and expression.endswith("'"):
            return expression[1:-1]
        return self.known[expression]

    def _wanted(self, step: Step) -> bool:
        condition = step.values.get("if")
        return condition is None or all(self._holds(part.strip()) for part in condition.split("&&"))

    def _holds(self, comparison: str) -> bool:
        left, sign, right = re.split(r"\s*(==|!=)\s*", comparison)
        return (self.value(left) == self.value(right)) is (sign == "==")

    def _step(self, job: Job, step: Step) -> None:
        output = self.root / ".cache" / "output"
        output.write_text("")
        given = {
            name: _EXPRESSION.sub(lambda match: self.value(match[1]), text)
            for name, text in {**job.env, **step.env}.items()
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", str(step.run)],
            cwd=self.root,
            env={**self.environment, **given, "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": "/dev/null"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.ran.append(str(step.run))
        self.printed += done.stdout + done.stderr
        assert done.returncode == 0, f"{step.run}\n{done.stdout}{done.stderr}"
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.outputs[step.values.get("id", ""), name] = value
