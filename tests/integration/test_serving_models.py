"""Several registered models in one serving process, with a real MLflow: they are never confused, whatever changes.

One is a classifier, one a regression. Both count their versions from 1, so a number alone does not identify a version.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from embedded.processes import Server
from services.serving.tests.bundles import CLASSES, SETOSA, fitted
from tests.integration.serving_fixtures import Model, Version, predict, served, version_served, wait_for

# Each version of the classifier has another regularisation, and so other probabilities.
STRENGTHS = (1.0, 0.1, 0.01)
NUMBERS = [0.01] * 10
CALLERS = 6


@pytest.fixture
def iris(mlflow_proxied: Server, tmp_path: Path) -> Model:
    return Model(mlflow_proxied.url, tmp_path)


@pytest.fixture
def diabetes(mlflow_proxied: Server, tmp_path: Path) -> Model:
    return Model(mlflow_proxied.url, tmp_path)


class Probabilities(msgspec.Struct, frozen=True):
    """The probabilities of each version of the classifier for one row, computed by scikit-learn."""

    model: str
    by_version: dict[str, list[float]]

    def check(self, name: str, version: str, outputs: list[dict[str, Any]]) -> None:
        assert name == self.model
        found = {output["name"]: output for output in outputs}
        assert found["prediction"]["data"] == ["setosa"]
        assert found["probabilities"]["shape"] == [1, len(CLASSES)]
        assert found["probabilities"]["data"] == pytest.approx(self.by_version[version], abs=1e-4)


class Number(msgspec.Struct, frozen=True):
    """The number that the pinned version of the regression predicts."""

    model: str
    version: str
    value: float

    def check(self, name: str, version: str, outputs: list[dict[str, Any]]) -> None:
        assert (name, version) == (self.model, self.version)
        [output] = outputs
        assert (output["name"], output["shape"]) == ("prediction", [1])
        assert output["data"] == pytest.approx([self.value], rel=1e-4)


class Load:
    """Callers that send all kinds of requests in turn without a pause, and check each answer."""

    def __init__(self, url: str) -> None:
        self.answered: Counter[str] = Counter()
        self._latest = ""
        self._changed = asyncio.Condition()
        self._client = httpx.AsyncClient(base_url=url, timeout=10.0, trust_env=False)

    @asynccontextmanager
    async def running(self, *questions: Callable[["Load"], Awaitable[None]]) -> AsyncIterator[None]:
        """Run the callers inside the block. A wrong answer ends the block."""
        stop = asyncio.Event()

        async def call() -> None:
            for question in itertools.cycle(questions):
                if stop.is_set():
                    return
                await question(self)

        async with self._client, asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(call())
            try:
                yield
            finally:
                stop.set()

    async def infer(self, path: str, row: list[float], expected: Probabilities | Number) -> str:
        tensor = {"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": row}
        response = await self._client.post(f"/v2/models/{path}/infer", json={"inputs": [tensor]})
        assert response.status_code == 200, response.text
        answer = response.json()
        expected.check(answer["model_name"], answer["model_version"], answer["outputs"])
        self.answered[answer["model_name"]] += 1
        version: str = answer["model_version"]
        return version

    async def predict(self, expected: Probabilities) -> None:
        response = await self._client.post("/predict", json={"features": SETOSA})
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["prediction"] == "setosa"
        assert answer["probability"] == pytest.approx(max(expected.by_version[answer["model_version"]]), abs=1e-4)
        async with self._changed:
            self._latest = answer["model_version"]
            self._changed.notify_all()

    async def until(self, version: str) -> None:
        """Wait until `latest` means this version."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self._latest == version)


def total(client: httpx.Client, name: str) -> float:
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in client.get("/metrics").text.splitlines() if line.startswith(name)
    )


def probabilities(model: Model, versions: list[Version]) -> Probabilities:
    given = (fitted("iris", strength).predict_proba([SETOSA])[0].tolist() for strength in STRENGTHS)
    return Probabilities(model.name, dict(zip((version.number for version in versions), given, strict=True)))


