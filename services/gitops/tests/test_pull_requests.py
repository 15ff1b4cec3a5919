"""Pull requests over REST: opened once, kept up to date, closed; also if the API is busy, limited or wrong."""

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import get_args

import pytest

from gitops.errors import BadInputError, OutageError
from gitops.forge import github
from gitops.forge.choice import forge, needed_forge, token_variable
from gitops.forge.links import new_pull_request
from gitops.platform.forges import FORGES, ForgeKind
from gitops.platform.model import Platform
from gitops.platform.reader import read_platform
from services.gitops.tests.conftest import git
from services.gitops.tests.github import SLUG, TOKEN, Answer, GitHub, invalid, serving

BRANCH = "promote/production/iris"
PULLS = f"/repos/{SLUG}/pulls"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    """GitHub with a repository whose branch is one commit ahead of main."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
    tree = git(bare, "hash-object", "-t", "tree", "-w", "/dev/null")
    first = git(bare, "commit-tree", tree, "-m", "first")
    git(bare, "update-ref", "refs/heads/main", first)
    git(bare, "update-ref", f"refs/heads/{BRANCH}", git(bare, "commit-tree", tree, "-p", first, "-m", "second"))
    with serving(GitHub(bare)) as hub:
        yield hub


def client(hub: GitHub, waited: list[float] | None = None, token: str = TOKEN) -> github.GitHub:
    """Return a client that does not wait, but records for how long it would."""
    return github.GitHub(hub.url, SLUG, token, "main", pause=(waited if waited is not None else []).append)


def test_a_pull_request_is_opened_once_and_then_updated(hub: GitHub) -> None:
    pulls = client(hub)
    assert pulls.keep(BRANCH, "one", "body").outcome == "opened"
    assert pulls.keep(BRANCH, "one", "body").outcome == "unchanged"
    assert pulls.keep(BRANCH, "two", "body").outcome == "updated"
    (pull,) = hub.pulls
    assert (pull["title"], pull["body"], pull["base"]["ref"]) == ("two", "body", "main")


def test_closing_comments_the_reason_and_the_next_one_is_new(hub: GitHub) -> None:
    pulls = client(hub)
    assert pulls.close(BRANCH, "held") is None
    pulls.keep(BRANCH, "one", "body")
    closed = pulls.close(BRANCH, "held")
    assert closed
    assert (hub.opened(), hub.comments) == ([], [(closed.number, "held")])
    assert pulls.keep(BRANCH, "one", "body").number == closed.number + 1


def test_a_pull_request_that_was_opened_meanwhile_is_used(hub: GitHub) -> None:
    hub.before = lambda request: None if hub.pulls or not request.startswith("POST") else open_another(hub)
    assert client(hub).keep(BRANCH, "mine", "body").outcome == "updated"
    assert [pull["title"] for pull in hub.opened()] == ["mine"]


def open_another(hub: GitHub) -> None:
    hub.open(BRANCH, "theirs")


def test_a_pull_request_that_was_closed_meanwhile_is_replaced(hub: GitHub) -> None:
    pulls = client(hub)
    pulls.keep(BRANCH, "one", "body")
    hub.before = lambda request: hub.pulls[0].update(state="closed") if request.startswith("PATCH") else None
    assert pulls.keep(BRANCH, "two", "body").outcome == "opened"
    assert [pull["title"] for pull in hub.opened()] == ["two"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 409])
def test_a_busy_api_is_retried(hub: GitHub, status: int) -> None:
    waited: list[float] = []
    hub.faults = [Answer(status, {"message": "Server Error"})] * 2
    assert client(hub, waited).keep(BRANCH, "one", "body").outcome == "opened"
    assert waited == [0.5, 1.0]


def test_a_lost_answer_opens_no_second_pull_request(hub: GitHub) -> None:
    """The first POST succeeds, but its answer is 502: the second try finds the pull request."""
    hub.before = lambda request: hub.faults.append(lost(hub)) if request.startswith("POST") and not hub.pulls else None
    assert client(hub).keep(BRANCH, "one", "body").outcome == "unchanged"
    assert len(hub.opened()) == 1


def lost(hub: GitHub) -> Answer:
    hub.open(BRANCH, "one", "body")
    return Answer(502)


def test_retries_of_an_api_end(hub: GitHub) -> None:
    hub.faults = [Answer(503, {"message": "Unavailable"})] * 9
    with pytest.raises(OutageError, match=r"answers 503 \(Unavailable\.\)"):
        client(hub).keep(BRANCH, "one", "body")
    assert len(hub.requests) == 5
    with pytest.raises(OutageError, match="does not answer"):
        github.GitHub("http://127.0.0.1:9", SLUG, TOKEN, "main", pause=lambda _: None).open_from(BRANCH)


def test_the_wait_for_a_rate_limit_is_the_one_in_the_answer(hub: GitHub) -> None:
    waited: list[float] = []
    reset = str(int(time.time()) + 20)
    hub.faults = [
        Answer(429, {"message": "Slow down"}, {"Retry-After": "7"}),
        Answer(403, {"message": "API rate limit exceeded"}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}),
        Answer(403, {"message": "You have exceeded a secondary rate limit."}),
    ]
    assert client(hub, waited).open_from(BRANCH) is None
    assert waited[0] == 7
    assert 0 < waited[1] <= 21
    assert waited[2] == 60


def test_a_rate_limit_may_have_a_date(hub: GitHub) -> None:
    waited: list[float] = []
    moment = formatdate(time.time() + 30, usegmt=True)
    hub.faults = [Answer(503, {"message": "Down for maintenance"}, {"Retry-After": moment})]
    assert client(hub, waited).open_from(BRANCH) is None
    assert 0 < waited[0] <= 31


def test_a_rate_limit_that_is_too_long_is_an_outage(hub: GitHub) -> None:
    waited: list[float] = []
    hub.faults = [Answer(403, {"message": "API rate limit exceeded"}, {"Retry-After": "3000"})]
    with pytest.raises(OutageError, match=r"no more requests for 3000 s \(API rate limit exceeded\.\)"):
        client(hub, waited).open_from(BRANCH)
    assert waited == []


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (Answer(401, {"message": "Bad credentials"}), "GITHUB_TOKEN is not valid"),
        (Answer(403, {"message": "Resource not accessible by integration"}), "rights to write contents and pull"),
        (Answer(404, {"message": "Not Found"}), "has no access to this repository"),
        (Answer(301, {"message": "Moved Permanently"}), "has moved"),
        (invalid("base is invalid"), "Validation Failed: base is invalid"),
    ],
)
def test_a_refusal_of_the_api_is_reported_with_a_remedy(hub: GitHub, fault: Answer, named: str) -> None:
    hub.faults = [fault]
    with pytest.raises(BadInputError, match=named):
        client(hub).keep(BRANCH, "one", "body")


def test_a_missing_branch_is_refused_with_the_apis_message(hub: GitHub) -> None:
    with pytest.raises(BadInputError, match="with 422: Validation Failed"):
        client(hub).keep("promote/nowhere", "one", "body")


def test_a_server_that_is_no_forge_is_reported(hub: GitHub) -> None:
    hub.faults = [Answer(200, {"hello": "world"})]
    with pytest.raises(OutageError, match="does not offer GitHub's API"):
        client(hub).open_from(BRANCH)
    with pytest.raises(BadInputError, match="is not an address"):
        github.GitHub("http://127.0.0.1:port", SLUG, TOKEN, "main").open_from(BRANCH)


def fork_at(repository: str, forge: str = "github") -> Platform:
    return read_platform(
        f"repository: {repository}\nforge: {forge}\nregistry: {{prefix: registry.example.com/acme}}\n"
        "environments: [{name: staging}]\n"
    )


def test_the_address_of_the_api_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, hub: GitHub) -> None:
    elsewhere = fork_at("https://git.example.com/acme/pipeline.git")
    assert forge(elsewhere) is None
    monkeypatch.setenv("GITHUB_TOKEN", "secret\ntoken")
    with pytest.raises(BadInputError, match="GITHUB_TOKEN holds characters") as refused:
        forge(elsewhere)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("GITHUB_TOKEN", f"{TOKEN}\n")
    monkeypatch.setenv("GITHUB_API_URL", f"{hub.url}/")
    for known in (elsewhere, fork_at("git@git.example.com:acme/pipeline.git")):
        pulls = forge(known)
        assert pulls
        assert pulls.open_from(BRANCH) is None
    monkeypatch.delenv("GITHUB_API_URL")
    pulls = forge(fork_at("https://git.example.com/acme/pipeline.git", f"{{kind: github, api: {hub.url}}}"))
    assert pulls
    assert pulls.open_from(BRANCH) is None
    assert hub.requests == [f"GET {PULLS}"] * 3


def test_every_kind_of_forge_has_constants_and_an_adapter() -> None:
    kinds = get_args(ForgeKind)
    assert set(FORGES) == set(kinds)
    variables = {token_variable(fork_at("https://git.example.com/acme/pipeline.git", kind)) for kind in kinds}
    assert len(variables) == len(kinds)


@pytest.mark.parametrize(
    ("kind", "variable"), [("github", "GITHUB_TOKEN"), ("gitlab", "GITLAB_TOKEN"), ("gitea", "GITEA_TOKEN")]
)
def test_without_a_token_the_variable_and_an_address_are_named(kind: str, variable: str) -> None:
    platform = fork_at("https://git.example.com/acme/pipeline.git", kind)
    assert forge(platform) is None
    with pytest.raises(BadInputError, match=rf"--pr needs {variable}, .* Do it by hand\."):
        needed_forge(platform, "--pr", "Do it by hand.")
    assert new_pull_request(platform, BRANCH).startswith("https://git.example.com/acme/pipeline/")
    assert "promote%2Fproduction%2Firis" in new_pull_request(platform, BRANCH)


@pytest.mark.parametrize(
    ("repository", "forge_in_file", "web", "slug"),
    [
        ("https://git.example.com:8443/a/b.git", "gitea", "https://git.example.com:8443/a/b", "a/b"),
        ("ssh://git@git.example.com:2222/a/b.git", "gitea", "https://git.example.com/a/b", "a/b"),
        (
            "https://example.com/git/a/b.git",
            "{kind: gitea, url: https://example.com/git/}",
            "https://example.com/git/a/b",
            "a/b",
        ),
        (
            "http://gitea.forge:3000/a/b.git",
            "{kind: gitea, url: https://git.example.com}",
            "https://git.example.com/a/b",
            "a/b",
        ),
        (
            "git@git.example.com:a/group/b.git",
            "{kind: gitlab, url: https://code.example.com}",
            "https://code.example.com/a/group/b",
            "a/group/b",
        ),
    ],
)
def test_the_web_address_of_the_repository(repository: str, forge_in_file: str, web: str, slug: str) -> None:
    platform = fork_at(repository, forge_in_file)
    assert (platform.web, platform.slug) == (web, slug)


@pytest.mark.parametrize(
    "address", ["git.example.com", "https://ada:secret@git.example.com", "https://git.example.com/?a=b"]
)
@pytest.mark.parametrize("field", ["url", "api"])
def test_an_invalid_address_of_a_forge_is_reported(address: str, field: str) -> None:
    with pytest.raises(BadInputError, match=rf"platform\.yaml: forge\.{field}: .* is not an address"):
        fork_at("https://git.example.com/a/b.git", f'{{kind: gitea, {field}: "{address}"}}')


def test_a_comment_on_a_pull_request(hub: GitHub) -> None:
    pulls = client(hub)
    pulls.keep(BRANCH, "one", "body")
    pull = pulls.open_from(BRANCH)
    assert pull
    pulls.comment(pull, "seen")
    assert (hub.comments, len(hub.opened())) == ([(pull.number, "seen")], 1)
