"""Answers of a forge that parse as JSON, but whose parts have another form, are one sentence."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gitops.errors import OutageError
from gitops.forge.gitea import Gitea
from services.gitops.tests.github import SLUG, Answer, serving

PUSH = {"op_type": "commit_repo", "ref_name": "refs/heads/main", "created": "2026-01-02T03:04:05Z"}


class Feed:
    """A Gitea whose activity feed has one push."""

    def __init__(self, content: str, headers: Mapping[str, str]) -> None:
        self.content, self.headers, self.url = content, headers, ""
        self.requests: list[str] = []
        self.faults: list[Answer] = []
        self.before: Callable[[str], None] = lambda _request: None

    def refusal(self, _method: str, _headers: Mapping[str, str]) -> Answer | None:
        return None

    def answer(self, *_: Any) -> Answer:
        return Answer(200, [{**PUSH, "content": self.content}], self.headers)


def heads(content: str, headers: Mapping[str, str] | None = None) -> list[str]:
    with serving(Feed(content, headers or {})) as feed:
        return [move.head for move in Gitea(feed.url, SLUG, "token", "main", lambda _: None).moves()]


@pytest.mark.parametrize("content", ["ada|pushed", '{"HeadCommit": "abc"}', '{"HeadCommit": {"Sha1": 5}}', "[]"])
def test_an_activity_with_odd_content_is_refused_with_its_address(content: str) -> None:
    with pytest.raises(OutageError, match=r"http\S+/activities/feeds does not offer Gitea's API: "):
        heads(content)


@pytest.mark.parametrize("content", ['{"HeadCommit": null}', '{"Commits": []}'])
def test_a_push_whose_commit_gitea_did_not_record_has_no_head(content: str) -> None:
    assert heads(content) == [""]


def test_a_number_of_entries_that_is_no_number_is_refused() -> None:
    with pytest.raises(OutageError, match="does not offer Gitea's API"):
        heads('{"HeadCommit": {"Sha1": "abc"}}', {"X-Total-Count": "many"})
