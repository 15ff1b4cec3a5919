"""The OpenAPI document describes what the API does: all checks of schemathesis pass for every operation.

There is one exception: JSON Schema cannot express that a tensor's number of values follows from its shape, nor that the
lists of a table's columns have the same length. So bodies of `infer` and `/invocations` that fit the schema may still
be refused.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.serving.tests import mixed
from services.serving.tests.bundles import COLUMNS
from services.serving.tests.conftest import Bundle, Serve, until_ready
from services.serving.tests.mixed import write_mixed

CHECKS = """
[checks]
enabled = true

[[operations]]
include-path-regex = "/(infer|invocations)$"
checks.positive_data_acceptance.enabled = false
"""


def document(api: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/docs/openapi.json").json()
    return found


def schemathesis(api: httpx.Client, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("schemathesis")
    config = folder / "schemathesis.toml"
    config.write_text(CHECKS)
    address = f"{api.base_url}/docs/openapi.json"
    command = [str(program), "--config-file", str(config), "run", address, "--max-examples", "20", *options]
    return subprocess.run(
        [*command, "--no-color", "--seed", "1", "--generation-database", "none"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=350,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_check_of_schemathesis_passes(iris_api: httpx.Client, tmp_path: Path) -> None:
    done = schemathesis(iris_api, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 18" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_they_pass_for_predictions_of_numbers_too(serve: Serve, diabetes: Bundle, tmp_path: Path) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    done = schemathesis(api, tmp_path, "--include-path", "/predict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 1" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_columns_of_all_kinds_are_described_and_checked_too(serve: Serve, tmp_path: Path) -> None:
    strict = [{**mixed.COLUMNS[0], "unknown": "refuse"}, *mixed.COLUMNS[1:]]
    (tmp_path / "model").mkdir()
    api = serve(Bundle(tmp_path / "model", write_mixed(tmp_path / "model", columns=strict)).pin())
    until_ready(api)
    found = api.get("/openapi.json").json()
    assert found == document(api)
    _, row = found["components"]["schemas"]["PredictRequest"]["properties"]["features"]["anyOf"]
    assert row["required"] == ["island", "eggs", "seen"]
    columns = row["properties"]
    assert [column["x-kind"] for column in columns.values()] == [column["kind"] for column in mixed.COLUMNS]
    assert columns["island"]["enum"] == ["Biscoe", "Dream", "Torgersen"]
    assert (columns["sex"]["type"], columns["sex"]["examples"]) == (["string", "null"], ["female", "male"])
    for path in ("/predict", "/invocations", "/v2/models/{model_name}/infer"):
        example = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert "39.1" in str(example)
        assert api.post(path.format(model_name="iris-classifier"), json=example).status_code == 200
    done = schemathesis(api, tmp_path, "--include-path", "/predict")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_explanations_are_described_if_they_are_on_and_checked_too(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    bundle = Bundle(tmp_path / "model", write_mixed(tmp_path / "model", drift=True))
    api = serve(bundle.pin(EXPLAIN="true", EXPLAIN_ROWS="3"))
    until_ready(api)
    found = document(api)
    properties = found["components"]["schemas"]["ExplainRequest"]["properties"]
    assert properties["instances"]["maxItems"] == 3
    assert properties["labels"]["enum"] == ["all", "answered"]
    example = found["paths"]["/explain"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert api.post("/explain", json=example).status_code == 200
    done = schemathesis(api, tmp_path, "--include-path", "/explain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 1" in done.stdout


def test_the_document_follows_the_model(iris_api: httpx.Client, serve: Serve, diabetes: Bundle) -> None:
    row, by_name = document(iris_api)["components"]["schemas"]["PredictRequest"]["properties"]["features"]["anyOf"]
    assert [column["title"] for column in row["prefixItems"]] == COLUMNS
    assert (list(by_name["properties"]), by_name["required"]) == (COLUMNS, COLUMNS)
    api = serve(diabetes.pin())
    until_ready(api)
    row, _ = document(api)["components"]["schemas"]["PredictRequest"]["properties"]["features"]["anyOf"]
    assert (row["minItems"], row["maxItems"]) == (10, 10)


def test_there_is_a_document_before_there_is_a_model(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MODEL_DIGEST="sha256:" + "0" * 64))
    paths = document(api)["paths"]
    plain = [path for path in paths if not path.startswith("/v2")]
    assert sorted(plain) == [
        "/health", "/health/live", "/health/ready", "/invocations", "/metrics", "/model/info", "/ping", "/predict",
        "/version",
    ]  # fmt: skip
    assert len(paths) == len(plain) + 9
    assert "example" not in paths["/predict"]["post"]["requestBody"]["content"]["application/json"]