def test_under_load_nothing_fails_or_is_mixed_up_while_versions_come_and_go(
    iris: Model, diabetes: Model, tmp_path: Path
) -> None:
    versions = [iris.register(strength=strength) for strength in STRENGTHS]
    first, second, named = versions
    iris.move("production", first.number)
    pinned = diabetes.register(kind="diabetes")
    assert pinned.number == first.number == "1"
    chances = probabilities(iris, versions)
    number = Number(diabetes.name, "1", float(fitted("diabetes").predict([NUMBERS])[0]))

    async def named_version(load: Load) -> None:
        assert await load.infer(f"{iris.name}/versions/{named.number}", SETOSA, chances) == named.number

    async def latest_version(load: Load) -> None:
        assert await load.infer(iris.name, SETOSA, chances) in {first.number, second.number}

    async def other_model(load: Load) -> None:
        await load.infer(diabetes.name, NUMBERS, number)
        await load.infer(f"{diabetes.name}/versions/1", NUMBERS, number)

    async def scenario(url: str) -> Counter[str]:
        load = Load(url)
        async with load.running(named_version, latest_version, other_model, lambda load: load.predict(chances)):
            for wanted in (first, second, first, second, first):
                await asyncio.to_thread(iris.move, "production", wanted.number)
                await load.until(wanted.number)
        return load.answered

    # The cache holds one version at most: each one loaded evicts all others except the latest.
    settings = iris.settings(MODEL_CACHE_BYTES="1", EXTRA_MODELS=json.dumps([diabetes.pin(pinned)]))
    with served(tmp_path, settings) as (server, client):
        answered = asyncio.run(scenario(server.url))
        assert min(answered[iris.name], answered[diabetes.name]) > CALLERS
        # The series of evicted versions are removed, but not those of the other model's version of the same number.
        series = f'serving_predictions_total{{class="",model_name="{diabetes.name}",model_version="1"}}'
        assert total(client, series) == answered[diabetes.name]
        assert total(client, "serving_models_loaded") <= 3
        assert total(client, "serving_model_loads_total") >= 2 + 4 + 2  # both, each move, and the named one again
        assert total(client, "serving_model_load_failures_total") == 0
        assert total(client, "serving_model_info{") == 2
        assert total(client, f'serving_model_info{{digest="{pinned.digest}"') == 1
        assert total(client, f'serving_model_info{{digest="{first.digest}"') == 1
        assert client.get(f"/v2/models/{diabetes.name}").json()["versions"] == ["1"]


def test_it_is_ready_once_every_model_is_and_models_do_not_affect_each_other(
    iris: Model, diabetes: Model, tmp_path: Path
) -> None:
    first = iris.register(alias="production")
    follow = [{"name": diabetes.name, "stage": "Live"}]
    with served(tmp_path, iris.settings(EXTRA_MODELS=json.dumps(follow)), ready=False) as (_, client):
        wait_for(lambda: f"{diabetes.name}: model" in client.get("/health").json()["problem"])
        assert client.get("/health/ready").status_code == client.get("/v2/health/ready").status_code == 503
        assert version_served(client) == first.number
        diabetes.register(kind="diabetes", alias="live")
        wait_for(lambda: client.get("/health/ready").status_code == 200)
        diabetes.move("live", diabetes.register(kind="diabetes", tags={"digest": "sha256:" + "0" * 64}).number)
        wait_for(lambda: "is expected" in client.get("/health").json()["models"][1]["problem"])
        second = iris.register(alias="production", strength=0.1)
        wait_for(lambda: version_served(client) == second.number)
        health = client.get("/health").json()
        assert health["ready"]
        assert [model["version"] for model in health["models"]] == [second.number, "1"]
        assert predict(client, model_version=first.number).json()["model_version"] == first.number


def test_an_extra_pin_that_contradicts_the_registry_is_reported_with_its_setting(
    iris: Model, diabetes: Model, tmp_path: Path
) -> None:
    iris.register(alias="production")
    wrong = {
        "name": diabetes.name,
        "version": diabetes.register(kind="diabetes").number,
        "digest": f"sha256:{'0' * 64}",
    }
    with served(tmp_path, iris.settings(EXTRA_MODELS=json.dumps([wrong])), ready=False) as (_, client):
        wait_for(lambda: f"EXTRA_MODELS[0].digest is {wrong['digest']}" in client.get("/health").json()["problem"])
        assert client.get("/health/ready").status_code == 503
