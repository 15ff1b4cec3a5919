"""Pull requests and settings through the REST API of Gitea and Forgejo."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal
from urllib.parse import quote

import httpx
from msgspec import Struct

from gitops.errors import BadInputError
from gitops.forge.api import NEW_COMMIT, NEW_PULL_REQUEST, Access, Api, Variables, error_text
from gitops.forge.protocol import Check, Guards, Move, Opinion, PullRequest, Standing
from gitops.forge.repositories import RepositoryForge
from gitops.forge.rules import Rules

_PAGE = {"limit": "50"}
_LABEL_COLOUR = "#1d76db"
_STATES: Mapping[str, Literal["passed", "waiting"]] = {
    "success": "passed",
    "skipped": "passed",
    "warning": "passed",
    "pending": "waiting",
}
_MOVES = frozenset({"commit_repo", "mirror_sync_push"})


class _Named(Struct, frozen=True):
    id: int = 0
    name: str = ""
    login: str = ""


class _Branch(Struct, frozen=True):
    ref: str
    sha: str = ""
    repo_id: int = 0


class _Pull(Struct, frozen=True):
    number: int
    html_url: str
    head: _Branch
    base: _Branch
    state: str
    title: str = ""
    body: str = ""
    labels: Sequence[_Named] | None = None
    mergeable: bool = True
    merged: bool = False

    def pull_request(self) -> PullRequest:
        """Return it in the form that all forges share."""
        return PullRequest(
            number=self.number,
            url=self.html_url,
            title=self.title,
            body=self.body,
            branch=self.head.ref,
            head=self.head.sha,
            state="merged" if self.merged else "open" if self.state == "open" else "closed",
            labels=[label.name for label in self.labels or ()],
        )


class _Comment(Struct, frozen=True):
    body: str = ""


class _Review(Struct, frozen=True):
    state: str
    user: _Named | None = None
    dismissed: bool = False
    official: bool = True


class _Status(Struct, frozen=True):
    context: str
    status: str

    def check(self) -> Check:
        """Return it in the form that all forges share."""
        return Check(name=self.context, state=_STATES.get(self.status, "failed"))


class _Statuses(Struct, frozen=True):
    statuses: Sequence[_Status] | None = None


class _Activity(Struct, frozen=True):
    op_type: str
    ref_name: str
    created: datetime
    content: str


class _Head(Struct, frozen=True, rename="pascal"):
    sha1: str = ""


class _Pushed(Struct, frozen=True, rename="pascal"):
    """The content of an activity that moved a branch, which the API gives as text."""

    head_commit: _Head | None = None

    @property
    def head(self) -> str:
        """Return the branch's new commit; empty if Gitea did not record it."""
        return self.head_commit.sha1 if self.head_commit else ""


class _Protection(Struct, frozen=True):
    rule_name: str
    required_approvals: int = 0
    enable_status_check: bool = False
    status_check_contexts: Sequence[str] | None = None
    push_whitelist_usernames: Sequence[str] | None = None
    push_whitelist_deploy_keys: bool = False
    unprotected_file_patterns: str = ""


class _Guarded(Struct, frozen=True):
    """A branch, with the combined effect of its rules."""

    enable_status_check: bool = False


class _TagProtection(Struct, frozen=True):
    id: int
    name_pattern: str


class _Permissions(Struct, frozen=True):
    push: bool = False


class _Repository(Struct, frozen=True):
    permissions: _Permissions = _Permissions()


class _Access(Struct, frozen=True):
    permission: str = ""


class _Hook(Struct, frozen=True):
    config: Mapping[str, str] = {}
    active: bool = True


