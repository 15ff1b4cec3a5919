"""The OpenAPI document says what the API does: schemathesis' checks, all of them, hold for every operation."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.serving.tests.bundles import COLUMNS
from services.serving.tests.conftest import Bundle, Serve, until_ready


def document(api: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/docs/openapi.json").json()
    return found


def schemathesis(api: httpx.Client, folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "run", f"{api.base_url}/docs/openapi.json", "--checks", "all", "--max-examples", "20"]
    return subprocess.run(
        [*command, "--no-color", "--seed", "1", "--generation-database", "none"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


@pytest.mark.parametrize("model", ["iris", "diabetes"])
def test_every_check_of_schemathesis_holds(
    model: str, request: pytest.FixtureRequest, serve: Serve, tmp_path: Path
) -> None:
    api = serve(request.getfixturevalue(model).pin())
    until_ready(api)
    done = schemathesis(api, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 6" in done.stdout


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
    assert sorted(paths) == ["/health", "/health/live", "/health/ready", "/metrics", "/model/info", "/predict"]
    assert "example" not in paths["/predict"]["post"]["requestBody"]["content"]["application/json"]
