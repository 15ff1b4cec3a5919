"""`make demo` as a person sees it: its output, the servers that it keeps running, and their removal by Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedded.processes import program

_LIMIT_SECONDS = 240


@pytest.fixture
def kept_demo(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path, Path]]:
    """A demo that keeps its servers running, its output, and the folder for its temporary files."""
    output, temporary = tmp_path / "output", tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "COLUMNS": "120"}
    with output.open("wb") as file:
        demo = subprocess.Popen(
            [program("embedded"), "demo", "--keep"], stdout=file, stderr=subprocess.STDOUT, env=environment
        )
    try:
        yield demo, output, temporary
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)


def wait_for(output: Path, text: str, demo: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + _LIMIT_SECONDS
    while text not in (said := output.read_text()):
        assert demo.poll() is None, f"the demo ended with status {demo.returncode}:\n{said}"
        assert time.monotonic() < deadline, f"the demo did not print {text!r}:\n{said}"
        time.sleep(0.1)
    return said


@pytest.mark.timeout(360)
def test_a_kept_demo_predicts_with_both_versions_and_leaves_nothing_behind(
    kept_demo: tuple["subprocess.Popen[bytes]", Path, Path],
) -> None:
    demo, output, temporary = kept_demo
    said = wait_for(output, "Ctrl-C stops everything", demo)

    rows = re.findall(r"│\s*(\d+) │ (\w+)\s*│ (\w+)\s*│\s*([01]\.\d{3}) │ (\d) \((v[\d.]+)\)\s*│\s*([\d.]+) ms │", said)
    assert {(version, release) for *_, version, release, _ in rows} == {("1", "v1.0.0"), ("2", "v1.1.0")}
    assert len(rows) == 12
    right = sum(truth == prediction for _, truth, prediction, *_ in rows)
    assert right >= 10, said

    assert "By position or by name, with null for what is missing" in said
    assert "null" in said
    mlflow, api = (re.search(rf"{name} +(http://127\.0\.0\.1:\d+)", said) for name in ("MLflow", "Predictions"))
    assert mlflow is not None
    assert api is not None
    assert httpx.get(f"{mlflow[1]}/health", trust_env=False).text == "OK"
    answer = httpx.post(f"{api[1]}/predict", json={"features": [5.1, 3.5, 1.4, 0.2]}, trust_env=False).json()
    assert (answer["prediction"], answer["model_version"]) == ("setosa", "v1.1.0")
    request, table_api = re.findall(r"curl -d '(.+)' (http://127\.0\.0\.1:\d+)/predict", said)[1]
    answer = httpx.post(f"{table_api}/predict", content=request, trust_env=False).json()
    assert None in json.loads(request)["features"].values()
    assert (answer["prediction"], answer["model_version"]) == ("Adelie", "v1.0.0")

    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 0
    assert list(temporary.iterdir()) == []
    for address in (mlflow[1], api[1], table_api):
        with pytest.raises(httpx.ConnectError):
            httpx.get(address, trust_env=False)


def test_a_demo_whose_step_fails_names_it_and_cleans_up(tmp_path: Path) -> None:
    # A bound of the gate that no model can reach, set by the environment, as any setting can be.
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TRAINING_LATENCY_MS": "0.000001"}
    done = subprocess.run(
        [program("embedded"), "demo"], env=environment, capture_output=True, check=False, text=True, timeout=240
    )
    assert done.returncode == 1
    assert "training run" in done.stderr
    assert "latency" in done.stderr
    assert list(tmp_path.iterdir()) == []
