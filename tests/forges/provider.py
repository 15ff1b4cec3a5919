"""A real OpenID Connect provider, a Gitea, and a person's browser that fills in its forms."""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.forges.gitea_server import _PASSWORD, GiteaServer

ORGANISATION = "flora"
_FIELD = re.compile(r'<(?:input|button)[^>]*name="([^"]*)"[^>]*value="([^"]*)"')
_HOPS = 10


class Provider:
    """The provider's clients, people and keys. A person's group is ORGANISATION:TEAM."""

    def __init__(self, server: GiteaServer, folder: Path) -> None:
        self.issuer = server.url
        self._server = server
        self._folder = folder
        self._teams: dict[str, int] = {}
        server.call("POST", "/orgs", {"username": ORGANISATION})

    def client(self, name: str, *redirects: str) -> str:
        """Make a public client, and return its id."""
        content = {"name": name, "redirect_uris": redirects, "confidential_client": False}
        return str(self._server.call("POST", "/user/applications/oauth2", content)["client_id"])

    def person(self, name: str, *teams: str) -> str:
        """Make a person who is in these teams, and return the login."""
        login = self._server.user(name)
        for team in teams:
            if team not in self._teams:
                content = {"name": team, "permission": "read", "units": ["repo.code"]}
                self._teams[team] = self._server.call("POST", f"/orgs/{ORGANISATION}/teams", content)["id"]
            self._server.call("PUT", f"/teams/{self._teams[team]}/members/{login}")
        return login

    def discovery(self) -> dict[str, Any]:
        """Return the provider's discovery document."""
        found = httpx.get(f"{self.issuer}/.well-known/openid-configuration", timeout=30, trust_env=False)
        return dict(found.raise_for_status().json())

    def keys(self) -> list[dict[str, str]]:
        """Return the keys that verify its tokens."""
        found = httpx.get(self.discovery()["jwks_uri"], timeout=30, trust_env=False)
        return list(found.raise_for_status().json()["keys"])

    def key(self) -> rsa.RSAPrivateKey:
        """Return the provider's signing key from its folder. Tests sign tokens with it that the provider would not."""
        (file,) = self._folder.rglob("jwt/private.pem")
        found = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(found, rsa.RSAPrivateKey)
        return found


class Browser:
    """A person's browser: it keeps cookies and opens one page after the other."""

    def __init__(self, provider: Provider, login: str) -> None:
        self._provider, self.login = provider, login
        self.client = httpx.Client(timeout=60, trust_env=False)
        self.visited: list[httpx.URL] = []

    def follow(self, answer: httpx.Response, *, until: str = "") -> httpx.Response:
        """Follow redirects, but stop before an address that begins with `until`."""
        for _ in range(_HOPS):
            if answer.next_request is None:
                return answer
            self.visited.append(answer.next_request.url)
            if until and str(answer.next_request.url).startswith(until):
                return answer
            answer = self.client.send(answer.next_request)
        raise AssertionError(f"too many redirects: {self.visited}")

    def get(self, url: str, *, until: str = "") -> httpx.Response:
        """Open a page, as a person who types its address."""
        return self.follow(self.client.get(url, headers={"accept": "text/html"}), until=until)

    def sign_in(self, url: str, *, until: str = "") -> httpx.Response:
        """Open a page that redirects to the provider, sign in there and agree. Return the page where this ends."""
        page = self.get(url)
        assert page.url.path == "/user/login", f"{page.url} is not the provider's form: {page.text[:500]}"
        form = {"user_name": self.login, "password": _PASSWORD}
        page = self.follow(self.client.post(f"{self._provider.issuer}/user/login", data=form), until=until)
        if page.next_request is not None or page.url.path != "/login/oauth/authorize":
            return page
        fields = dict(_FIELD.findall(page.text)) | {"granted": "true"}
        return self.follow(self.client.post(f"{self._provider.issuer}/login/oauth/grant", data=fields), until=until)

    def close(self) -> None:
        self.client.close()


class Pkce:
    """The random values that a public client chooses for one sign-in."""

    def __init__(self) -> None:
        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(16)
        self.nonce = secrets.token_urlsafe(16)

    def parameters(self, client: str, redirect: str, scopes: Sequence[str]) -> dict[str, str]:
        """Return the parameters of the authorization request."""
        return {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": redirect,
            "scope": " ".join(scopes),
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": encoded(hashlib.sha256(self.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }

    def code(self, landed: httpx.URL) -> str:
        """Return the code in the redirect address, after a check of its state."""
        found = parse_qs(urlsplit(str(landed)).query)
        assert found["state"] == [self.state]
        return found["code"][0]


def encoded(raw: bytes) -> str:
    """Return base64 in the spelling of tokens."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(claims: Mapping[str, Any], key: rsa.RSAPrivateKey | None, *, kid: str = "", alg: str = "RS256") -> str:
    """Return a token with these claims. Without a key, its signature is empty."""
    head = encoded(json.dumps({"alg": alg, "typ": "JWT", **({"kid": kid} if kid else {})}).encode())
    text = f"{head}.{encoded(json.dumps(dict(claims)).encode())}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()) if key else b""
    return f"{text}.{encoded(signature)}"


def claims_of(text: str, keys: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the claims of a token, verified with the provider's keys.

    Raises:
        InvalidSignature: The signature is not the provider's.
    """
    head, body, signature = text.split(".")
    kid = json.loads(decoded(head))["kid"]
    (found,) = (key for key in keys if key["kid"] == kid)
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(decoded(found[part])) for part in ("e", "n")))
    verifier = numbers.public_key()
    verifier.verify(decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    return dict(json.loads(decoded(body)))


def decoded(text: str) -> bytes:
    """Decode base64 in the spelling of tokens."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def now() -> int:
    """Return the present time in seconds, as tokens have it."""
    return int(time.time())
