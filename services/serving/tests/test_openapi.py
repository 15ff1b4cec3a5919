"""The OpenAPI document says what the API does: schemathesis' checks, all of them, hold for every operation.

But for one: JSON Schema cannot tell a tensor's number of values from its shape, so bodies of `infer` that fit the
schema may still be refused.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from services.serving.tests.bundles import COLUMNS
from services.serving.tests.conftest import Bundle, Serve, until_ready

CHECKS = """
[checks]
enabled = true

[[operations]]
include-path-regex = "/infer$"
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
        timeout=150,
    )


def test_every_check_of_schemathesis_holds(iris_api: httpx.Client, tmp_path: Path) -> None:
    done = schemathesis(iris_api, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 15" in done.stdout


def test_they_hold_for_predictions_of_numbers_too(serve: Serve, diabetes: Bundle, tmp_path: Path) -> None:
    api = serve(diabetes.pin())
    until_ready(api)
    done = schemathesis(api, tmp_path, "--include-path", "/predict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 1" in done.stdout


def test_the_document_follows_the_model(iris_api: httpx.Client, serve: Serve, diabetes: Bundle) -> None:
    row = document(iris_api)["components"]["schemas"]["PredictRequest"]["properties"]["features"]
    assert [column["title"] for column in row["prefixItems"]] == COLUMNS
    api = serve(diabetes.pin())
    until_ready(api)
    row = document(api)["components"]["schemas"]["PredictRequest"]["properties"]["features"]
    assert (row["minItems"], row["maxItems"]) == (10, 10)


def test_there_is_a_document_before_there_is_a_model(serve: Serve, iris: Bundle) -> None:
    api = serve(iris.pin(MODEL_DIGEST="sha256:" + "0" * 64))
    paths = document(api)["paths"]
    plain = [path for path in paths if not path.startswith("/v2")]
    assert sorted(plain) == ["/health", "/health/live", "/health/ready", "/metrics", "/model/info", "/predict"]
    assert len(paths) == len(plain) + 9
    assert "example" not in paths["/predict"]["post"]["requestBody"]["content"]["application/json"]
