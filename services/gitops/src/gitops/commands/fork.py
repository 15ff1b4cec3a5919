"""The command that makes a fork somebody's own."""

from pathlib import Path

from gitops.commands.options import Json
from gitops.fork import adopt as adopting
from gitops.git.repository import Repository
from gitops.terminal import Terminal


def adopt(
    *,
    repo: str | None = None,
    registry: str | None = None,
    registry_plain_http: bool | None = None,
    vendor_argocd: Path | None = None,
    json: Json = False,
) -> int:
    """Make this fork yours: every mention of where it lived before becomes the new address. Nothing is committed.

    Args:
        repo: Address to clone this fork from, as Argo CD will: https://github.com/you/pipeline.git.
        registry: Prefix of its images, with the charts below it: ghcr.io/you/pipeline.
        registry_plain_http: Whether that registry speaks plain HTTP, as one inside a cluster may.
        vendor_argocd: Argo CD's install.yaml, to keep in the repository for a cluster without internet.
        json: Print what was rewritten as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    places = adopting.Places(repository=repo, registry=registry, plain_http=registry_plain_http)
    outcome = adopting.adopt(repository, places, vendor_argocd)
    if json:
        terminal.json(outcome)
        return 0
    if outcome.rewritten:
        rows = [[entry.file, str(entry.mentions)] for entry in outcome.rewritten]
        terminal.rows(f"{outcome.now.repository}, {outcome.now.registry}", ("rewritten", "mentions"), rows)
    else:
        terminal.line("Nothing to rewrite: every mention is of this place already.")
    if outcome.vendored:
        terminal.line(f"Argo CD installs from {outcome.vendored} now: git add {outcome.vendored}")
    if outcome.rewritten or outcome.vendored:
        terminal.line("Look at `git diff`, commit, and push: Argo CD sees what is pushed.")
    return 0
