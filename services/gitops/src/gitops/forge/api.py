"""REST calls to a forge: retried a few times if it is busy or limits requests, with clear errors."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
from msgspec import Struct

from gitops.errors import BadInputError, OutageError
from gitops.trust import usual_trust

T = TypeVar("T")

_SECONDS = 20.0
# Seconds between tries, so there is one more try than there are numbers.
_PAUSES = (0.5, 1.0, 2.0, 4.0)
# Seconds that one call may wait for rate limits in total. The API says how long, up to an hour.
_PATIENCE = 120.0
_UNSAID_LIMIT = 60.0
_AWAY = frozenset({500, 502, 503, 504})
# No list of a healthy repository has more. Pages have the largest size that the forge allows.
_PAGES = 20
_FEWER = "Close or delete entries that nobody needs"
NEW_PULL_REQUEST = "Close this pull request, because the next one starts without these"
NEW_COMMIT = "Push another commit to the branch, because it starts without these"


class Variables(Struct, frozen=True, kw_only=True):
    """The environment variables for a forge: its token, the address of its API, and the repository."""

    token: str
    api: str
    repository: str


class Access(Struct, frozen=True, kw_only=True):
    """How to reach a forge's API: `name` is for people, `headers` have the token.

    `variables` and `rights` (what the token needs) are for errors. `busy` has additional statuses that mean "try
    again".
    """

    name: str
    url: str
    headers: Mapping[str, str]
    variables: Variables
    rights: str
    busy: frozenset[int] = frozenset()


class HiddenError(BadInputError):
    """Something does not exist, or this token may not see it: forges do not say which."""


class LongListError(BadInputError):
    """A list has more pages than are read. Its first pages were yielded."""


class Api:
    """The API of a forge."""

    def __init__(self, access: Access, pause: Callable[[float], None] = time.sleep) -> None:
        """Take the access; `pause` waits for a number of seconds."""
        self._access = access
        self._url = access.url.rstrip("/")
        self._pause = pause
        self._trust: SSLContext | None = None

    def get(self, path: str, shape: type[T], query: Mapping[str, str] | None = None) -> T:
        """Return the content at a path.

        Raises:
            BadInputError: The API refuses.
            OutageError: It does not answer, or the answer has another form.
        """
        return self.decoded(self.done(self.ask("GET", path, query=query)), shape)

    def pages(
        self, path: str, shape: type[T], query: Mapping[str, str] | None = None, remedy: str = _FEWER
    ) -> Iterator[T]:
        """Yield every entry of a list with pages; arguments and errors as for `sheets`."""
        for page in self.sheets(path, list[shape], query, len, remedy):  # type: ignore[valid-type]
            yield from page

    def sheets(
        self,
        path: str,
        shape: type[T],
        query: Mapping[str, str] | None,
        size: Callable[[T], int],
        remedy: str = _FEWER,
    ) -> Iterator[T]:
        """Yield every page of a list.

        Args:
            path: The list.
            shape: What a page contains.
            query: Parameters of the first page.
            size: Returns the number of entries in a page.
            remedy: What a person does if the list is too long.

        Raises:
            BadInputError: The API refuses.
            LongListError: There are more pages than are read: a part is never the whole list.
            OutageError: The API does not answer, or the answer has another form.

        The header Link names the next page, or X-Total-Count says that there are more entries: Gitea sends one of the
        two, depending on the list.
        """
        wanted, seen = dict(query or {}), 0
        for number in range(1, _PAGES + 1):
            answer = self.done(self.ask("GET", path, query=wanted))
            page = self.decoded(answer, shape)
            yield page
            seen += size(page)
            if following := answer.links.get("next", {}).get("url"):
                # The host in the link may not be reachable from here, so only its query is used.
                wanted = dict(parse_qsl(urlsplit(following).query))
            elif size(page) and seen < self._total(answer):
                wanted |= {"page": str(number + 1)}
            else:
                return
        raise LongListError(
            f"{self._url}: the list {path} has more than {_PAGES} pages ({seen} entries were read), so it was not read "
            f"to its end. {remedy}, then run the same command again."
        )

    def seen(self, path: str, shape: type[T]) -> T | None:
        """Return the same as `get`, or None if it does not exist or this token may not see it."""
        try:
            return self.get(path, shape)
        except HiddenError:
            return None

    def seen_pages(self, path: str, shape: type[T], query: Mapping[str, str]) -> list[T] | None:
        """Return the same as `pages`, or None if it does not exist or this token may not see it."""
        try:
            return list(self.pages(path, shape, query))
        except HiddenError:
            return None

    def send(self, method: str, path: str, content: object, shape: type[T]) -> T:
        """Write something, and return its new content; errors as for `get`."""
        return self.decoded(self.done(self.ask(method, path, content)), shape)

    def do(self, method: str, path: str, content: object = None) -> None:
        """Write something; errors as for `get`."""
        self.done(self.ask(method, path, content))

    def may(self, method: str, path: str, content: object) -> bool:
        """Whether the token has a right, tried with a request that is always invalid, so that it changes nothing."""
        return self.ask(method, path, content).status_code not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)

    def ask(
        self, method: str, path: str, content: object = None, query: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send one request, and retry it while the API is busy, down, or limits requests.

        Raises:
            BadInputError: The address or the proxy cannot be used.
            OutageError: The API does not answer in time.
        """
        patience = _PATIENCE
        for pause in (*_PAUSES, None):
            wait = pause
            try:
                answer = self._request(method, path, content, query)
            except httpx.HTTPError as error:
                reason = f"does not answer ({error or type(error).__name__})"
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise OutageError(f"{self._url} {reason}: SSL_CERT_FILE names a file of CAs to trust.") from None
            else:
                limited = _limited(answer)
                if limited is None and answer.status_code not in _AWAY | self._access.busy:
                    return answer
                reason = f"answers {answer.status_code} ({error_text(answer)})"
                if limited is not None:
                    wait, patience = limited, patience - limited
                    reason = f"allows no more requests for {limited:.0f} s ({error_text(answer)})"
            if pause is None or wait is None or patience < 0:
                break
            self._pause(wait)
        raise OutageError(f"{self._url} {reason}: try again later.")

    def done(self, answer: httpx.Response) -> httpx.Response:
        """Return an answer with a status of success.

        Raises:
            BadInputError: It has another status.
        """
        return answer if answer.is_success else self.refuse(answer)

    def refuse(self, answer: httpx.Response) -> NoReturn:
        """Raise an error with the API's message and what to do.

        Raises:
            HiddenError: The status is 403 or 404.
            BadInputError: The status is another one.
        """
        access, variables = self._access, self._access.variables
        moved = " The repository has moved: gitops adopt --repo ADDRESS writes the new address."
        hints = {
            **dict.fromkeys((301, 302, 307, 308), moved),
            401: f" {variables.token} is not valid there, or has expired.",
            403: f" {variables.token} needs the rights to {access.rights}.",
            404: f" {variables.token} has no access to this repository, or {variables.repository} names another one.",
        }
        request = f"{answer.request.method} {answer.request.url.path}"
        hint = hints.get(answer.status_code, "")
        refusal = HiddenError if answer.status_code in (403, 404) else BadInputError
        raise refusal(f"{self._url} refuses {request} with {answer.status_code}: {error_text(answer)}{hint}")

    def decoded(self, answer: httpx.Response, shape: type[T]) -> T:
        """Return the decoded content of an answer.

        Raises:
            OutageError: It has another form.
        """
        return self._content(answer.content, str(answer.request.url), shape)

    def decoded_field(self, text: str, path: str, shape: type[T]) -> T:
        """Return the decoded content of a field that holds JSON as text, in an answer at a path.

        Raises:
            OutageError: It has another form.
        """
        return self._content(text, self._url + path, shape)

    def _content(self, content: bytes | str, address: str, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=shape)
        except msgspec.MsgspecError as error:
            raise OutageError(f"The server at {address} does not offer {self._access.name}'s API: {error}.") from None

    def _total(self, answer: httpx.Response) -> int:
        return self._content(answer.headers.get("x-total-count", "0"), str(answer.request.url), int)

    def _request(self, method: str, path: str, content: object, query: Mapping[str, str] | None) -> httpx.Response:
        try:
            return httpx.request(
                method,
                self._url + path,
                json=content,
                params=query,
                headers=self._access.headers,
                timeout=_SECONDS,
                verify=self._trusted(),
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise BadInputError(f"{self._access.variables.api}: {self._url!r} is not an address: {error}.") from None
        except ValueError as error:
            # httpx raises this for a proxy whose protocol it does not support.
            raise BadInputError(f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: {error}.") from None

    def _trusted(self) -> SSLContext:
        """Return the CAs of SSL_CERT_FILE or SSL_CERT_DIR, otherwise those of the system and of httpx."""
        if self._trust is None:
            try:
                self._trust = usual_trust(self._url)
            except OSError as error:
                named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
                raise BadInputError(f"SSL_CERT_FILE: {named} cannot be read as certificates: {error}.") from None
            if not self._url.lower().startswith("http:"):
                self._trust.load_default_certs()
        return self._trust


def _limited(answer: httpx.Response) -> float | None:
    """Return the seconds to wait if the API limits requests, else None.

    Retry-After comes first, then the time at which the limit is reset, else a minute, as in
    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api and
    https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/.
    """
    headers, status = answer.headers, answer.status_code
    after = _seconds(headers.get("retry-after", ""))
    if status in (*_AWAY, httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS) and after is not None:
        return after
    if status not in (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS):
        return None
    for prefix in ("x-ratelimit", "ratelimit"):
        reset = headers.get(f"{prefix}-reset", "")
        if headers.get(f"{prefix}-remaining") == "0" and reset.isdigit():
            return max(0.0, float(reset) - time.time()) + 1.0
    if status == httpx.codes.TOO_MANY_REQUESTS or "rate limit" in error_text(answer).lower():
        return _UNSAID_LIMIT
    return None


def _seconds(after: str) -> float | None:
    """Return the seconds of a Retry-After header: it is a number, or a date."""
    if re.fullmatch(r"\d+", after):
        return float(after)
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None


def error_text(answer: httpx.Response) -> str:
    """Return the API's error message, including those about single fields."""
    try:
        content: Any = answer.json()
    except ValueError:
        content = {}
    if not isinstance(content, dict):
        content = {}
    words = [
        *_texts(content.get("message") or content.get("error") or ("" if content else answer.text[:200])),
        *_texts(content.get("error_description")),
        *_texts(content.get("errors")),
    ]
    unique = dict.fromkeys(word.strip().rstrip(".") for word in words if word.strip())
    return ": ".join(unique or [answer.reason_phrase]) + "."


def _texts(content: Any) -> Iterator[str]:
    """Yield every text in an error: a text, a list, or an object by field."""
    if isinstance(content, dict):
        content = [content["message"]] if "message" in content else list(content.values())
    if isinstance(content, list):
        for entry in content:
            yield from _texts(entry)
    elif content is not None:
        yield str(content)
