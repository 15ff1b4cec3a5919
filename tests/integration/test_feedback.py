"""POST /feedback of a real process: truth goes into the log in a real store, and is joined with the answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.serving.tests.bundles import SETOSA, write_bundle
from services.serving.tests.conftest import Bundle
from tests.integration.logged import LOG_BUCKET, Logged, counts, pinned
from tests.integration.serving_fixtures import served, wait_for
from tests.integration.stores import S3Store
from training.outcomes.join import joined

KEY = "k" * 20
ROWS_AT_ONCE, BODY_BYTES = 5, 2000


class Told(msgspec.Struct, frozen=True):
    """A process that accepts feedback, a client with a key, and the log."""

    api: httpx.Client
    logged: Logged

    def tell(self, *truths: dict[str, Any]) -> httpx.Response:
        return self.api.post("/feedback", json={"feedback": list(truths)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("iris")
    return Bundle(folder, write_bundle(folder))


@pytest.fixture
def told(s3: S3Store, bundle: Bundle, tmp_path: Path) -> Iterator[Told]:
    logged = Logged.below(s3, "feedback/")
    more = {"PREDICTION_LOG_FEEDBACK": "true", "API_KEYS": f"team-a:{KEY}"}
    bounds = {"MAX_ROWS": str(ROWS_AT_ONCE), "MAX_BODY_BYTES": str(BODY_BYTES)}
    with served(tmp_path, {**pinned(bundle), **logged.settings(**more), **bounds}) as (_, client):
        client.headers["x-api-key"] = KEY
        yield Told(client, logged)


def test_truth_goes_into_the_log_and_is_joined(told: Told, s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one = told.api.post("/predict", json={"features": SETOSA}).headers["x-request-id"]
    told.api.post("/predict", json={"instances": [SETOSA] * 3}, headers={"x-request-id": "many"})
    answer = told.tell(
        {"request_id": one, "truth": "setosa"}, {"request_id": "many", "truth": "virginica", "row": 2},
        {"request_id": "many", "truth": 5, "row": 1}, {"request_id": "nobody", "truth": "setosa"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()) == (200, {"accepted": 4})
    wait_for(lambda: counts(told.api)["rows_written"] == 8)
    lines = [line for line in told.logged.lines() if line["reason"] == "feedback"]
    assert [(line["request_id"], line["row"], line["truth"], line["caller"]) for line in lines] == [
        (one, None, "setosa", "team-a"), ("many", 2, "virginica", "team-a"), ("many", 1, 5, "team-a"),
        ("nobody", None, "setosa", "team-a"),
    ]  # fmt: skip
    files = [name for name in told.logged.names() if "feedback" in name.rpartition("/")[2]]
    assert len(files) == 1
    for name, value in s3.environment(s3.writer).items():
        monkeypatch.setenv(name, value)
    found = joined(f"s3://{LOG_BUCKET}/{told.logged.prefix}", [])
    assert found.answers[["request_id", "row", "truth"]].values.tolist() == [
        [one, 0, "setosa"],
        ["many", 2, "virginica"],
    ]
    assert found.refusals.counts == {"type": 1, "unknown": 1}
    assert (found.logged, found.truths) == (4, 4)


@pytest.mark.parametrize(
    ("truth", "field"),
    [
        ({"request_id": "a b", "truth": 1}, "feedback[0].request_id"), ({"truth": 1}, "feedback[0]"),
        ({"request_id": "a"}, "feedback[0]"), ({"request_id": "a", "truth": None}, "feedback[0].truth"),
        ({"request_id": "a", "truth": [1]}, "feedback[0].truth"),
        ({"request_id": "a", "truth": 1, "row": -1}, "feedback[0].row"),
        ({"request_id": "a", "truth": 1, "row": 0.5}, "feedback[0].row"),
        ({"request_id": "a", "truth": 1, "more": 0}, "feedback[0]"),
    ],
)  # fmt: skip
def test_invalid_truth_is_refused_with_its_field(told: Told, truth: dict[str, Any], field: str) -> None:
    answer = told.tell(truth)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_bodies_are_limited_and_callers_need_a_key(told: Told) -> None:
    truth = {"request_id": "a", "truth": 1}
    assert told.tell().status_code == 422
    assert told.tell(*[truth] * ROWS_AT_ONCE).status_code == 200
    assert told.tell(*[truth] * (ROWS_AT_ONCE + 1)).status_code == 413
    assert told.tell({"request_id": "a", "truth": "x" * BODY_BYTES}).status_code == 413
    assert told.api.post("/feedback", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert told.api.post("/feedback", content=b"", headers={"content-type": "text/csv"}).status_code == 415
    assert told.api.get("/feedback").status_code == 405
    assert httpx.post(f"{told.api.base_url}/feedback", json={"feedback": [truth]}).status_code == 401
    described = told.api.get("/openapi.json").json()["paths"]["/feedback"]["post"]
    [example] = described["requestBody"]["content"]["application/json"]["example"]["feedback"]
    assert told.tell(example).status_code == 200


def test_the_route_does_not_exist_if_feedback_is_off(s3: S3Store, bundle: Bundle, tmp_path: Path) -> None:
    settings = {**pinned(bundle), **Logged.below(s3, "feedback/").settings()}
    with served(tmp_path, settings) as (_, client):
        assert client.post("/feedback", json={"feedback": [{"request_id": "a", "truth": 1}]}).status_code == 404
        assert "/feedback" not in client.get("/openapi.json").json()["paths"]
