"""Pull requests and settings through GitHub's REST API."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Struct

from gitops.errors import BadInputError
from gitops.forge.api import NEW_COMMIT, NEW_PULL_REQUEST, Access, Api, Variables, error_text
from gitops.forge.protocol import Check, Guards, Move, Opinion, PullRequest, Standing
from gitops.forge.repositories import RepositoryForge
from gitops.forge.rules import Rules

_PAGE = {"per_page": "100"}
# The environment with the secrets for delivery, which only the branch may read.
_ENVIRONMENT = "delivery"
_AUTO_MERGE = """
mutation($pull: ID!, $head: GitObjectID!, $method: PullRequestMergeMethod!) {
  enablePullRequestAutoMerge(input: {pullRequestId: $pull, expectedHeadOid: $head, mergeMethod: $method}) {
    clientMutationId
  }
}
"""
_PASSED = frozenset({"success", "neutral", "skipped"})
_STATES: Mapping[str, Literal["passed", "waiting"]] = {"success": "passed", "pending": "waiting"}


class _Name(Struct, frozen=True):
    name: str = ""
    login: str = ""


class _Branch(Struct, frozen=True):
    ref: str
    sha: str = ""


class _Pull(Struct, frozen=True):
    number: int
    html_url: str
    head: _Branch
    base: _Branch
    state: str = "open"
    title: str = ""
    body: str | None = None
    labels: Sequence[_Name] = ()
    mergeable_state: str = ""
    merged_at: str | None = None
    node_id: str = ""

    def pull_request(self) -> PullRequest:
        """Return it in the form that all forges share."""
        return PullRequest(
            number=self.number,
            url=self.html_url,
            title=self.title,
            body=self.body or "",
            branch=self.head.ref,
            head=self.head.sha,
            state="merged" if self.merged_at else "open" if self.state == "open" else "closed",
            labels=[label.name for label in self.labels],
        )


class _Error(Struct, frozen=True):
    message: str


class _Outcome(Struct, frozen=True):
    errors: Sequence[_Error] = ()


class _Comment(Struct, frozen=True):
    body: str | None = None


class _Review(Struct, frozen=True):
    state: str
    user: _Name | None = None


class _Run(Struct, frozen=True):
    name: str
    status: str
    conclusion: str | None = None

    def check(self) -> Check:
        """Return it in the form that all forges share."""
        if self.status != "completed":
            return Check(name=self.name, state="waiting")
        return Check(name=self.name, state="passed" if self.conclusion in _PASSED else "failed")


class _Runs(Struct, frozen=True):
    check_runs: Sequence[_Run]


class _Status(Struct, frozen=True):
    context: str
    state: str

    def check(self) -> Check:
        """Return it in the form that all forges share."""
        return Check(name=self.context, state=_STATES.get(self.state, "failed"))


class _Statuses(Struct, frozen=True):
    statuses: Sequence[_Status]


class _Activity(Struct, frozen=True):
    after: str
    timestamp: datetime


class _Ruleset(Struct, frozen=True):
    id: int
    name: str


class _App(Struct, frozen=True):
    id: int


class _Policy(Struct, frozen=True):
    id: int
    name: str
    type: str = "branch"


class _Policies(Struct, frozen=True):
    branch_policies: Sequence[_Policy] = ()


class _Permissions(Struct, frozen=True):
    push: bool = False


class _Repository(Struct, frozen=True):
    permissions: _Permissions = _Permissions()


class _Rule(Struct, frozen=True):
    type: str
    parameters: Mapping[str, Any] | None = None


class _Hook(Struct, frozen=True):
    config: Mapping[str, Any] = {}
    active: bool = True


class GitHub(RepositoryForge):
    """A repository on github.com or GitHub Enterprise."""

    variables = Variables(token="GITHUB_TOKEN", api="GITHUB_API_URL", repository="GITHUB_REPOSITORY")  # noqa: S106  a name
    pull_shape = _Pull

    def __init__(self, api: str, slug: str, token: str, base: str, pause: Callable[[float], None] = time.sleep) -> None:
        """Take the API's address, the repository (owner/name), the token, and the target branch of pull requests.

        `pause` waits for a number of seconds.
        """
        access = Access(
            name="GitHub",
            url=api,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            variables=self.variables,
            rights="write contents and pull requests",
            busy=frozenset({409}),
        )
        super().__init__(Api(access, pause), slug, base)
        # GitHub Enterprise has the REST API at /api/v3, and GraphQL at /api/graphql.
        self._graphql = Api(msgspec.structs.replace(access, url=api.removesuffix("/v3")), pause)
        self._owner = slug.partition("/")[0]

    def open_from(self, branch: str) -> PullRequest | None:
        """Return the open pull request from a branch, if any."""
        query = {"state": "open", "base": self._base, "head": f"{self._owner}:{branch}", **_PAGE}
        found = self._api.pages(f"{self._repository}/pulls", _Pull, query)
        # Some servers with this API do not filter by branch.
        return next(
            (pull.pull_request() for pull in found if (pull.head.ref, pull.base.ref) == (branch, self._base)), None
        )

    def all_open(self) -> list[PullRequest]:
        """Return every open pull request."""
        query = {"state": "open", "base": self._base, **_PAGE}
        return [pull.pull_request() for pull in self._api.pages(f"{self._repository}/pulls", _Pull, query)]

    def create(self, branch: str, title: str, body: str) -> PullRequest | None:
        """Open a pull request; None if there is an open one from the branch already."""
        content = {"title": title, "body": body, "head": branch, "base": self._base}
        answer = self._api.ask("POST", f"{self._repository}/pulls", content)
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and "already exists" in error_text(answer):
            return None
        return self._api.decoded(self._api.done(answer), _Pull).pull_request()

    def comments(self, pull: PullRequest) -> list[str]:
        """Return the comments of a pull request."""
        path = f"{self._repository}/issues/{pull.number}/comments"
        found = self._api.pages(path, _Comment, _PAGE, NEW_PULL_REQUEST)
        return [comment.body or "" for comment in found]

    def label(self, pull: PullRequest, labels: Sequence[str]) -> None:
        """Add labels to a pull request; GitHub creates those that the repository lacks."""
        self._api.do("POST", f"{self._repository}/issues/{pull.number}/labels", {"labels": list(labels)})

    def merge_itself(self, pull: PullRequest) -> str:
        """Turn auto-merge on, which only GraphQL can; GitHub refuses it if the pull request could merge at once."""
        node = self._api.get(f"{self._repository}/pulls/{pull.number}", _Pull).node_id
        # With the head named, GitHub does not merge commits that were pushed since.
        variables = {"pull": node, "head": pull.head, "method": "SQUASH"}
        answer = self._graphql.send("POST", "/graphql", {"query": _AUTO_MERGE, "variables": variables}, _Outcome)
        return "; ".join(error.message for error in answer.errors)

    def opinion(self, pull: PullRequest) -> Opinion:
        """Return reviews and checks of a pull request."""
        words: dict[str, str] = {}
        path = f"{self._repository}/pulls/{pull.number}/reviews"
        for review in self._api.pages(path, _Review, _PAGE, NEW_PULL_REQUEST):
            # A comment does not undo an approval.
            if review.user and review.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
                words[review.user.login] = review.state
        commit = f"{self._repository}/commits/{pull.head}"
        runs = self._api.sheets(f"{commit}/check-runs", _Runs, _PAGE, lambda sheet: len(sheet.check_runs), NEW_COMMIT)
        statuses = self._api.sheets(f"{commit}/status", _Statuses, _PAGE, lambda sheet: len(sheet.statuses), NEW_COMMIT)
        now = self._api.get(f"{self._repository}/pulls/{pull.number}", _Pull)
        return Opinion(
            approved_by=[user for user, state in words.items() if state == "APPROVED"],
            rejected_by=[user for user, state in words.items() if state == "CHANGES_REQUESTED"],
            checks=[
                *(run.check() for sheet in runs for run in sheet.check_runs),
                *(status.check() for sheet in statuses for status in sheet.statuses),
            ],
            conflicts=now.mergeable_state == "dirty",
        )

    def moves(self) -> Iterator[Move]:
        """Yield the recorded moves of the branch, the newest first."""
        query = {"ref": f"refs/heads/{self._base}", **_PAGE}
        for each in self._api.pages(f"{self._repository}/activity", _Activity, query):
            yield Move(head=each.after, when=each.timestamp)

    def protect(self, rules: Rules, pusher: str) -> list[str]:
        """Write rulesets, the environment of delivery and the repository's settings; `pusher` is an App's number."""
        if not re.fullmatch(r"[0-9]+", pusher):
            raise BadInputError(
                f"--pusher: {pusher!r} is not the number of a GitHub App: give that of the App that bumps."
            )
        return [*self._rulesets(rules, int(pusher)), self._environment(), self._settings(rules)]

    def standing(self, rules: Rules) -> Standing:
        """Return the rights of the token, and which rules the repository has."""
        who = self._api.ask("GET", "/user")
        expiry = who.headers.get("github-authentication-token-expiration", "")
        repository = self._api.get(self._repository, _Repository)
        hooks = self._api.seen_pages(f"{self._repository}/hooks", _Hook, _PAGE)
        return Standing(
            # The token of an App has no user.
            who=self._api.decoded(who, _Name).login if who.is_success else "",
            expires=date.fromisoformat(expiry[:10]) if expiry else None,
            may_push=repository.permissions.push,
            may_open=self._api.may("POST", f"{self._repository}/pulls", {"head": self._base, "base": self._base}),
            may_comment=True,
            guards=self._guards(rules),
            hooks=None if hooks is None else [str(hook.config.get("url", "")) for hook in hooks if hook.active],
        )

    def _guards(self, rules: Rules) -> Guards | None:
        path = f"{self._repository}/rules/branches/{quote(self._base, safe='')}"
        found = self._api.seen_pages(path, _Rule, _PAGE)
        if found is None:
            return None
        reviews = [rule.parameters or {} for rule in found if rule.type == "pull_request"]
        required = {
            check["context"]
            for rule in found
            if rule.type == "required_status_checks"
            for check in (rule.parameters or {}).get("required_status_checks", [])
        }
        return Guards(
            protected=bool(reviews),
            approvals=max((review.get("required_approving_review_count", 0) for review in reviews), default=0),
            unchecked=[name for name in rules.checks if name not in required],
        )

    def _rulesets(self, rules: Rules, app: int) -> list[str]:
        there = {each.name: each.id for each in self._api.pages(f"{self._repository}/rulesets", _Ruleset, _PAGE)}
        # GitHub Actions is an App, and its number differs between servers:
        # https://docs.github.com/rest/apps/apps#get-an-app
        actions = self._api.get("/apps/github-actions", _App).id
        for document in rules.documents:
            content, number = _filled(document, app, actions), there.get(document["name"])
            if number is None:
                self._api.do("POST", f"{self._repository}/rulesets", content)
            else:
                self._api.do("PUT", f"{self._repository}/rulesets/{number}", content)
        return [f"ruleset {document['name']}" for document in rules.documents]

    def _environment(self) -> str:
        path = f"{self._repository}/environments/{_ENVIRONMENT}"
        policy = {"protected_branches": False, "custom_branch_policies": True}
        self._api.do("PUT", path, {"deployment_branch_policy": policy})
        policies = f"{path}/deployment-branch-policies"
        sheets = self._api.sheets(policies, _Policies, _PAGE, lambda sheet: len(sheet.branch_policies))
        there = [each for sheet in sheets for each in sheet.branch_policies]
        ours = [each for each in there if (each.name, each.type) == (self._base, "branch")]
        if not ours:
            self._api.do("POST", policies, {"name": self._base, "type": "branch"})
        # Allow no other branch or tag: someone who can push one could change the workflow there, and read the secrets.
        for each in there:
            if each not in ours:
                self._api.do("DELETE", f"{policies}/{each.id}")
        return f"environment {_ENVIRONMENT}: its secrets are for {self._base} only"

    def _settings(self, rules: Rules) -> str:
        permissions = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
        self._api.do("PUT", f"{self._repository}/actions/permissions/workflow", permissions)
        merging = {
            "allow_merge_commit": "merge" in rules.merges,
            "allow_squash_merge": "squash" in rules.merges,
            "allow_rebase_merge": "rebase" in rules.merges,
            "allow_auto_merge": rules.merge_themselves,
            "delete_branch_on_merge": True,
        }
        self._api.do("PATCH", self._repository, merging)
        ways = " or ".join(rules.merges)
        return f"settings: workflows' tokens are read-only, merges are {ways}, merged branches are deleted"


def _filled(document: Mapping[str, Any], pusher: int, actions: int) -> dict[str, Any]:
    """Return a ruleset with the numbers of two Apps on this server: that which may push, and GitHub Actions."""
    actors = [
        {**actor, "actor_id": pusher} if actor["actor_type"] == "Integration" else actor
        for actor in document.get("bypass_actors", [])
    ]
    rules = [
        _checked_by(rule, actions) if rule["type"] == "required_status_checks" else rule for rule in document["rules"]
    ]
    return {**document, "bypass_actors": actors, "rules": rules}


def _checked_by(rule: Mapping[str, Any], actions: int) -> dict[str, Any]:
    checks = [{**check, "integration_id": actions} for check in rule["parameters"]["required_status_checks"]]
    return {**rule, "parameters": {**rule["parameters"], "required_status_checks": checks}}
