"""A real serving process that logs to a real S3 store: every chosen row is there once, with its answer."""

import json
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from services.serving.tests.bundles import CLASSES, SETOSA, write_bundle
from services.serving.tests.conftest import Bundle
from tests.integration.logged import LOG_BUCKET, Logged, counts, pinned
from tests.integration.serving_fixtures import served, wait_for
from tests.integration.stores import S3Store

IRIS = load_iris()
ROWS = IRIS.data.tolist()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("iris")
    return Bundle(folder, write_bundle(folder))


@pytest.fixture
def logged(s3: S3Store) -> Logged:
    return Logged.below(s3, "test/")


def test_every_protocol_is_logged_with_caller_and_answer(logged: Logged, bundle: Bundle, tmp_path: Path) -> None:
    key = "k" * 20
    settings = {**pinned(bundle), **logged.settings(API_KEYS=f"team-a:{key}", MODEL_RELEASE="v1.2.0")}
    tensor = {"name": "features", "shape": [3, 4], "datatype": "FP64", "data": ROWS[:3]}
    with served(tmp_path, settings) as (_, client):
        client.headers["x-api-key"] = key
        before = time.time()
        answers = client.post("/predict", json={"instances": ROWS}, headers={"x-request-id": "many"}).json()
        one = client.post("/predict", json={"features": SETOSA})
        client.post("/v2/models/iris-classifier/infer", json={"inputs": [tensor]}, headers={"x-request-id": "tensors"})
        client.post("/invocations", json={"inputs": ROWS[:2]}, headers={"x-request-id": "mlflow"})
        assert client.post("/predict", json={"features": SETOSA[:2]}).status_code == 422
        assert httpx.post(f"{client.base_url}/predict", json={"features": SETOSA}).status_code == 401
        wait_for(lambda: counts(client)["rows_written"] == 156)
        told = counts(client)
        assert {name: told[name] for name in ("queue", "store", "stopped", "failed", "pending_bytes")} == dict.fromkeys(
            ("queue", "store", "stopped", "failed", "pending_bytes"), 0
        )
        assert before <= told["last_write_timestamp_seconds"] + 1
    lines = logged.lines()
    ids = Counter(line["request_id"] for line in lines)
    assert ids == {"many": 150, one.headers["x-request-id"]: 1, "tensors": 3, "mlflow": 2}
    of_many = sorted((line for line in lines if line["request_id"] == "many"), key=lambda line: line["row"])
    assert [list(line["features"].values()) for line in of_many] == ROWS
    assert [{name: line[name] for name in ("prediction", "probability")} for line in of_many] == answers["predictions"]
    same = {(line["model"], line["version"], line["release"], line["digest"], line["caller"]) for line in lines}
    assert same == {("iris-classifier", "7", "v1.2.0", bundle.digest, "team-a")}
    names = logged.names()
    hours = {f"{logged.prefix}/date={line['time'][:10]}/hour={line['time'][11:13]}" for line in lines}
    assert {name.rpartition("/")[0] for name in names} == hours
    size = sum(entry["Size"] for entry in _entries(logged))
    assert size == told["bytes"]


def _entries(logged: Logged) -> list[dict[str, int]]:
    listed = logged.s3.client(logged.s3.writer).list_objects_v2(Bucket=LOG_BUCKET, Prefix=logged.prefix)
    found: list[dict[str, int]] = listed["Contents"]
    return found


def test_waiting_rows_are_written_when_the_process_stops(logged: Logged, bundle: Bundle, tmp_path: Path) -> None:
    settings = {**pinned(bundle), **logged.settings(PREDICTION_LOG_SECONDS="3600")}
    with served(tmp_path, settings) as (_, client):
        for _ in range(20):
            assert client.post("/predict", json={"instances": ROWS}).status_code == 200
        assert counts(client)["rows_written"] == 0
    assert len(logged.lines()) == 20 * 150


