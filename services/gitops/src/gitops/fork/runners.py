"""Jobs on your own runners: in a public repository, everybody's pull request may run a job there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gitops.documents import YAMLError, loaded
from gitops.platform.model import Platform
from gitops.platform.reader import FILE

_WORKFLOWS = (Path(".github/workflows"), Path(".gitea/workflows"), Path(".forgejo/workflows"))
_OWN = "self-hosted"
# The values of the repository's variables are not known here; docs/set-up-delivery.md describes them.
_HOSTED = re.compile(r"(ubuntu|windows|macos)-[\w.-]+|\$\{\{.*\}\}")


def problems_of_runners(root: Path, platform: Platform) -> Iterator[str]:
    """Report workflows on your own runners, unless platform.yaml says that the repository is private."""
    if platform.visibility == "private":
        return
    for folder in _WORKFLOWS:
        for path in sorted((root / folder).glob("*.y*ml")):
            for job, label in _own(path):
                yield (
                    f"{path.relative_to(root)}: the job {job} runs on {label}, your own runner. In a public "
                    "repository, anybody's pull request can run there. Use a runner of the forge. If the repository "
                    f"is private, set `visibility: private` in {FILE}."
                )


def _own(path: Path) -> Iterator[tuple[str, str]]:
    """Yield jobs that run on your own runner, with its label."""
    try:
        workflow = loaded(path.read_text(encoding="utf-8", errors="replace"))
    except YAMLError:
        return  # The forge reports invalid YAML.
    jobs = workflow.get("jobs") if isinstance(workflow, dict) else None
    for name, job in (jobs if isinstance(jobs, dict) else {}).items():
        labels = _labels(job.get("runs-on") if isinstance(job, dict) else None)
        if own := next((label for label in labels if label == _OWN or not _HOSTED.fullmatch(label)), None):
            yield str(name), own


def _labels(runs_on: Any) -> list[str]:
    """Return the labels of `runs-on`: one label, several, or a group with labels."""
    if isinstance(runs_on, dict):
        group = [str(runs_on["group"])] if "group" in runs_on else []
        return [*group, *_labels(runs_on.get("labels"))]
    if isinstance(runs_on, list):
        return [str(label) for label in runs_on]
    return [] if runs_on is None else [str(runs_on)]
