"""Argo CD's rendered sign-in with a real provider. The tests do what its page does, as a public client with PKCE.

Argo CD's server does not run here. tests/gitops/test_sign_in.py tests the groups with Argo CD's own enforcer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.forges.provider import ORGANISATION, Browser, Pkce, Provider, claims_of, now, token
from tests.gitops.repository import WIDE
from tests.gitops.test_sign_in import OIDC, patches, rendered

pytestmark = pytest.mark.timeout(600)

URL = "https://argocd.example.com"
GROUP = f"{ORGANISATION}:gardeners"


@pytest.fixture(scope="module")
def client(provider: Provider) -> str:
    """Return the client, made as docs/sign-in.md says."""
    return provider.client("argo-cd", f"{URL}/auth/callback", f"{URL}/pkce/verify")


@pytest.fixture
def settings(provider: Provider, client: str, tmp_path: Path) -> dict[str, str]:
    """Return the ConfigMaps of Argo CD: the settings of the sign-in, and the policy."""
    oidc = OIDC.replace("https://login.example.com/dex\n", f"{provider.issuer}\n").replace("argo-cd}", f"{client}}}")
    found = patches(rendered(tmp_path, WIDE + oidc.replace("iris-people", GROUP)))
    return found["argocd-cm"] | found["argocd-rbac-cm"]


@pytest.fixture
def config(settings: dict[str, str]) -> dict[str, Any]:
    return dict(yaml.safe_load(settings["oidc.config"]))


@pytest.fixture
def person(provider: Provider) -> Iterator[Browser]:
    browser = Browser(provider, provider.person("iris", "gardeners"))
    yield browser
    browser.close()


def authorized(provider: Provider, config: dict[str, Any], person: Browser, pkce: Pkce, redirect: str) -> httpx.URL:
    """Return the address to which the provider sends the browser."""
    asked = pkce.parameters(config["clientID"], redirect, config["requestedScopes"])
    where = httpx.URL(provider.discovery()["authorization_endpoint"], params=asked)
    person.sign_in(str(where), until=URL)
    return person.visited[-1]


def exchanged(provider: Provider, config: dict[str, Any], code: str, verifier: str, redirect: str) -> httpx.Response:
    body = {"grant_type": "authorization_code", "client_id": config["clientID"], "code": code}
    body |= {"code_verifier": verifier, "redirect_uri": redirect}
    return httpx.post(provider.discovery()["token_endpoint"], data=body, timeout=60, trust_env=False)


def test_the_issuer_is_what_the_provider_calls_itself(provider: Provider, config: dict[str, Any]) -> None:
    said = provider.discovery()
    assert said["issuer"] == config["issuer"], "Argo CD refuses another"
    assert set(config["requestedScopes"]) <= set(said["scopes_supported"])
    assert "S256" in said["code_challenge_methods_supported"]


@pytest.mark.parametrize("path", ["/pkce/verify", "/auth/callback"])
def test_a_person_comes_back_with_the_groups_that_the_policy_names(
    path: str, provider: Provider, config: dict[str, Any], settings: dict[str, str], client: str, person: Browser
) -> None:
    assert settings["url"] == URL
    pkce = Pkce()
    landed = authorized(provider, config, person, pkce, URL + path)
    assert str(landed).startswith(URL + path)
    answer = exchanged(provider, config, pkce.code(landed), pkce.verifier, URL + path).raise_for_status().json()
    claims = claims_of(answer["id_token"], provider.keys())
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (config["issuer"], [client], pkce.nonce)
    assert claims["exp"] > now()
    (scope,) = yaml.safe_load(settings["scopes"])
    assert GROUP in claims[scope]
    assert f"g, {GROUP}, role:readonly" in settings["policy.csv"]


def test_a_person_without_a_team_has_no_group(
    provider: Provider, config: dict[str, Any], settings: dict[str, str]
) -> None:
    browser, pkce = Browser(provider, provider.person("stranger")), Pkce()
    landed = authorized(provider, config, browser, pkce, f"{URL}/pkce/verify")
    answer = exchanged(provider, config, pkce.code(landed), pkce.verifier, f"{URL}/pkce/verify").json()
    assert not claims_of(answer["id_token"], provider.keys()).get("groups")
    assert settings["policy.default"] == ""
    browser.close()


def test_a_code_works_only_once_and_only_with_the_verifier(
    provider: Provider, config: dict[str, Any], person: Browser
) -> None:
    pkce, redirect = Pkce(), f"{URL}/pkce/verify"
    code = pkce.code(authorized(provider, config, person, pkce, redirect))
    assert exchanged(provider, config, code, Pkce().verifier, redirect).is_client_error
    pkce = Pkce()
    again = Browser(provider, provider.person("iris", "gardeners"))
    code = pkce.code(authorized(provider, config, again, pkce, redirect))
    assert exchanged(provider, config, code, pkce.verifier, redirect).is_success
    assert exchanged(provider, config, code, pkce.verifier, redirect).is_client_error
    again.close()


def test_the_provider_redirects_to_no_other_address(
    provider: Provider, config: dict[str, Any], person: Browser
) -> None:
    for elsewhere in ("https://evil.example/auth/callback", f"{URL}.evil.example/auth/callback", f"{URL}/elsewhere"):
        asked = Pkce().parameters(config["clientID"], elsewhere, config["requestedScopes"])
        where = httpx.URL(provider.discovery()["authorization_endpoint"], params=asked)
        browser = Browser(provider, provider.person("iris", "gardeners"))
        page = browser.sign_in(str(where), until="https://")
        assert page.is_error, elsewhere
        assert not [url for url in browser.visited if url.scheme == "https"]
        browser.close()


def test_the_keys_of_the_provider_reveal_a_forged_token(provider: Provider) -> None:
    claims = {"iss": provider.issuer, "groups": [GROUP], "exp": now() + 60}
    keys = provider.keys()
    assert claims_of(token(claims, provider.key(), kid=keys[0]["kid"]), keys) == claims
    with pytest.raises(InvalidSignature):
        claims_of(token(claims, rsa.generate_private_key(65537, 2048), kid=keys[0]["kid"]), keys)
    with pytest.raises(InvalidSignature):
        claims_of(token(claims, None, kid=keys[0]["kid"], alg="none"), keys)
