"""Who can sign in to MLflow, and with which rights.

The chart's own commands and settings run with the packages of the image, on a real Postgres. The provider is a Gitea.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from embedded.processes import LOOPBACK, NOBODY, Server, free_port, free_ports
from tests.charts.mlflow_release import PASSWORD, Release
from tests.forges import mlflow_image
from tests.forges.provider import ORGANISATION, Browser, Provider, now, token
from tests.integration.stores import BUCKET, S3Store, postgres, s3_server

pytestmark = pytest.mark.timeout(900)

API = "/api/2.0/mlflow"
ADMINS, VIEWERS = f"{ORGANISATION}:platform", f"{ORGANISATION}:data"
NAME = "Deployment/mlflow-sign-in"
MODEL = "iris-classifier"
REFUSED, FORBIDDEN, OK = httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.OK
_START_SECONDS = 300.0
Enter = Callable[..., tuple[Browser, httpx.Response]]


class SignIn(Release):
    """The release with both of its servers, run with the packages of the image."""

    def __init__(self, image: Path, folder: Path, database: str, store: S3Store, **values: Any) -> None:
        super().__init__(folder, database, store, **values)
        self.image = image

    def command(self, container: dict[str, Any]) -> list[str]:
        first, *rest = container.get("command") or ["mlflow"]
        return [str(self.image / "bin" / first), *rest, *container["args"]]

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        return super().environment(container) | {"PATH": f"{self.image / 'bin'}:{os.environ['PATH']}"}

    @contextmanager
    def people(self, url: str, **changed: str) -> Iterator[Server]:
        """Run the server at which people sign in, with the variables `changed`."""
        container = self.container(NAME)
        where = {"MLFLOW_HOST": LOOPBACK, "MLFLOW_PORT": url.rpartition(":")[2]}
        server = Server(
            "people's MLflow",
            self.command(container),
            url=url,
            ready_path=container["readinessProbe"]["httpGet"]["path"],
            log=self.folder / f"people-{where['MLFLOW_PORT']}.log",
            environment=self.environment(container) | where | changed,
        )
        server.start()
        try:
            # Its imports take ten seconds, twice. That is minutes if several suites share two processors.
            server.wait_ready(_START_SECONDS)
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def image() -> Path:
    if (found := mlflow_image.python()) is None:
        pytest.skip(mlflow_image.MISSING)
    return mlflow_image.installed(found)


@pytest.fixture(scope="module")
def address() -> str:
    return f"http://{LOOPBACK}:{free_port()}"


@pytest.fixture(scope="module")
def client(provider: Provider, address: str) -> str:
    return provider.client("mlflow", f"{address}/callback")


@pytest.fixture(scope="module")
def release(
    image: Path, provider: Provider, client: str, address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SignIn]:
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "run" / "mlflow").mkdir(parents=True)
    server, store = s3_server(tmp_path_factory.mktemp("s3"))
    said = {"issuer": provider.issuer, "client": client, "url": address, "admins": [ADMINS], "viewers": [VIEWERS]}
    with server, postgres() as database:
        store.client(store.writer).create_bucket(Bucket=BUCKET)
        yield SignIn(image, folder, database, store, signIn={"enabled": True, **said})


@pytest.fixture(scope="module")
def machines(release: SignIn) -> Iterator[Server]:
    """Yield the server for machines, after the migration has made the tables of both servers."""
    with release.server() as running:
        body = {"name": MODEL}
        made = httpx.post(
            f"{running.url}{API}/registered-models/create", json=body, auth=machine("training"), timeout=60
        )
        assert made.status_code == OK, made.text
        yield running


@pytest.fixture(scope="module")
def people(release: SignIn, machines: Server, address: str) -> Iterator[Server]:
    with release.people(address) as running:
        yield running


@pytest.fixture
def enter(provider: Provider, people: Server) -> Iterator[Enter]:
    """Yield a function that signs in a new person of some teams, and returns the browser."""
    opened = []

    def signed_in(name: str, *teams: str) -> tuple[Browser, httpx.Response]:
        browser = Browser(provider, provider.person(name, *teams))
        opened.append(browser)
        return browser, browser.sign_in(f"{people.url}/")

    yield signed_in
    for browser in opened:
        browser.close()


def machine(name: str) -> tuple[str, str]:
    return name, f"{name}-{PASSWORD}"


def models(browser: Browser, url: str) -> int:
    return browser.client.get(f"{url}{API}/registered-models/search").status_code


def test_a_viewer_sees_what_machines_made_and_changes_nothing(enter: Enter, people: Server) -> None:
    browser, landed = enter("vera", "data")
    assert landed.status_code == OK, landed.text
    assert str(landed.url) == f"{people.url}/", "the person returns to the page that was opened first"
    found = browser.client.get(f"{people.url}{API}/registered-models/search").raise_for_status().json()
    assert [model["name"] for model in found["registered_models"]] == [MODEL]
    for method, path, body in (
        ("POST", "registered-models/create", {"name": "of-vera"}),
        ("POST", "experiments/create", {"name": "of-vera"}),
        ("POST", "runs/create", {"experiment_id": "0"}),
        ("POST", "registered-models/set-tag", {"name": MODEL, "key": "gate", "value": "passed"}),
        ("POST", "registered-models/alias", {"name": MODEL, "alias": "candidate", "version": "1"}),
        ("PATCH", "registered-models/update", {"name": MODEL, "description": "of vera"}),
        ("DELETE", "registered-models/delete", {"name": MODEL}),
    ):
        answer = browser.client.request(method, f"{people.url}{API}/{path}", json=body)
        assert answer.status_code == FORBIDDEN, f"{path}: {answer.status_code} {answer.text}"
    elsewhere = {"Host": "evil.example"}
    answer = browser.client.get(f"{people.url}{API}/registered-models/search", headers=elsewhere)
    assert answer.status_code == FORBIDDEN, "a page of another site can reach the server under another name"
    # The plugin lets every user make these, and then sends requests to their address. So the gateway is off, also for
    # administrators.
    secret = {"secret_name": "of-vera", "secret_value": {"api_key": "x"}, "provider": "openai"}
    answer = browser.client.post(f"{people.url}/api/3.0/mlflow/gateway/secrets/create", json=secret)
    assert answer.status_code == httpx.codes.NOT_IMPLEMENTED, answer.text
    assert "AI Gateway feature is disabled" in answer.text
    hook = {
        "name": "of-vera",
        "url": "https://evil.example",
        "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
    }
    assert browser.client.post(f"{people.url}{API}/webhooks", json=hook).status_code == FORBIDDEN


def test_an_administrator_may_change_models(enter: Enter, people: Server) -> None:
    browser, _ = enter("ada", "platform")
    body = {"name": MODEL, "key": "told", "value": "by ada"}
    assert browser.client.post(f"{people.url}{API}/registered-models/set-tag", json=body).status_code == OK


def test_a_token_for_a_program_has_the_persons_rights_and_ends_with_the_person(enter: Enter, people: Server) -> None:
    browser, _ = enter("vera", "data")
    until = datetime.fromtimestamp(now() + 86400, UTC).isoformat()
    body = {"name": "notebook", "expiration": until}
    made = browser.client.post(f"{people.url}{API}/users/current/tokens", json=body)
    assert made.is_success, made.text
    login = f"{browser.login}@example.com"
    with httpx.Client(base_url=people.url, auth=(login, made.json()["token"]), timeout=60, trust_env=False) as program:
        assert program.get(f"{API}/registered-models/search").status_code == OK
        tag = {"name": MODEL, "key": "gate", "value": "passed"}
        assert program.post(f"{API}/registered-models/set-tag", json=tag).status_code == FORBIDDEN
        admin, _ = enter("ada", "platform")
        answer = admin.client.patch(f"{people.url}{API}/users/{login}/active", json={"active": False})
        assert answer.is_success, answer.text
        assert program.get(f"{API}/registered-models/search").status_code == REFUSED
    assert models(browser, people.url) == REFUSED


def test_a_person_without_an_allowed_group_cannot_sign_in(enter: Enter, people: Server) -> None:
    for teams in ((), ("guests",)):
        browser, landed = enter("stranger", *teams)
        assert "error" in str(landed.url), landed.url
        assert models(browser, people.url) == REFUSED


def test_a_stranger_sees_nothing(people: Server) -> None:
    with httpx.Client(base_url=people.url, timeout=30, trust_env=False) as stranger:
        for path in (
            f"{API}/registered-models/search",
            "/ajax-api/2.0/mlflow/experiments/search",
            "/graphql",
            "/",
        ):
            assert stranger.get(path).status_code == REFUSED, path
            assert stranger.post(path).status_code == REFUSED, path
        assert stranger.get("/metrics").status_code == httpx.codes.NOT_FOUND
        # Passwords of machines are valid only at the other server.
        for name in ("training", "serving"):
            assert stranger.get(f"{API}/registered-models/search", auth=machine(name)).status_code == REFUSED


def test_the_sign_in_works_only_in_the_browser_that_began_it(provider: Provider, people: Server, client: str) -> None:
    browser = Browser(provider, provider.person("vera", "data"))
    browser.sign_in(f"{people.url}/", until=f"{people.url}/callback")
    asked = next(url for url in browser.visited if url.path == "/login/oauth/authorize")
    assert asked.params["client_id"] == client
    assert asked.params["code_challenge_method"] == "S256"
    assert asked.params["redirect_uri"] == f"{people.url}/callback"
    landed = browser.visited[-1]
    assert landed.params["code"]
    # A person who reads the code in a log has neither the browser nor the verifier.
    with httpx.Client(timeout=60, trust_env=False) as thief:
        taken = {"grant_type": "authorization_code", "code": landed.params["code"], "client_id": client}
        taken["redirect_uri"] = f"{people.url}/callback"
        assert thief.post(provider.discovery()["token_endpoint"], data=taken).is_client_error
        forged = landed.copy_set_param("state", "of-somebody-else")
        assert "error" in thief.get(forged).headers["location"]
        assert thief.get(f"{people.url}{API}/registered-models/search").status_code == REFUSED
    browser.close()


def test_nobody_is_redirected_to_another_site(provider: Provider, people: Server, client: str) -> None:
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example", "/%09/evil.example"):
        browser = Browser(provider, provider.person("vera", "data"))
        browser.sign_in(str(httpx.URL(f"{people.url}/login", params={"next": elsewhere})))
        assert {url.host for url in browser.visited} == {LOOPBACK}, elsewhere
        browser.close()
    # The provider itself sends its codes only to the addresses of the client.
    browser = Browser(provider, provider.person("vera", "data"))
    asked = {"response_type": "code", "client_id": client, "redirect_uri": "https://evil.example/callback"}
    page = browser.sign_in(str(httpx.URL(f"{provider.issuer}/login/oauth/authorize", params=asked)))
    assert page.is_error
    assert {url.host for url in browser.visited} == {LOOPBACK}
    browser.close()


@pytest.fixture
def claims(enter: Enter, provider: Provider, people: Server, client: str) -> dict[str, Any]:
    """Return the claims of a token of a viewer who has signed in once."""
    browser, _ = enter("vera", "data")
    assert models(browser, people.url) == OK
    login = browser.login
    return {
        "iss": provider.issuer,
        "aud": client,
        "sub": "4711",
        "iat": now(),
        "exp": now() + 300,
        "email": f"{login}@example.com",
        "preferred_username": login,
        "groups": [ORGANISATION, VIEWERS],
    }


def test_tokens_that_the_provider_did_not_issue_give_no_access(
    provider: Provider, people: Server, claims: dict[str, Any]
) -> None:
    real, other = provider.key(), rsa.generate_private_key(65537, 2048)
    kid = provider.keys()[0]["kid"]

    def status(text: str, method: str = "GET", path: str = "registered-models/search", **body: Any) -> int:
        headers = {"Authorization": f"Bearer {text}"}
        url = f"{people.url}{API}/{path}"
        return httpx.request(method, url, headers=headers, timeout=60, trust_env=False, **body).status_code

    good = token(claims, real, kid=kid)
    assert status(good) == OK, "a valid token must work, or the checks below prove nothing"
    refused = {
        "signed by nobody": token(claims, None, alg="none"),
        "not signed, under the key's name": token(claims, None, alg="none", kid=kid),
        "without its signature": good.rpartition(".")[0] + ".",
        "signed with another key": token(claims, other, kid=kid),
        "signed for other claims": good.replace(
            good.split(".")[1], token({**claims, "groups": [ADMINS]}, None).split(".")[1]
        ),
        "expired": token({**claims, "iat": now() - 7200, "exp": now() - 3600}, real, kid=kid),
        "issued to another client": token({**claims, "aud": "argo-cd"}, real, kid=kid),
        "of another issuer": token({**claims, "iss": "https://evil.example"}, real, kid=kid),
        "of nobody here": token({**claims, "email": "nobody@example.com", "preferred_username": "no"}, real, kid=kid),
    }
    assert {name: status(text) for name, text in refused.items()} == dict.fromkeys(refused, REFUSED)
    # Not even a token of the provider makes an administrator. Only a sign-in does.
    climbing = token({**claims, "groups": [ADMINS]}, real, kid=kid)
    body = {"name": MODEL, "key": "gate", "value": "passed"}
    assert status(climbing, "POST", "registered-models/set-tag", json=body) == FORBIDDEN


def test_a_forged_cookie_gives_no_access(enter: Enter, people: Server) -> None:
    browser, _ = enter("vera", "data")
    (cookie,) = (found for found in browser.client.cookies.jar if found.name == "session" and found.value)
    assert cookie.has_nonstandard_attr("HttpOnly") or cookie.has_nonstandard_attr("httponly")
    assert cookie.value
    for forged in (cookie.value[:-4] + "AAAA", re.sub("^.{8}", "AAAAAAAA", cookie.value), "admin"):
        with httpx.Client(cookies={"session": forged}, timeout=30, trust_env=False) as other:
            assert other.get(f"{people.url}{API}/registered-models/search").status_code == REFUSED
    # After signing out, the old cookie is not valid.
    browser.client.get(f"{people.url}/logout")
    with httpx.Client(cookies={"session": cookie.value}, timeout=30, trust_env=False) as other:
        assert other.get(f"{people.url}{API}/registered-models/search").status_code == REFUSED


def test_while_the_provider_is_down_machines_work_and_people_see_an_error(release: SignIn, machines: Server) -> None:
    assert not [name for name in release.environment(release.container("Deployment/mlflow")) if name.startswith("OIDC")]
    away = {"OIDC_DISCOVERY_URL": f"{NOBODY}/.well-known/openid-configuration", "OIDC_ISSUER": NOBODY}
    url = f"http://{LOOPBACK}:{free_port()}"
    with release.people(url, **away), httpx.Client(timeout=60, trust_env=False) as person:
        answer = person.get(f"{url}/login")
        assert answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR
        assert person.get(f"{url}{API}/registered-models/search").status_code == REFUSED
        bearer = {"Authorization": f"Bearer {token({'sub': 'x'}, rsa.generate_private_key(65537, 2048))}"}
        assert person.get(f"{url}{API}/registered-models/search", headers=bearer).status_code == REFUSED
        for name in ("training", "serving", "gitops", "smoke"):
            answer = person.get(f"{machines.url}{API}/registered-models/search", auth=machine(name))
            assert answer.status_code == OK, answer.text


def test_nobody_gets_in_if_the_issuer_differs_between_discovery_and_tokens(
    release: SignIn, machines: Server, provider: Provider, tmp_path: Path
) -> None:
    known = tmp_path / ".well-known"
    known.mkdir()
    told = provider.discovery() | {"issuer": "https://login.example.com"}
    (known / "openid-configuration").write_text(json.dumps(told))
    documents, mlflow = free_ports(2)
    command = [sys.executable, "-m", "http.server", str(documents), "--bind", LOOPBACK, "--directory", str(tmp_path)]
    url, path = f"http://{LOOPBACK}:{mlflow}", "/.well-known/openid-configuration"
    client = provider.client("misled", f"{url}/callback")
    changed = {"OIDC_DISCOVERY_URL": f"http://{LOOPBACK}:{documents}{path}", "OIDC_REDIRECT_URI": f"{url}/callback"}
    misled = Server("documents", command, url=f"http://{LOOPBACK}:{documents}", ready_path=path, log=tmp_path / "log")
    with misled, release.people(url, OIDC_CLIENT_ID=client, OIDC_AUDIENCE=client, **changed):
        browser = Browser(provider, provider.person("vera", "data"))
        browser.sign_in(f"{url}/")
        assert [visited.path for visited in browser.visited].count("/callback") == 1, "the provider agreed"
        assert models(browser, url) == REFUSED
        browser.close()


def test_the_migration_refuses_another_database_and_says_what_to_do(release: SignIn) -> None:
    said = release.run(NAME, code=1, MLFLOW_BACKEND_STORE_URI="mysql+pymysql://mlflow:5ecret@nowhere/mlflow")
    assert "signIn keeps its tables in a schema of PostgreSQL, and the database is mysql" in said
    assert "5ecret" not in said


def test_an_image_without_the_plugin_says_so(release: SignIn, tmp_path: Path) -> None:
    # An image with an older Python does not have this module.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'mlflow_oidc_auth' else find(name, *more)\n"
    )
    assert "signIn needs the plugin mlflow-oidc-auth" in release.run(NAME, code=1, PYTHONPATH=str(tmp_path))
