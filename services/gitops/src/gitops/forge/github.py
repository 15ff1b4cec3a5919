"""Pull requests over GitHub's REST API: one rolling pull request a branch."""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import httpx
import msgspec
from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.forge.protocol import Kept, PullRequest
from gitops.platform.model import Platform

_GITHUB = "https://api.github.com"
_SECONDS = 20.0
# Waited between tries, so one more try than there are numbers.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
# Seconds that all rate limits together may keep one call waiting; the API says how long, up to an hour.
_PATIENCE = 120.0
_UNSAID_LIMIT = 60.0
_AGAIN = frozenset({409, 500, 502, 503, 504})
_TRIES = 3
_PAGE = 100


class _Branch(Struct, frozen=True):
    ref: str


class _Pull(Struct, frozen=True):
    number: int
    html_url: str
    head: _Branch
    base: _Branch
    state: str = "open"
    title: str = ""
    body: str | None = None

    def told(self) -> PullRequest:
        """As the other modules know it."""
        return PullRequest(number=self.number, url=self.html_url, title=self.title, body=self.body or "")


class GitHub:
    """The pull requests of one repository on GitHub into one branch."""

    def __init__(self, api: str, slug: str, token: str, base: str, pause: Callable[[float], None] = time.sleep) -> None:
        """Take where the API is, which repository (owner/name) it is asked about, and into which branch.

        `pause` waits for so many seconds.
        """
        self._owner = slug.partition("/")[0]
        self._pulls = f"/repos/{slug}/pulls"
        self._issues = f"/repos/{slug}/issues"
        self._base = base
        self._api = api.rstrip("/")
        self._pause = pause
        self._headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    @classmethod
    def from_environment(cls, platform: Platform) -> "GitHub | None":
        """As GITHUB_API_URL, GITHUB_REPOSITORY and GITHUB_TOKEN say, which GitHub Actions sets; None without a token.

        Raises:
            BadInputError: The token is not one, or the repository is not on github.com and neither GITHUB_API_URL nor
                `forge.api` in platform.yaml says where its API is.
        """
        token = os.environ.get("GITHUB_TOKEN", "").strip()
        if not token:
            return None
        if not re.fullmatch(r"[!-~]+", token):
            # Further on it would show in the error.
            raise BadInputError("GITHUB_TOKEN holds characters that no token has, such as spaces or line ends.")
        usual = _GITHUB if platform.host == "github.com" else ""
        api = os.environ.get("GITHUB_API_URL") or platform.forge_api or usual
        if not api:
            raise BadInputError(
                f"Where is the API of {platform.host}? Put it into platform.yaml (forge: {{kind: github, api: ...}}) "
                f"or GITHUB_API_URL; GitHub Enterprise has it at https://{platform.host}/api/v3."
            )
        return cls(api, os.environ.get("GITHUB_REPOSITORY") or platform.slug, token, platform.branch)

    def open_from(self, branch: str) -> PullRequest | None:
        """The open pull request from a branch, if any."""
        pull = self._open_from(branch)
        return pull.told() if pull else None

    def _open_from(self, branch: str) -> _Pull | None:
        query = {"state": "open", "base": self._base, "head": f"{self._owner}:{branch}", "per_page": str(_PAGE)}
        answer = self._call("GET", self._pulls, query=query)
        # Not every server that speaks this API filters by branch.
        found = _decoded(answer, list[_Pull]) if answer.is_success else self._refuse(answer)
        return next((pull for pull in found if (pull.head.ref, pull.base.ref) == (branch, self._base)), None)

    def keep(self, branch: str, title: str, body: str) -> Kept:
        """Open the pull request from a branch, or bring the open one up to date.

        Raises:
            BadInputError: The API refuses: token, rights, or what was asked.
            OutageError: It does not answer, or limits how often it may be asked.
        """
        for _ in range(_TRIES):
            pull = self._open_from(branch)
            if pull is None:
                content = {"title": title, "body": body, "head": branch, "base": self._base}
                answer = self._call("POST", self._pulls, content)
                outcome: Literal["opened", "updated"] = "opened"
            elif (pull.title, pull.body) == (title, body):
                return Kept(number=pull.number, url=pull.html_url, outcome="unchanged")
            else:
                answer = self._call("PATCH", f"{self._pulls}/{pull.number}", {"title": title, "body": body})
                outcome = "updated"
            if answer.is_success:
                kept: _Pull = _decoded(answer, _Pull)
                # One that was closed since it was looked for can still be written to.
                if kept.state == "open":
                    return Kept(number=kept.number, url=kept.html_url, outcome=outcome)
            elif not _opened_meanwhile(answer):
                self._refuse(answer)
        raise OutageError(f"The pull request from {branch} changes all the time: run the same command again.")

    def comment(self, pull: PullRequest, text: str) -> None:
        """Say something below a pull request."""
        answer = self._call("POST", f"{self._issues}/{pull.number}/comments", {"body": text})
        if not answer.is_success:
            self._refuse(answer)

    def close(self, branch: str, why: str) -> PullRequest | None:
        """Close the open pull request from a branch with a comment that says why; None where there was none."""
        pull = self.open_from(branch)
        if pull is None:
            return None
        self.comment(pull, why)
        answer = self._call("PATCH", f"{self._pulls}/{pull.number}", {"state": "closed"})
        if not answer.is_success:
            self._refuse(answer)
        return pull

    def _call(
        self, method: str, path: str, content: object = None, query: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request, tried again while the API is busy, away, or asks to wait."""
        patience = _PATIENCE
        for pause in (*_PAUSES, None):
            wait = pause
            try:
                answer = httpx.request(
                    method, self._api + path, json=content, params=query, headers=self._headers, timeout=_SECONDS
                )
            except httpx.InvalidURL as error:
                raise BadInputError(f"GITHUB_API_URL: {self._api!r} is not an address: {error}.") from None
            except httpx.HTTPError as error:
                reason = f"does not answer ({error or type(error).__name__})"
            else:
                limited = _limited(answer)
                if limited is None and answer.status_code not in _AGAIN:
                    return answer
                reason = f"answers {answer.status_code} ({_said(answer)})"
                if limited is not None:
                    wait, patience = limited, patience - limited
                    reason = f"allows no more requests for {limited:.0f} s ({_said(answer)})"
            if pause is None or wait is None or patience < 0:
                break
            self._pause(wait)
        raise OutageError(f"{self._api} {reason}: try again later.")

    def _refuse(self, answer: httpx.Response) -> Any:
        hints = {
            301: " The repository has moved: gitops adopt --repo ADDRESS writes the new address.",
            401: " GITHUB_TOKEN is not valid there.",
            403: " GITHUB_TOKEN needs the rights to write contents and pull requests.",
            404: " GITHUB_TOKEN does not see this repository, or GITHUB_REPOSITORY names another.",
        }
        request = f"{answer.request.method} {answer.request.url.path}"
        hint = hints.get(answer.status_code, "")
        raise BadInputError(f"{self._api} refuses {request} with {answer.status_code}: {_said(answer)}{hint}")


def _limited(answer: httpx.Response) -> float | None:
    """Seconds to wait where the API limits how often it may be asked, else None.

    As https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api says: Retry-After counts first, then
    the moment when the limit is reset, else a minute.
    """
    if answer.status_code not in (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS):
        return None
    after, reset = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-reset", "")
    if after.isdigit():
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(0.0, float(reset) - time.time()) + 1.0
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or "rate limit" in _said(answer).lower():
        return _UNSAID_LIMIT
    return None


def _opened_meanwhile(answer: httpx.Response) -> bool:
    return answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and "already exists" in _said(answer)


def _decoded(answer: httpx.Response, shape: Any) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=shape)
    except msgspec.MsgspecError as error:
        raise OutageError(f"What answers at {answer.request.url} does not speak GitHub's API: {error}.") from None


def _said(answer: httpx.Response) -> str:
    """The API's own words, those about single fields included."""
    try:
        said: Any = answer.json()
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    details = [entry.get("message") if isinstance(entry, dict) else entry for entry in said.get("errors") or []]
    words = [
        str(said.get("message") or answer.text[:200] or answer.reason_phrase),
        *(str(text) for text in details if text),
    ]
    return ": ".join(word.strip().rstrip(".") for word in words) + "."
