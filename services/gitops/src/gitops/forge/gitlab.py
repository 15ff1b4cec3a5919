"""Merge requests and settings through GitLab's REST API."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal
from urllib.parse import quote

import httpx
from msgspec import Struct

from gitops.errors import BadInputError
from gitops.forge.api import NEW_COMMIT, NEW_PULL_REQUEST, Access, Api, Variables, error_text
from gitops.forge.protocol import Check, Forge, Guards, Move, Opinion, PullRequest, Standing
from gitops.forge.rules import Rules

_PAGE = {"per_page": "100"}
# Roles: https://docs.gitlab.com/api/protected_branches/
_NOBODY, _DEVELOPER, _MAINTAINER = 0, 30, 40
_FAILED = frozenset({"failed", "canceled"})
_STATES: Mapping[str, Literal["passed", "failed"]] = {
    "success": "passed",
    "skipped": "passed",
    "failed": "failed",
    "canceled": "failed",
}
_RULE = "gitops"
# Statuses if it cannot merge now: https://docs.gitlab.com/api/merge_requests/#merge-a-merge-request
_NOT_YET = frozenset({405, 406, 409, 422})


class _User(Struct, frozen=True):
    username: str
    id: int = 0


class _Merge(Struct, frozen=True):
    iid: int
    web_url: str
    state: str
    source_branch: str
    target_branch: str
    source_project_id: int
    target_project_id: int
    title: str = ""
    description: str | None = None
    sha: str | None = None
    labels: Sequence[str] = ()
    has_conflicts: bool = False

    def pull_request(self) -> PullRequest:
        """Return it in the form that all forges share."""
        return PullRequest(
            number=self.iid,
            url=self.web_url,
            title=self.title,
            body=self.description or "",
            branch=self.source_branch,
            head=self.sha or "",
            state="open" if self.state == "opened" else "merged" if self.state == "merged" else "closed",
            labels=self.labels,
        )


class _Note(Struct, frozen=True):
    body: str
    system: bool = False


class _Approver(Struct, frozen=True):
    user: _User


class _Approvals(Struct, frozen=True):
    approved_by: Sequence[_Approver] = ()


class _Reviewer(Struct, frozen=True):
    user: _User
    state: str


class _Status(Struct, frozen=True):
    name: str
    status: str
    allow_failure: bool = False

    def check(self) -> Check:
        """Return it in the form that all forges share."""
        if self.allow_failure and self.status in _FAILED:
            return Check(name=self.name, state="passed")
        return Check(name=self.name, state=_STATES.get(self.status, "waiting"))


class _Push(Struct, frozen=True):
    ref_type: str
    ref: str | None = None
    commit_to: str | None = None


class _Event(Struct, frozen=True):
    created_at: datetime
    push_data: _Push | None = None


class _Level(Struct, frozen=True):
    id: int = 0
    access_level: int | None = None
    user_id: int | None = None


class _Protected(Struct, frozen=True):
    push_access_levels: Sequence[_Level] = ()


class _Approval(Struct, frozen=True):
    id: int
    name: str
    approvals_required: int = 0


class _Access(Struct, frozen=True):
    access_level: int = 0


class _Permissions(Struct, frozen=True):
    project_access: _Access | None = None
    group_access: _Access | None = None


class _Project(Struct, frozen=True):
    permissions: _Permissions = _Permissions()
    only_allow_merge_if_pipeline_succeeds: bool = False

    @property
    def role(self) -> int:
        """Return the highest role that the token has in the project."""
        grants = (self.permissions.project_access, self.permissions.group_access)
        return max((grant.access_level for grant in grants if grant), default=_NOBODY)


class _Token(Struct, frozen=True):
    expires_at: str | None = None


class _Hook(Struct, frozen=True):
    url: str
    push_events: bool = True


class GitLab(Forge):
    """A project on gitlab.com or on your own GitLab."""

    variables = Variables(token="GITLAB_TOKEN", api="CI_API_V4_URL", repository="CI_PROJECT_PATH")  # noqa: S106  a name

    def __init__(self, api: str, slug: str, token: str, base: str, pause: Callable[[float], None] = time.sleep) -> None:
        """Take the API's address, the project (group/name), the token, and the target branch of merge requests.

        `pause` waits for a number of seconds.
        """
        access = Access(
            name="GitLab",
            url=api,
            headers={"Accept": "application/json", "PRIVATE-TOKEN": token},
            variables=self.variables,
            rights="use the API as a developer of the project (scope api)",
        )
        self._api = Api(access, pause)
        self._project = f"/projects/{quote(slug, safe='')}"
        self._merges = f"{self._project}/merge_requests"
        self._base = base

    def open_from(self, branch: str) -> PullRequest | None:
        """Return the open merge request from a branch, if any."""
        return next(iter(self._open({"source_branch": branch})), None)

    def all_open(self) -> list[PullRequest]:
        """Return every open merge request."""
        return self._open({})

    def create(self, branch: str, title: str, body: str) -> PullRequest | None:
        """Open a merge request; None if there is an open one from the branch already."""
        content = {"source_branch": branch, "target_branch": self._base, "title": title, "description": body}
        answer = self._api.ask("POST", self._merges, content)
        if answer.status_code == httpx.codes.CONFLICT:
            return None
        return self._api.decoded(self._api.done(answer), _Merge).pull_request()

    def edit(self, pull: PullRequest, title: str, body: str) -> PullRequest:
        """Change title and body of a merge request; it may have been closed meanwhile."""
        content = {"title": title, "description": body}
        return self._api.send("PUT", f"{self._merges}/{pull.number}", content, _Merge).pull_request()

    def shut(self, pull: PullRequest) -> None:
        """Close a merge request without merging it."""
        self._api.do("PUT", f"{self._merges}/{pull.number}", {"state_event": "close"})

    def comment(self, pull: PullRequest, text: str) -> None:
        """Add a comment to a merge request."""
        self._api.do("POST", f"{self._merges}/{pull.number}/notes", {"body": text})

    def comments(self, pull: PullRequest) -> list[str]:
        """Return the comments of a merge request, without those that GitLab writes itself."""
        found = self._api.pages(f"{self._merges}/{pull.number}/notes", _Note, _PAGE, NEW_PULL_REQUEST)
        return [note.body for note in found if not note.system]

    def label(self, pull: PullRequest, labels: Sequence[str]) -> None:
        """Add labels to a merge request; GitLab creates those that the project lacks."""
        self._api.do("PUT", f"{self._merges}/{pull.number}", {"add_labels": ",".join(labels)})

    def merge_itself(self, pull: PullRequest) -> str:
        """Make it merge once its pipeline has passed; if none is required it would merge at once, so refuse."""
        if not self._api.get(self._project, _Project).only_allow_merge_if_pipeline_succeeds:
            return "merges need no pipeline here: gitops branch-protection requires one"
        content = {"auto_merge": True, "merge_when_pipeline_succeeds": True, "sha": pull.head}
        answer = self._api.ask("PUT", f"{self._merges}/{pull.number}/merge", content)
        if answer.status_code in _NOT_YET:
            return f"its pipeline has not started, or can no longer pass ({error_text(answer)})"
        self._api.done(answer)
        return ""

    def opinion(self, pull: PullRequest) -> Opinion:
        """Return reviews and checks of a merge request."""
        path = f"{self._merges}/{pull.number}"
        approvals = self._api.get(f"{path}/approvals", _Approvals)
        reviewers = self._api.pages(f"{path}/reviewers", _Reviewer, _PAGE, NEW_PULL_REQUEST)
        commit = f"{self._project}/repository/commits/{pull.head}"
        statuses = self._api.pages(f"{commit}/statuses", _Status, _PAGE, NEW_COMMIT)
        return Opinion(
            approved_by=[each.user.username for each in approvals.approved_by],
            rejected_by=[each.user.username for each in reviewers if each.state == "requested_changes"],
            checks=[status.check() for status in statuses],
            conflicts=self._api.get(path, _Merge).has_conflicts,
        )

    def moves(self) -> Iterator[Move]:
        """Yield the recorded moves of the branch, the newest first; a merge is also recorded as a push."""
        for event in self._api.pages(f"{self._project}/events", _Event, {"action": "pushed", **_PAGE}):
            push = event.push_data
            # A push of many branches at once is recorded without their commits.
            if push and push.commit_to and (push.ref_type, push.ref) == ("branch", self._base):
                yield Move(head=push.commit_to, when=event.created_at)

    def dispatch(self, workflow: str, inputs: Mapping[str, str]) -> None:
        """Start a pipeline on the branch; its input `workflow` says what to run."""
        content = {"ref": self._base, "inputs": {**inputs, "workflow": workflow}}
        self._api.do("POST", f"{self._project}/pipeline", content)

    def protect(self, rules: Rules, pusher: str) -> list[str]:
        """Protect the branch and the tags, and write the project's settings; `pusher` is a user's name."""
        return [
            self._protect_branch(rules, self._user(pusher)),
            *(self._protect_tags(pattern) for pattern in rules.tags),
            self._settings(rules),
            self._approvals(rules),
        ]

    def standing(self, rules: Rules) -> Standing:
        """Return the rights of the token, and which rules the project has."""
        user = self._api.get("/user", _User)
        token = self._api.seen("/personal_access_tokens/self", _Token)
        project = self._api.get(self._project, _Project)
        hooks = self._api.seen_pages(f"{self._project}/hooks", _Hook, _PAGE)
        same = {"source_branch": self._base, "target_branch": self._base, "title": "never opened"}
        may_open = self._api.may("POST", self._merges, same)
        return Standing(
            who=user.username,
            expires=date.fromisoformat(token.expires_at) if token and token.expires_at else None,
            may_push=project.role >= _DEVELOPER,
            may_open=may_open,
            # Both need the same scope and role.
            may_comment=may_open,
            guards=self._guards(rules, project),
            hooks=None if hooks is None else [hook.url for hook in hooks if hook.push_events],
        )

    def _open(self, query: Mapping[str, str]) -> list[PullRequest]:
        wanted = {"state": "opened", "target_branch": self._base, **query, **_PAGE}
        found = self._api.pages(self._merges, _Merge, wanted)
        # Other people's forks may have branches with the same names.
        return [merge.pull_request() for merge in found if merge.source_project_id == merge.target_project_id]

    def _guards(self, rules: Rules, project: _Project) -> Guards:
        protected = self._api.seen(self._branch, _Protected)
        approvals = self._api.seen_pages(f"{self._project}/approval_rules", _Approval, _PAGE)
        levels = protected.push_access_levels if protected else ()
        return Guards(
            protected=protected is not None and _DEVELOPER not in [level.access_level for level in levels],
            approvals=None if approvals is None else max((rule.approvals_required for rule in approvals), default=0),
            # GitLab has no list of required checks, only the pipeline as a whole.
            unchecked=[] if project.only_allow_merge_if_pipeline_succeeds else list(rules.checks),
        )

    @property
    def _branch(self) -> str:
        return f"{self._project}/protected_branches/{quote(self._base, safe='')}"

    def _user(self, name: str) -> _User:
        found = self._api.get("/users", list[_User], {"username": name})
        if not found:
            raise BadInputError(f"--pusher: GitLab has no user {name}; name the user whose token bumps.")
        return found[0]

    def _protect_branch(self, rules: Rules, pusher: _User) -> str:
        owners = {"code_owner_approval_required": rules.owners, "allow_force_push": False}
        if rules.merge_themselves:
            return self._protect_from_pushes(owners)
        wanted: list[Mapping[str, Any]] = [{"user_id": pusher.id}]
        there = self._api.seen(self._branch, _Protected)
        if there is None:
            # A free GitLab ignores single users; maintainers can push then.
            content = {"name": self._base, "merge_access_level": _DEVELOPER, "allowed_to_push": wanted, **owners}
            self._api.do("POST", f"{self._project}/protected_branches", content)
        else:
            gone = [{"id": each.id, "_destroy": True} for each in there.push_access_levels if each.user_id != pusher.id]
            new = [] if any(each.user_id == pusher.id for each in there.push_access_levels) else wanted
            self._api.do("PATCH", self._branch, {"allowed_to_push": [*new, *gone], **owners})
        levels = self._api.get(self._branch, _Protected).push_access_levels
        if any(each.user_id == pusher.id for each in levels):
            return f"branch {self._base}: {pusher.username} pushes, developers merge"
        return (
            f"branch {self._base}: maintainers push and developers merge, because only Premium can name single users: "
            f"make {pusher.username} a maintainer"
        )

    def _protect_from_pushes(self, owners: Mapping[str, Any]) -> str:
        there = self._api.seen(self._branch, _Protected)
        if there is None:
            content = {"name": self._base, "merge_access_level": _DEVELOPER, "push_access_level": _NOBODY, **owners}
            self._api.do("POST", f"{self._project}/protected_branches", content)
        else:
            others = [each for each in there.push_access_levels if each.access_level != _NOBODY]
            gone = [{"id": each.id, "_destroy": True} for each in others]
            new = [] if len(others) < len(there.push_access_levels) else [{"access_level": _NOBODY}]
            self._api.do("PATCH", self._branch, {"allowed_to_push": [*new, *gone], **owners})
        return f"branch {self._base}: nobody pushes, developers merge; only Premium requires the owners' approval"

    def _protect_tags(self, pattern: str) -> str:
        path = f"{self._project}/protected_tags"
        if self._api.ask("GET", f"{path}/{quote(pattern, safe='')}").status_code == httpx.codes.NOT_FOUND:
            self._api.do("POST", path, {"name": pattern, "create_access_level": _MAINTAINER})
        return f"tags {pattern}: created by maintainers, moved by nobody"

    def _settings(self, rules: Rules) -> str:
        content = {
            "only_allow_merge_if_pipeline_succeeds": bool(rules.checks),
            "only_allow_merge_if_all_discussions_are_resolved": rules.conversations,
            "merge_method": "merge" if "merge" in rules.merges else "ff",
            "squash_option": "default_on" if "squash" in rules.merges else "never",
            "remove_source_branch_after_merge": True,
        }
        self._api.do("PUT", self._project, content)
        return "settings: a merge needs a passed pipeline, is a fast-forward, and deletes the merged branch"

    def _approvals(self, rules: Rules) -> str:
        path = f"{self._project}/approval_rules"
        found = self._api.seen_pages(path, _Approval, _PAGE)
        if found is None:
            return (
                "approvals: only Premium requires them; this project is free, or the token is not a maintainer's, so "
                f"nothing enforces the {rules.approvals} that the rules require"
            )
        content = {"name": _RULE, "rule_type": "any_approver", "approvals_required": rules.approvals}
        there = next((rule for rule in found if rule.name == _RULE), None)
        if there:
            self._api.do("PUT", f"{path}/{there.id}", content)
        else:
            self._api.do("POST", path, content)
        self._api.do(
            "POST",
            f"{self._project}/approvals",
            {
                "reset_approvals_on_push": rules.dismiss_stale,
                "merge_requests_author_approval": False,
                "merge_requests_disable_committers_approval": True,
            },
        )
        return f"approvals: {rules.approvals}, not by the author"