def test_a_share_of_the_requests_is_logged_with_all_rows(logged: Logged, bundle: Bundle, tmp_path: Path) -> None:
    settings = {**pinned(bundle), **logged.settings(PREDICTION_LOG_SAMPLE="0.3", PREDICTION_LOG_BELOW="0")}
    with served(tmp_path, settings) as (_, client):
        for _ in range(100):
            client.post("/predict", json={"instances": ROWS[:2]})
    found = Counter(line["request_id"] for line in logged.lines())
    # Chance exceeds these bounds once in a hundred million runs.
    assert 5 < len(found) < 60
    assert set(found.values()) == {2}


@pytest.mark.parametrize(("sample", "reason"), [("0", "shadow"), ("1", "sample")])
def test_rows_on_which_the_shadow_disagrees_are_logged_once(
    logged: Logged, bundle: Bundle, tmp_path: Path, sample: str, reason: str
) -> None:
    tree = DecisionTreeClassifier(max_depth=1, random_state=1).fit(IRIS.data, [CLASSES[at] for at in IRIS.target])
    other = tmp_path / "other"
    digest = write_bundle(other, estimator=tree, saved_as="")
    shadow = {"SHADOW_VERSION": "8", "SHADOW_URI": other.as_uri(), "SHADOW_DIGEST": digest, "SHADOW_SAMPLE": "1"}
    more = logged.settings(PREDICTION_LOG_SAMPLE=sample, PREDICTION_LOG_BELOW="0")
    with served(tmp_path, {**pinned(bundle), **shadow, **more}) as (_, client):
        wait_for(lambda: client.get("/health").json()["shadow"]["status"] == "ready")
        answers = client.post("/predict", json={"instances": ROWS}).json()["predictions"]
        client.post("/predict", json={"features": SETOSA})
        wait_for(lambda: _compared(client) == 151)
    answered = [answer["prediction"] for answer in answers]
    said = tree.predict(IRIS.data.astype("float32")).tolist()
    differing = [at for at, pair in enumerate(zip(answered, said, strict=True)) if len(set(pair)) > 1]
    assert len(differing) > 10
    lines = logged.lines()
    assert {line["reason"] for line in lines} == {reason}
    expected = differing if sample == "0" else [*range(150), 0]
    assert sorted(line["row"] for line in lines) == sorted(expected)
    assert all(list(line["features"].values()) == ROWS[line["row"]] for line in lines if line["row"])


def _compared(client: httpx.Client) -> float:
    rows = [line for line in client.get("/metrics").text.splitlines() if line.startswith("serving_shadow_rows_total")]
    return sum(float(line.rpartition(" ")[2]) for line in rows)


def test_a_process_without_a_log_has_no_metrics_of_one(bundle: Bundle, tmp_path: Path) -> None:
    with served(tmp_path, pinned(bundle)) as (_, client):
        client.post("/predict", json={"features": SETOSA})
        assert "prediction_log" not in client.get("/metrics").text


def test_columns_are_named_as_json(logged: Logged, bundle: Bundle, tmp_path: Path) -> None:
    names = ["petal width (cm)", "sepal length (cm)"]
    settings = {**pinned(bundle), **logged.settings(PREDICTION_LOG_COLUMNS=json.dumps(names))}
    with served(tmp_path, settings) as (_, client):
        client.post("/predict", json={"features": SETOSA})
    [line] = logged.lines()
    assert line["features"] == {"sepal length (cm)": 5.1, "petal width (cm)": 0.2}


def test_without_sampling_only_rows_with_low_confidence_are_logged(
    logged: Logged, bundle: Bundle, tmp_path: Path
) -> None:
    settings = {**pinned(bundle), **logged.settings(PREDICTION_LOG_SAMPLE="0", PREDICTION_LOG_BELOW="0.8")}
    with served(tmp_path, settings) as (_, client):
        answers = client.post("/predict", json={"instances": ROWS}, headers={"x-request-id": "all"}).json()
        for row in ROWS[:5]:
            client.post("/predict", json={"features": row}, headers={"x-request-id": "sure"})
    unsure = [at for at, answer in enumerate(answers["predictions"]) if answer["probability"] < 0.8]
    assert 0 < len(unsure) < 75
    lines = logged.lines()
    assert sorted(line["row"] for line in lines) == unsure
    assert {(line["request_id"], line["reason"]) for line in lines} == {("all", "confidence")}
