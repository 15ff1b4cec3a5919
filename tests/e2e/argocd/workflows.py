"""Run the workflows themselves with act, against the forge and the registry of the tests."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.argocd import gitea
from tests.e2e.argocd.gitea import Pull
from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.report import Report
from tests.workflows.act import Runner, WorkflowRun

HEADING = "Workflows"
NOT_RUN = (
    "- not run: `make test` (it runs alone), keyless signing and attestations (GitHub's own), "
    "Trivy (no database), builds for another platform, ci's `e2e` and `rendered`, `nightly`"
)
_BRANCH = "main"
# The default way to build images.
_BUILD = {"CONTAINER_BUILD": "docker build", "CONTAINER_PUSH": "", "BASE_IMAGE": ""}


def runner(pipeline: Pipeline) -> Runner:
    """Return a stand-in for a forge's runners, with the robot's token and this machine's builder and registry."""
    folder = pipeline.fork.folder.parent / "runner"
    folder.mkdir(exist_ok=True)
    token = pipeline.forge.token
    return Runner(
        folder=folder,
        remote=pipeline.forge.pushed_through,
        variables={"DELIVERY": "on", "DELIVERY_CLIENT_ID": "an App"},
        secrets={"DELIVERY_PRIVATE_KEY": token, "DELIVERY_TOKEN": token, "GITHUB_TOKEN": "of the workflow"},
        environment={
            **{name: os.environ.get(name) or usual for name, usual in _BUILD.items()},
            "GITEA_API_URL": pipeline.forge.variables["GITEA_API_URL"],
            # A forge's runners have no access to a cluster.
            "KUBECONFIG": str(folder / "no-kubeconfig"),
            # Images that these tests push have no real signature.
            "GITOPS_COSIGN_KEY": "cosign.pub",
        },
        skipped=("test",),
    )


def run(
    pipeline: Pipeline, report: Report, path: str, event: str, payload: Mapping[str, Any] | None = None
) -> WorkflowRun:
    """Run a workflow of the fork at the branch's newest commit, and report its jobs, which must all succeed."""
    pipeline.update()
    about = {
        "ref": f"refs/heads/{_BRANCH}",
        "repository": {"default_branch": _BRANCH, "full_name": gitea.SLUG},
        **(payload or {}),
    }
    done = runner(pipeline).run(pipeline.fork.folder, path, event, about)
    log = pipeline.fork.log.with_name(f"{Path(path).stem}-workflow.log")
    log.write_text("\n".join(f"=== {title}\n{text}" for title, text in done.printed.items()))
    report.add(HEADING, *(f"- {job.title}: {job.result} after {job.seconds:.0f} s" for job in done.jobs))
    return done.proved()


def delivered_before(pipeline: Pipeline) -> None:
    """Tag the images of this run by their content, and sign them, as an earlier delivery would have done."""
    fork, signed = pipeline.fork, runner(pipeline).folder / "signed"
    images = json.loads((fork.folder / ".cache" / "images.json").read_text())
    for name in ("training", "mlflow", "gitops"):
        image = images[name]
        facts = dict(line.split("=", 1) for line in fork.program(["tools/image", name], seconds=60).splitlines())
        # A tag never changes, so an earlier run may have given it to an image with the same content.
        digest = facts["digest"] or image["digest"]
        fork.program(["tools/tag-image", f"{image['repository']}@{digest}", facts["tag"]], seconds=60)
        with signed.open("a") as lines:
            lines.write(f"{digest}\n")


def judged(pipeline: Pipeline, report: Report, pull: Pull) -> None:
    """Run the checks of a pull request, and report all of them to the forge. Builds and tests do not run again."""
    pipeline.fork.git("fetch", "--quiet", "origin", pull.branch)
    base = {"sha": pipeline.fork.git("ls-remote", "origin", _BRANCH).split()[0], "ref": _BRANCH}
    head = {"sha": pull.head, "ref": pull.branch, "repo": {"full_name": gitea.SLUG}}
    proposal = {"pull_request": {"number": pull.number, "head": head, "base": base}}
    run(pipeline, report, ".github/workflows/promote-checks.yml", "pull_request", proposal)
    pipeline.report_checks(pull)
