"""Argo CD's API as its interface uses it: the rights of a promoter and of a viewer, and a rollback by hand."""

import base64
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from tests.e2e.argocd.pipeline import Pipeline
from tests.e2e.argocd.places import PRODUCTION
from tests.e2e.report import Report

APP = PRODUCTION.application
AUTOMATED = {"prune": True, "selfHeal": True, "allowEmpty": False}


class Api(msgspec.Struct, frozen=True):
    """Argo CD's HTTP API, as one user."""

    base: str
    token: str = ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the API and return its answer.

        Raises:
            AssertionError: The call failed. The message is the answer.
        """
        answer = self._ask(method, path, body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def status(self, method: str, path: str, body: object = None) -> int:
        """Call the API and return the status of the answer."""
        return self._ask(method, path, body).status_code

    def _ask(self, method: str, path: str, body: object) -> httpx.Response:
        # Argo CD's certificate is self-signed, and for another name than the forwarded one.
        insecure = ssl.create_default_context()
        insecure.check_hostname = False
        insecure.verify_mode = ssl.CERT_NONE
        # Argo CD accepts only this type, even without a body, because forms of other sites cannot send it.
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with httpx.Client(base_url=f"{self.base}/api/v1", headers=headers, verify=insecure, timeout=30) as client:
            return client.request(method, path, json=body)


@pytest.fixture(scope="module")
def base(pipeline: Pipeline) -> Iterator[str]:
    """Yield the address of the API."""
    with pipeline.kube.forwarded("argocd", "service/argocd-server", 443, scheme="https") as address:
        yield address


@pytest.fixture(scope="module")
def admin(pipeline: Pipeline, base: str) -> Api:
    """Return the administrator, with the password at the place that the documentation names."""
    secret = pipeline.kube.get("argocd", "secret", "argocd-initial-admin-secret")["data"]["password"]
    login = {"username": "admin", "password": base64.b64decode(secret).decode()}
    return Api(base, Api(base).call("POST", "/session", login)["token"])


def _of_role(admin: Api, base: str, role: str) -> Api:
    path = f"/projects/serving/roles/{role}/token"
    body = {"project": "serving", "role": role, "expiresIn": 3600}
    return Api(base, admin.call("POST", path, body)["token"])


@pytest.fixture(scope="module")
def promoter(admin: Api, base: str) -> Api:
    """Return the role that may sync and roll back."""
    return _of_role(admin, base, "promoter")


@pytest.fixture(scope="module")
def viewer(admin: Api, base: str) -> Api:
    """Return the role that may only read."""
    return _of_role(admin, base, "viewer")


def test_a_viewer_sees_and_changes_nothing(viewer: Api) -> None:
    assert viewer.call("GET", f"/applications/{APP}")["metadata"]["name"] == APP
    assert viewer.status("POST", f"/applications/{APP}/sync", {}) == httpx.codes.FORBIDDEN
    assert viewer.status("POST", f"/applications/{APP}/rollback", {"id": 1}) == httpx.codes.FORBIDDEN
    assert viewer.status("DELETE", f"/applications/{APP}") == httpx.codes.FORBIDDEN


def test_nobody_gets_in_without_signing_in(base: str) -> None:
    assert Api(base).status("GET", "/applications") == httpx.codes.UNAUTHORIZED


def test_a_promoter_syncs_and_does_nothing_else(pipeline: Pipeline, promoter: Api) -> None:
    spec = promoter.call("GET", f"/applications/{APP}")["spec"]
    assert promoter.status("PUT", f"/applications/{APP}/spec", spec) == httpx.codes.FORBIDDEN
    promoter.call("POST", f"/applications/{APP}/sync", {"prune": False})
    pipeline.wait_settled(APP)
    assert promoter.status("DELETE", f"/applications/{APP}") == httpx.codes.FORBIDDEN
    assert promoter.status("POST", "/applications/mlflow/sync", {}) == httpx.codes.FORBIDDEN


def test_a_rollback_by_hand_and_back_to_git(pipeline: Pipeline, admin: Api, promoter: Api, report: Report) -> None:
    earlier = pipeline.pins(PRODUCTION)["model"]["version"]
    pipeline.follow(pipeline.promote(PRODUCTION), PRODUCTION)
    newer = pipeline.predict(PRODUCTION).version
    assert newer != earlier
    history = pipeline.application(APP)["status"]["history"]
    with pipeline.load(PRODUCTION) as results:
        # Argo CD refuses a rollback that an automated sync would undo at once.
        assert promoter.status("POST", f"/applications/{APP}/rollback", {"id": history[-2]["id"]}) in (400, 409)
        _automate(admin, None)
        promoter.call("POST", f"/applications/{APP}/rollback", {"id": history[-2]["id"]})
        pipeline.kube.wait(
            "the earlier version answers",
            lambda: pipeline.predict(PRODUCTION).version == earlier,
            seconds=120,
            namespace=PRODUCTION.namespace,
        )
        # The ApplicationSet leaves automated syncs off, even after it has read git again.
        pipeline.look_at_git()
        pipeline.wait_application(APP, lambda app: app["status"]["sync"]["status"] == "OutOfSync", 60)
        assert "automated" not in pipeline.application(APP)["spec"]["syncPolicy"]
        _automate(admin, AUTOMATED)
        pipeline.wait_settled(APP)
    assert pipeline.predict(PRODUCTION).version == newer
    report.add("Requests", f"- rollback in Argo CD and back to git: {results[0]}")
    assert results[0].dropped == 0, results[0].errors


def _automate(api: Api, automated: dict[str, bool] | None) -> None:
    """Turn automated syncs on or off as the interface does, with the whole specification."""
    spec = api.call("GET", f"/applications/{APP}")["spec"]
    spec["syncPolicy"].pop("automated", None)
    if automated:
        spec["syncPolicy"]["automated"] = automated
    api.call("PUT", f"/applications/{APP}/spec", spec)
