"""Run the shell steps of a job in order, without the jobs that it needs. act.py runs whole workflows.

Steps that use an action do nothing; tests pass in their outputs.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.workflows.workflow import Job, Step

_EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


@dataclass
class Run:
    """A running job, and its output. `known` has the values of the expressions in its steps."""

    root: Path
    environment: Mapping[str, str]
    known: Mapping[str, str] = field(default_factory=dict)
    printed: str = ""

    def job(self, job: Job) -> None:
        """Run every shell step; fail if one fails, or has a condition, which is not supported here."""
        for step in job.steps:
            if step.run is not None:
                assert "if" not in step.values, f"{job.title}: {step.run} has a condition"
                self._step(job, step)

    def _step(self, job: Job, step: Step) -> None:
        given = {
            name: _EXPRESSION.sub(lambda match: self.known[match[1]], text)
            for name, text in {**job.env, **step.env}.items()
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", str(step.run)],
            cwd=self.root,
            env={**self.environment, **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.printed += done.stdout + done.stderr
        assert done.returncode == 0, f"{step.run}\n{done.stdout}{done.stderr}"
