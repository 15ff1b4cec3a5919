"""Constants for each kind of forge. `adapter` names the class that makes the requests."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

ForgeKind = Literal["github", "gitlab", "gitea"]


class ForgeFacts(Struct, frozen=True, kw_only=True):
    """The addresses of a kind of forge.

    Attributes:
        adapter: The class that talks to its API, as MODULE:CLASS.
        hosts: Git servers that are known to be of this kind.
        api: The path of the API below the forge's address.
        central: The API's address for forges whose API is on another host.
        file_page: The page of a file, below the repository's, with {branch} and {path}.
        new_pull_request: The page that opens a pull request, below the repository's, with {base} and {branch}.
        webhook_key: The key in Argo CD's Secret for the signatures of its webhooks:
            https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/
        same_approvals: Whether every merge into a branch needs the same approvals, so no pull request merges itself.
    """

    adapter: str
    hosts: tuple[str, ...]
    api: str
    central: Mapping[str, str] = {}
    file_page: str
    new_pull_request: str
    webhook_key: str
    same_approvals: bool = False


FORGES: Mapping[ForgeKind, ForgeFacts] = {
    "github": ForgeFacts(
        adapter="gitops.forge.github:GitHub",
        hosts=("github.com",),
        api="/api/v3",
        central={"https://github.com": "https://api.github.com"},
        file_page="blob/{branch}/{path}",
        new_pull_request="compare/{base}...{branch}?expand=1",
        webhook_key="webhook.github.secret",
    ),
    "gitlab": ForgeFacts(
        adapter="gitops.forge.gitlab:GitLab",
        hosts=("gitlab.com",),
        api="/api/v4",
        file_page="-/blob/{branch}/{path}",
        new_pull_request=(
            "-/merge_requests/new?merge_request%5Bsource_branch%5D={branch}&merge_request%5Btarget_branch%5D={base}"
        ),
        webhook_key="webhook.gitlab.secret",
    ),
    "gitea": ForgeFacts(
        adapter="gitops.forge.gitea:Gitea",
        hosts=("codeberg.org",),
        api="/api/v1",
        file_page="src/branch/{branch}/{path}",
        new_pull_request="compare/{base}...{branch}",
        # Gitea and Forgejo sign webhooks like Gogs.
        webhook_key="webhook.gogs.secret",
        same_approvals=True,
    ),
}