class Gitea(RepositoryForge):
    """A repository on Gitea or Forgejo."""

    variables = Variables(token="GITEA_TOKEN", api="GITEA_API_URL", repository="GITEA_REPOSITORY")  # noqa: S106  a name
    pull_shape = _Pull

    def __init__(self, api: str, slug: str, token: str, base: str, pause: Callable[[float], None] = time.sleep) -> None:
        """Take the API's address, the repository (owner/name), the token, and the target branch of pull requests.

        `pause` waits for a number of seconds.
        """
        access = Access(
            name="Gitea",
            url=api,
            headers={"Accept": "application/json", "Authorization": f"token {token}"},
            variables=self.variables,
            rights="write the repository and its issues (write:repository, write:issue)",
        )
        super().__init__(Api(access, pause), slug, base)

    def open_from(self, branch: str) -> PullRequest | None:
        """Return the open pull request from a branch, if any."""
        return next((pull for pull in self.all_open() if pull.branch == branch), None)

    def all_open(self) -> list[PullRequest]:
        """Return every open pull request; the API has no filter by branch."""
        found = self._api.pages(f"{self._repository}/pulls", _Pull, {"state": "open", **_PAGE})
        # Other people's forks may have branches with the same names.
        return [
            pull.pull_request()
            for pull in found
            if pull.base.ref == self._base and pull.head.repo_id == pull.base.repo_id
        ]

    def create(self, branch: str, title: str, body: str) -> PullRequest | None:
        """Open a pull request; None if there is an open one from the branch already."""
        content = {"title": title, "body": body, "head": branch, "base": self._base}
        answer = self._api.ask("POST", f"{self._repository}/pulls", content)
        if answer.status_code == httpx.codes.CONFLICT:
            return None
        return self._api.decoded(self._api.done(answer), _Pull).pull_request()

    def comments(self, pull: PullRequest) -> list[str]:
        """Return the comments of a pull request; the API returns all of them at once."""
        found = self._api.get(f"{self._repository}/issues/{pull.number}/comments", list[_Comment])
        return [comment.body for comment in found]

    def label(self, pull: PullRequest, labels: Sequence[str]) -> None:
        """Add labels to a pull request, and create those that the repository lacks."""
        known = {each.name: each.id for each in self._api.pages(f"{self._repository}/labels", _Named, _PAGE)}
        for name in labels:
            if name not in known:
                content = {"name": name, "color": _LABEL_COLOUR}
                known[name] = self._api.send("POST", f"{self._repository}/labels", content, _Named).id
        numbers = [known[name] for name in labels]
        self._api.do("POST", f"{self._repository}/issues/{pull.number}/labels", {"labels": numbers})

    def merge_itself(self, pull: PullRequest) -> str:
        """Make it merge once its checks have passed; without required checks it would merge at once, so refuse."""
        # Only administrators may read the rules, but everybody may read their effect on a branch.
        path = f"{self._repository}/branches/{quote(self._base, safe='')}"
        if not self._api.get(path, _Guarded).enable_status_check:
            return "the branch requires no checks here: gitops branch-protection requires them"
        content = {"Do": "squash", "merge_when_checks_succeed": True, "head_commit_id": pull.head}
        answer = self._api.ask("POST", f"{self._repository}/pulls/{pull.number}/merge", content)
        if answer.status_code in (httpx.codes.CONFLICT, httpx.codes.METHOD_NOT_ALLOWED):
            # The status is 409 if the merge is scheduled already, but also if the branch has moved or conflicts.
            return "" if "already scheduled" in error_text(answer) else error_text(answer)
        self._api.done(answer)
        return ""

    def opinion(self, pull: PullRequest) -> Opinion:
        """Return reviews and checks of a pull request."""
        words: dict[str, str] = {}
        path = f"{self._repository}/pulls/{pull.number}/reviews"
        for review in self._api.pages(path, _Review, _PAGE, NEW_PULL_REQUEST):
            # Reviews of people without write access do not count.
            if review.user and review.official and review.state in ("APPROVED", "REQUEST_CHANGES"):
                words[review.user.login] = "DISMISSED" if review.dismissed else review.state
        commit = f"{self._repository}/commits/{pull.head}/status"
        sheets = self._api.sheets(commit, _Statuses, _PAGE, lambda sheet: len(sheet.statuses or ()), NEW_COMMIT)
        now = self._api.get(f"{self._repository}/pulls/{pull.number}", _Pull)
        return Opinion(
            approved_by=[user for user, state in words.items() if state == "APPROVED"],
            rejected_by=[user for user, state in words.items() if state == "REQUEST_CHANGES"],
            checks=[status.check() for sheet in sheets for status in sheet.statuses or ()],
            conflicts=not now.mergeable,
        )

    def moves(self) -> Iterator[Move]:
        """Yield the recorded moves of the branch, the newest first; a merge is also recorded as a push."""
        path = f"{self._repository}/activities/feeds"
        for each in self._api.pages(path, _Activity, _PAGE):
            # The creation of a branch is recorded without content.
            if each.op_type in _MOVES and each.ref_name == f"refs/heads/{self._base}" and each.content:
                yield Move(head=self._api.decoded_field(each.content, path, _Pushed).head, when=each.created)

    def protect(self, rules: Rules, pusher: str) -> list[str]:
        """Protect the branch and the tags, and write the repository's settings; `pusher` needs write access."""
        if not self._writes(pusher):
            raise BadInputError(f"--pusher: {pusher} has no write access to the repository: make it a collaborator.")
        self._protect_branch(rules)
        tags = [self._protect_tags(pattern) for pattern in rules.tags]
        self._api.do(
            "PATCH",
            self._repository,
            {
                "allow_merge_commits": "merge" in rules.merges,
                "allow_squash_merge": "squash" in rules.merges,
                "allow_rebase": "rebase" in rules.merges,
                "allow_rebase_explicit": False,
                "default_merge_style": rules.merges[0],
                "default_delete_branch_after_merge": True,
            },
        )
        files = ", ".join(rules.machine_paths)
        approved = f"{rules.approvals} approvals and {len(rules.checks)} checks"
        owners = (
            "owners: Gitea does not read .github/CODEOWNERS; a merge needs the owners in .gitea/CODEOWNERS, in "
            "Gitea's own form"
        )
        return [
            f"branch {self._base}: merges with {approved}; {pusher} and others with write access push {files} only",
            *tags,
            f"settings: merges are {' or '.join(rules.merges)}, merged branches are deleted",
            *([owners] if rules.owners else []),
        ]

    def standing(self, rules: Rules) -> Standing:
        """Return the rights of the token, and which rules the repository has."""
        repository = self._api.get(self._repository, _Repository)
        user = self._api.seen("/user", _Named)
        hooks = self._api.seen_pages(f"{self._repository}/hooks", _Hook, _PAGE)
        pull = {"head": self._base, "base": self._base, "title": "never opened"}
        return Standing(
            # A token may be allowed to see the repository, but not its own user.
            who=user.login if user else "",
            expires=None,
            may_push=repository.permissions.push,
            may_open=self._api.may("POST", f"{self._repository}/pulls", pull),
            # A label without a name is always refused, and needs the same scope as a comment.
            may_comment=self._api.may("POST", f"{self._repository}/labels", {}),
            guards=self._guards(rules),
            hooks=None if hooks is None else [hook.config.get("url", "") for hook in hooks if hook.active],
        )

    def _guards(self, rules: Rules) -> Guards | None:
        found = self._api.seen(f"{self._repository}/branch_protections", list[_Protection])
        if found is None:
            return None
        rule = next((each for each in found if each.rule_name == self._base), None)
        if rule is None:
            return Guards(protected=False, approvals=0, unchecked=list(rules.checks))
        required = rule.status_check_contexts or () if rule.enable_status_check else ()
        return Guards(
            protected=True,
            approvals=rule.required_approvals,
            limited=not rule.push_whitelist_usernames
            and not rule.push_whitelist_deploy_keys
            and rule.unprotected_file_patterns == ";".join(rules.machine_paths),
            unchecked=[name for name in rules.checks if _context(name) not in required and name not in required],
        )

    def _writes(self, pusher: str) -> bool:
        path = f"{self._repository}/collaborators/{quote(pusher, safe='')}/permission"
        found = self._api.ask("GET", path)
        return found.is_success and self._api.decoded(found, _Access).permission in ("write", "admin", "owner")

    def _protect_branch(self, rules: Rules) -> None:
        content = {
            "rule_name": self._base,
            # Everybody with write access may push these files and nothing else, so a leaked token can do no more
            # either.
            "enable_push": True,
            "enable_push_whitelist": True,
            "push_whitelist_usernames": [],
            "push_whitelist_teams": [],
            "push_whitelist_deploy_keys": False,
            "unprotected_file_patterns": ";".join(rules.machine_paths),
            "required_approvals": rules.approvals,
            "dismiss_stale_approvals": rules.dismiss_stale,
            "block_on_rejected_reviews": True,
            "block_admin_merge_override": True,
            "block_on_official_review_requests": rules.owners,
            "enable_status_check": bool(rules.checks),
            "status_check_contexts": [_context(name) for name in rules.checks],
        }
        there = self._api.get(f"{self._repository}/branch_protections", list[_Protection])
        if any(each.rule_name == self._base for each in there):
            name = quote(self._base, safe="")
            self._api.do("PATCH", f"{self._repository}/branch_protections/{name}", content)
        else:
            self._api.do("POST", f"{self._repository}/branch_protections", content)

    def _protect_tags(self, pattern: str) -> str:
        there = self._api.get(f"{self._repository}/tag_protections", list[_TagProtection])
        if not any(each.name_pattern == pattern for each in there):
            # The user who creates the protection is the first who may create such tags; people add others in the
            # settings.
            maker = self._api.seen("/user", _Named)
            if maker is None:
                return f"tags {pattern}: not changed, because this token lacks read:user"
            content = {"name_pattern": pattern, "whitelist_usernames": [maker.login], "whitelist_teams": []}
            self._api.do("POST", f"{self._repository}/tag_protections", content)
        return f"tags {pattern}: created by the users in the repository's settings"


def _context(check: str) -> str:
    """Return a pattern for a check: Gitea's workflows report as `WORKFLOW / JOB (EVENT)`, others under any name."""
    return f"{{{check},* / {check} (*)}}"
