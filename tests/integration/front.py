"""A proxy in front of another server, like an ingress, a company's login or a hostile network."""

import contextlib
import datetime as dt
import gzip
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from embedded.processes import LOOPBACK
from serving.certificates import trusted

_PASSED_ON = ("host", "authorization", "content-type", "x-amz-date", "x-amz-content-sha256")


class Answer(msgspec.Struct):
    """An answer of the proxy itself."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""


class Asked(msgspec.Struct):
    """A request to the proxy."""

    method: str
    path: str
    headers: dict[str, str]


Rule = Callable[[Asked], Answer | None]


@contextlib.contextmanager
def front(target_url: str, rule: Rule = lambda _: None, certificate: Path | None = None) -> Iterator[str]:
    """Run a proxy that forwards to `target_url` what `rule` does not answer, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            answer = rule(Asked(self.command, self.path, headers)) or self._from_target(headers, body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815  (as above)

        def _from_target(self, headers: dict[str, str], body: bytes) -> Answer:
            kept = {name: value for name, value in headers.items() if name in _PASSED_ON}
            found = target.request(self.command, target_url + self.path, headers=kept, content=body)
            return Answer(found.status_code, {"content-type": found.headers.get("content-type", "")}, found.content)

        def log_message(self, *_: object) -> None:
            pass

    # One client for all requests, because creating one takes longer than a request. It keeps no connections to close.
    target = httpx.Client(trust_env=False, verify=trusted(), limits=httpx.Limits(max_keepalive_connections=0))
    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def swollen(megabytes: int) -> Answer:
    """Return a JSON answer of a number of megabytes, which is compressed to a thousandth of that."""
    body = gzip.compress(b'{"model_version": {"version": "1", "status": "' + b" " * (megabytes * 10**6) + b'"}}')
    return Answer(200, {"content-type": "application/json", "content-encoding": "gzip"}, body)


def own_certificate(folder: Path) -> Path:
    """Create a self-signed certificate for this machine and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of this test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
