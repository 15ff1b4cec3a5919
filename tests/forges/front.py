"""A proxy between the commands and a forge's API. It passes requests on, and makes the faults that a test wants."""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx

from services.gitops.tests.github import Answer
from services.gitops.tests.web import AnyMethod, listening

_LEFT_OUT = frozenset({"host", "connection", "content-length", "accept-encoding"})
_NOT_BACK = frozenset({"transfer-encoding", "connection", "content-length", "content-encoding", "date", "server"})


@dataclass(frozen=True)
class Cut:
    """The connection ends without an answer. `done` says whether the forge got the request first."""

    done: bool


Fault = Answer | Cut
# Called with each request, such as `POST /api/v1/repos/acme/pipeline/pulls`. None passes the request on.
Rule = Callable[[str], Fault | None]


@dataclass
class Front:
    """The proxy: the address that the commands know, and its faults."""

    target: str
    client: httpx.Client
    url: str = ""
    requests: list[str] = field(default_factory=list)
    rule: Rule = lambda _request: None

    def writes(self) -> list[str]:
        """Return the requests that change something."""
        return [request for request in self.requests if not request.startswith("GET ")]

    def answer(self, method: str, path: str, headers: Mapping[str, str], content: bytes) -> httpx.Response | None:
        """Return the answer for the commands. None ends the connection."""
        # A client that uses this as a proxy sends whole addresses.
        path = re.sub(r"^https?://[^/]+", "", path)
        request = f"{method} {path.partition('?')[0]}"
        self.requests.append(request)
        fault = self.rule(request)
        if isinstance(fault, Answer):
            return httpx.Response(fault.status, json=fault.content, headers=dict(fault.headers))
        if isinstance(fault, Cut) and not fault.done:
            return None
        kept = {name: value for name, value in headers.items() if name.lower() not in _LEFT_OUT}
        answer = self.client.request(method, self.target + path, content=content, headers=kept)
        return None if fault else answer

    @contextmanager
    def encrypted(self, certificate: Path, key: Path) -> Iterator[str]:
        """Yield an address of it that speaks TLS, until the block ends."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with _listening(self, context) as url:
            yield url


class _Handler(AnyMethod):
    front: Front

    def answer_it(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        answer = self.front.answer(self.command, self.path, dict(self.headers.items()), content)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _NOT_BACK:
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Ignore errors: a caller that does not trust the certificate closes the connection."""


@contextmanager
def front_of(target: str) -> Iterator[Front]:
    """Run a proxy in front of a forge until the block ends."""
    front = Front(target, httpx.Client(timeout=60, trust_env=False))
    with _listening(front) as url:
        front.url = url
        yield front
    front.client.close()


@contextmanager
def _listening(front: Front, context: ssl.SSLContext | None = None) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"front": front})
    server = _Server(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with listening(server) as port:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
