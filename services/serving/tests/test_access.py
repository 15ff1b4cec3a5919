"""API keys: each gets in at the rate that it is allowed, callers without one learn nothing, and keys can be changed."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.serving.tests.bundles import SETOSA
from services.serving.tests.conftest import Bundle, Serve, until_ready, wait_for
from serving.api.access import Access, parse_keys
from serving.api.problems import RefusedError
from serving.environment import SettingsError

FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"
KEYS = f"alice:{FIRST},bob:{SECOND}"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def ask(api: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    return api.post("/predict", json={"features": SETOSA}, headers=headers)


def test_everything_but_health_and_metrics_needs_a_key(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(API_KEYS=KEYS))
    until_ready(api)
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/v2/health/live", "/v2/health/ready"):
        assert api.get(path).status_code == 200
    for path in ("/model/info", "/docs", "/docs/openapi.json", "/v2", "/v2/models/iris-classifier", "/nowhere"):
        response = api.get(path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert ("error" in response.json()) is path.startswith("/v2")
        assert api.get(path, headers=bearer(FIRST)).status_code != 401
    wrong = [bearer("x" * 20), bearer(FIRST[:-1]), bearer(FIRST + "x"), {"x-api-key": ""}, {"authorization": FIRST}]
    for headers in ({}, *wrong):
        assert ask(api, headers).status_code == 401
    lower = {"authorization": f"bearer {SECOND}"}
    for headers in (bearer(FIRST), bearer(SECOND), lower, {"x-api-key": FIRST}):
        assert ask(api, headers).status_code == 200


def test_each_key_has_a_separate_rate() -> None:
    now = [0.0]
    keys = parse_keys(KEYS, "API_KEYS")
    access = Access(lambda: keys, 2.0, lambda: now[0])

    def allowed(key: str, times: int) -> int:
        for count in range(times):
            try:
                access.check({b"x-api-key": key.encode()})
            except RefusedError:
                return count
        return times

    assert allowed(FIRST, 10) == 4
    with pytest.raises(RefusedError) as caught:
        access.check({b"x-api-key": FIRST.encode()})
    assert (caught.value.status, caught.value.headers) == (429, {"retry-after": "1"})
    assert allowed(SECOND, 3) == 3
    now[0] += 1.0
    assert allowed(FIRST, 10) == 2
    now[0] += 3600.0
    assert allowed(FIRST, 10) == 4


def test_a_used_up_rate_is_reported(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(API_KEYS=KEYS, API_KEY_REQUESTS_PER_SECOND="0.001"))
    until_ready(api)
    assert ask(api, bearer(FIRST)).status_code == 200
    refused = ask(api, bearer(FIRST))
    assert refused.status_code == 429
    assert 900 < int(refused.headers["retry-after"]) <= 1000
    assert ask(api, bearer(SECOND)).status_code == 200
    assert api.get("/v2", headers=bearer(FIRST)).json() == {"error": "This key may send 0.001 requests a second."}


def test_keys_in_a_file_can_be_changed(
    serve: Serve, iris: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.api.access._LOOK_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text(f"# of this team\nalice:{FIRST}\n\n")
    api = serve(iris.pin(API_KEYS_FILE=str(file)))
    until_ready(api)
    assert ask(api, bearer(FIRST)).status_code == 200

    def change(content: str) -> None:
        file.write_text(content)
        stamp = file.stat().st_mtime_ns + 10**9
        os.utime(file, ns=(stamp, stamp))

    change(f"bob={SECOND}\n")
    wait_for(lambda: ask(api, bearer(SECOND)).status_code == 200)
    assert ask(api, bearer(FIRST)).status_code == 401
    change("broken")
    assert ask(api, bearer(SECOND)).status_code == 200
    for emptied in ("", "# none\n"):
        change(emptied)
        assert ask(api, bearer(SECOND)).status_code == 401
        change(f"bob={SECOND}\n")
        assert ask(api, bearer(SECOND)).status_code == 200
    file.unlink()
    assert ask(api, bearer(SECOND)).status_code == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"API_KEYS": "alice"}, "API_KEYS: entry 1 is not of the form NAME:KEY"),
        ({"API_KEYS": f"alice:{FIRST},bob:short"}, "API_KEYS: entry 2"),
        ({"API_KEYS_FILE": "/nowhere/keys"}, "API_KEYS_FILE is '/nowhere/keys', which cannot be read"),
        ({"API_KEYS_FILE": os.devnull}, "holds no keys"),
        ({"API_KEY_REQUESTS_PER_SECOND": "5"}, "API_KEY_REQUESTS_PER_SECOND belongs to keys"),
    ],
)
def test_mistakes_prevent_the_start_and_reveal_no_key(serve: Serve, settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        serve(settings)
    assert message in str(caught.value)
    assert "short" not in str(caught.value)
    assert FIRST not in str(caught.value)


def test_answers_have_the_headers_that_protect_browsers(iris_api: httpx.Client) -> None:
    for response in (iris_api.get("/docs"), ask(iris_api, {}), iris_api.get("/v2"), iris_api.get("/nowhere")):
        assert response.headers["x-content-type-options"] == "nosniff"
    page: Any = iris_api.get("/docs").headers
    assert "default-src 'none'" in page["content-security-policy"]
    assert "script-src 'sha256-" in page["content-security-policy"]
    assert "style-src 'sha256-" in page["content-security-policy"]
    assert (page["x-frame-options"], page["referrer-policy"]) == ("DENY", "no-referrer")


@pytest.mark.parametrize(
    "comment",
    [
        "# of this team, see the wiki",
        f"# gone: alice:{FIRST},bob:{SECOND}",
        f"  #alice:{FIRST}, bob:{SECOND},\n",
    ],
)
def test_no_key_in_a_comment_is_valid(comment: str) -> None:
    third = "third-key-0123456789"
    assert [name for _, name in parse_keys(f"{comment}\ncarol:{third}", "API_KEYS_FILE")] == ["carol"]
    assert [name for _, name in parse_keys(f"carol:{third},#alice:{FIRST}", "API_KEYS")] == ["carol"]


def test_an_empty_list_of_keys_and_a_file_that_is_not_text_are_reported(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"alice:\xff\xfe")
    for settings, message in (
        ({"API_KEYS": ","}, "API_KEYS holds no keys"),
        ({"API_KEYS_FILE": str(tmp_path / "keys")}, "it is not text in UTF-8"),
    ):
        with pytest.raises(SettingsError, match=message):
            serve(settings)
