"""Lists at a forge that have many pages are read to their end, or the command fails: a part is never the whole."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from gitops.errors import BadInputError
from gitops.forge.gitea import Gitea
from gitops.forge.github import GitHub
from gitops.forge.gitlab import GitLab
from gitops.forge.protocol import Forge, PullRequest
from gitops.forge.rules import Rules
from services.gitops.tests.github import SLUG, Answer, serving

MOST = 20
KINDS: Mapping[str, Callable[..., Forge]] = {"github": GitHub, "gitea": Gitea, "gitlab": GitLab}
PULL = PullRequest(number=7, url="", branch="promote/production/iris", head="abc")
RULES = Rules(
    documents=[], approvals=1, dismiss_stale=True, owners=True, conversations=True, checks=[], merges=["merge"],
    machine_paths=[], tags=[],
)  # fmt: skip
CALLS: Mapping[str, Callable[[Forge], object]] = {
    "find": lambda forge: forge.open_from("promote/nowhere"),
    "list": lambda forge: forge.all_open(),
    "comments": lambda forge: forge.comments(PULL),
    "label": lambda forge: forge.label(PULL, ["bump"]),
    "opinion": lambda forge: forge.opinion(PULL),
    "standing": lambda forge: forge.standing(RULES),
    "protect": lambda forge: forge.protect(RULES, "5"),
}
FEWER, NEW_PULL, NEW_COMMIT = "delete entries that nobody needs", "Close this pull request", "Push another commit"
# Fields that any of the adapters' types requires.
BRANCH = {"ref": "main", "sha": "abc", "repo_id": 1}
ENTRY = {
    "id": 1, "number": 7, "iid": 7, "name": "x", "context": "x", "url": "", "html_url": "", "web_url": "",
    "state": "open", "status": "success", "head": BRANCH, "base": BRANCH, "source_branch": "a", "target_branch": "main",
    "source_project_id": 1, "target_project_id": 1, "title": "", "body": "", "type": "deletion",
    "user": {"login": "ada", "username": "ada"}, "username": "robot", "login": "robot", "mergeable": True,
}  # fmt: skip
LISTS = (
    "/pulls", "/comments", "/reviews", "/check-runs", "/status", "/hooks", "/rules/branches/main", "/rulesets",
    "/deployment-branch-policies", "/labels", "/branch_protections", "/merge_requests", "/notes", "/reviewers",
    "/statuses", "/approval_rules",
)  # fmt: skip
# Lists inside an object.
KEYS = {"/check-runs": "check_runs", "/status": "statuses", "/deployment-branch-policies": "branch_policies"}
LONG = [
    ("github", "find", "/pulls", FEWER),
    ("github", "list", "/pulls", FEWER),
    ("github", "comments", "/comments", NEW_PULL),
    ("github", "opinion", "/reviews", NEW_PULL),
    ("github", "opinion", "/check-runs", NEW_COMMIT),
    ("github", "opinion", "/status", NEW_COMMIT),
    ("github", "standing", "/hooks", FEWER),
    ("github", "standing", "/rules/branches/main", FEWER),
    ("github", "protect", "/rulesets", FEWER),
    ("github", "protect", "/deployment-branch-policies", FEWER),
    ("gitea", "find", "/pulls", FEWER),
    ("gitea", "list", "/pulls", FEWER),
    ("gitea", "label", "/labels", FEWER),
    ("gitea", "opinion", "/reviews", NEW_PULL),
    ("gitea", "opinion", "/status", NEW_COMMIT),
    ("gitea", "standing", "/hooks", FEWER),
    ("gitlab", "list", "/merge_requests", FEWER),
    ("gitlab", "comments", "/notes", NEW_PULL),
    ("gitlab", "opinion", "/reviewers", NEW_PULL),
    ("gitlab", "opinion", "/statuses", NEW_COMMIT),
    ("gitlab", "standing", "/hooks", FEWER),
    ("gitlab", "standing", "/approval_rules", FEWER),
]


class Lists:
    """A forge whose list `name` has `pages` pages of one entry. Other lists are empty."""

    def __init__(self, name: str, pages: int) -> None:
        self.name, self.pages, self.url = name, pages, ""
        self.requests: list[str] = []
        self.faults: list[Answer] = []
        self.before: Callable[[str], None] = lambda _request: None

    @property
    def read(self) -> int:
        """Return how many pages of the list were read."""
        return sum(each.startswith("GET ") and each.endswith(self.name) for each in self.requests)

    def refusal(self, _method: str, _headers: Mapping[str, str]) -> Answer | None:
        return None

    def answer(self, method: str, path: str, query: Mapping[str, str], _content: Mapping[str, Any]) -> Answer:
        listed = next((name for name in LISTS if path.endswith(name)), None)
        if method != "GET" or listed is None:
            return Answer(200, ENTRY)
        wanted, page = listed == self.name, int(query.get("page", 1))
        entries = [ENTRY] if wanted else []
        more = {"Link": f'<{self.url}{path}?page={page + 1}>; rel="next"'} if wanted and page < self.pages else {}
        return Answer(200, {KEYS[listed]: entries} if listed in KEYS else entries, more)


@contextmanager
def forge_with(kind: str, name: str, pages: int) -> Iterator[tuple[Forge, Lists]]:
    with serving(Lists(name, pages)) as lists:
        yield KINDS[kind](lists.url, SLUG, "token", "main", lambda _: None), lists


@pytest.mark.parametrize(("kind", "call", "name", "remedy"), LONG)
def test_a_list_that_is_too_long_is_refused_with_its_name_and_a_remedy(
    kind: str, call: str, name: str, remedy: str
) -> None:
    with forge_with(kind, name, MOST + 1) as (forge, lists):
        with pytest.raises(BadInputError, match=rf"the list \S*{re.escape(name)} has more than {MOST} .*{remedy}"):
            CALLS[call](forge)
        assert lists.read == MOST


@pytest.mark.parametrize(("kind", "call", "name"), [long[:3] for long in LONG])
def test_every_page_of_a_list_is_read(kind: str, call: str, name: str) -> None:
    with forge_with(kind, name, MOST) as (forge, lists):
        CALLS[call](forge)
        assert lists.read == MOST


def test_a_pull_request_on_the_first_page_needs_no_other() -> None:
    with forge_with("github", "/pulls", MOST + 1) as (forge, lists):
        assert forge.open_from("main") is not None
        assert lists.read == 1
