"""The command that sets up a fork."""

from pathlib import Path

from gitops.commands.options import Json
from gitops.fork.adopt import Places, adopt_fork, forge_of
from gitops.git.repository import Repository
from gitops.platform.forges import ForgeKind
from gitops.terminal import Terminal


def adopt(  # noqa: PLR0913  each is an option of the command
    *,
    repo: str | None = None,
    registry: str | None = None,
    registry_plain_http: bool | None = None,
    branch: str | None = None,
    forge: ForgeKind | None = None,
    forge_url: str | None = None,
    forge_api: str | None = None,
    vendor_argocd: Path | None = None,
    json: Json = False,
) -> int:
    """Adopt this fork: write its address to platform.yaml, from which everything derives. Nothing is committed.

    Args:
        repo: The address from which Argo CD clones this fork: https://github.com/you/pipeline.git.
        registry: Prefix of its images, with the charts below it: ghcr.io/you/pipeline.
        registry_plain_http: Whether that registry uses plain HTTP, such as one inside a cluster.
        branch: The branch that Argo CD reads and that `gitops` pushes to. [default: the present value, at first main]
        forge: The forge that hosts the repository. [default: from the address, or the present value]
        forge_url: Web address of the forge, if it is not the host of the repository.
        forge_api: Address of the forge's API, if it is not the usual one.
        vendor_argocd: Argo CD's install.yaml, to keep in the repository for a cluster without internet.
        json: Print what was written as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    places = Places(
        repository=repo,
        registry=registry,
        plain_http=registry_plain_http,
        branch=branch,
        forge=forge,
        forge_url=forge_url,
        forge_api=forge_api,
    )
    outcome = adopt_fork(repository, places, vendor_argocd)
    if json:
        now = outcome.now
        terminal.json({"repository": now.repository, "registry": now.registry.prefix, "files": outcome.files})
    elif outcome.files:
        terminal.line(f"This fork is now {outcome.now.repository}, with its images at {outcome.now.registry.prefix}.")
        terminal.line(f"Written: {', '.join(outcome.files)}")
        if repo and not forge and forge_of(repo) is None:
            terminal.note(
                f"{repo} does not show its forge, so it is still {outcome.now.forge_kind}: --forge changes it."
            )
        terminal.line(
            f"Look at `git diff`, commit (git add {' '.join(outcome.files)}), and push: Argo CD sees only what is "
            "pushed."
        )
    else:
        terminal.line("There is nothing to change: platform.yaml already says all of this.")
    return 0
