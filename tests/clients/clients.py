"""The clients: where each is found on this machine, and its requests.

Each yields a line for every case: its name, the status, and whether the answer has the prediction. A client leaves out
the cases that it does not support.
"""

import fcntl
import gzip
import importlib
import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import httpx
import msgspec
import numpy as np
import pandas as pd
import requests
import tritonclient.http

from bench.peers.environments import CACHE, prepare
from services.serving.tests.bundles import COLUMNS, SETOSA

ROW = '{"features":[5.1,3.5,1.4,0.2]}'
MANY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]] * 1000})
TABLE = [dict(zip(COLUMNS, SETOSA, strict=True))]
MODEL = "iris-classifier"
BODY, HEAD, NOTHING = (200, True), (200, False), (204, False)
EXPECTED = {
    "POST": BODY,
    "kept open": BODY,
    "chunked": BODY,
    "gzip": BODY,
    "gzip answer": BODY,
    "Expect": BODY,
    "HEAD": HEAD,
    "OPTIONS": NOTHING,
    "V2": BODY,
    "V2 binary": BODY,
    "V2 gzip": BODY,
    "V2 with nulls": BODY,
    "invocations": BODY,
}
"""The expected status of each case, and whether the answer has the prediction."""

_PROGRAMS = Path(__file__).parent / "programs"
# Go compiles its standard library at the first use.
_SECONDS = 400

Outcome: TypeAlias = tuple[str, int, bool]


class Client(msgspec.Struct, frozen=True):
    """A client: its name in the table, the programs that it needs, and its requests to a server's address."""

    name: str
    needs: tuple[str, ...]
    ask: Callable[[str, Path], Iterator[Outcome]]

    @property
    def missing(self) -> list[str]:
        """The programs that it needs and this machine does not have."""
        return [program for program in self.needs if shutil.which(program) is None]


def _lines(command: list[str], folder: Path) -> Iterator[Outcome]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        name, status, found = line.split("\t")
        yield name, int(status), found == "true"


def _java(url: str, folder: Path) -> Iterator[Outcome]:
    yield from _lines(["java", str(_PROGRAMS / "Client.java"), url, ROW], folder)


def _node(url: str, folder: Path) -> Iterator[Outcome]:
    yield from _lines(["node", str(_PROGRAMS / "client.mjs"), url, ROW], folder)


def _go(url: str, folder: Path) -> Iterator[Outcome]:
    yield from _lines(["go", "run", str(_PROGRAMS / "client.go"), url, ROW], folder)


def _curl(url: str, folder: Path) -> Iterator[Outcome]:
    packed = folder / "row.gz"
    packed.write_bytes(gzip.compress(ROW.encode()))
    (folder / "many").write_text(MANY)
    predict = f"{url}/predict"
    cases: dict[str, list[str]] = {
        "POST": ["-d", ROW, predict],
        "POST offering h2c": ["--http2", "-d", ROW, predict],
        "chunked": ["-H", "transfer-encoding: chunked", "-d", ROW, predict],
        "gzip": ["-H", "content-encoding: gzip", "--data-binary", f"@{packed}", predict],
        "gzip answer": ["--compressed", "-d", f"@{folder / 'many'}", predict],
        "Expect": ["-H", "expect: 100-continue", "-d", ROW, predict],
        "HEAD": ["-I", f"{url}/health/ready"],
        "HEAD offering h2c": ["--http2", "-I", f"{url}/health/ready"],
        "OPTIONS": ["-X", "OPTIONS", predict],
    }
    for name, options in cases.items():
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--globoff", "-w", "\n%{http_code}", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
        text, _, status = done.stdout.rpartition("\n")
        yield name, int(status), "setosa" in text


def _httpx(url: str, _: Path) -> Iterator[Outcome]:
    packed, gzipped = gzip.compress(ROW.encode()), {"content-encoding": "gzip"}
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2], "parameters": None}
    # MLServer's own client writes every field of its structs, with null for those that are not set.
    nulls = {"id": None, "parameters": None, "inputs": [tensor], "outputs": None}
    with httpx.Client(base_url=url, trust_env=False, timeout=_SECONDS) as client:
        answers = {
            "POST": client.post("/predict", content=ROW),
            "kept open": client.post("/predict", content=ROW),
            "chunked": client.post("/predict", content=iter([ROW[:9].encode(), ROW[9:].encode()])),
            "gzip": client.post("/predict", content=packed, headers=gzipped),
            "gzip answer": client.post("/predict", content=MANY),
            "HEAD": client.head("/health/ready"),
            "OPTIONS": client.options("/predict"),
            "V2 with nulls": client.post(f"/v2/models/{MODEL}/infer", json=nulls),
        }
    assert answers["gzip answer"].headers.get("content-encoding") == "gzip"
    for name, answer in answers.items():
        yield name, answer.status_code, "setosa" in answer.text


def _requests(url: str, _: Path) -> Iterator[Outcome]:
    packed = gzip.compress(ROW.encode())
    with requests.Session() as session:
        session.trust_env = False
        answers = {
            "POST": session.post(f"{url}/predict", data=ROW, timeout=_SECONDS),
            "kept open": session.post(f"{url}/predict", json=json.loads(ROW), timeout=_SECONDS),
            "chunked": session.post(f"{url}/predict", data=iter([ROW.encode()]), timeout=_SECONDS),
            "gzip": session.post(f"{url}/predict", data=packed, headers={"content-encoding": "gzip"}, timeout=_SECONDS),
            "gzip answer": session.post(f"{url}/predict", data=MANY, timeout=_SECONDS),
            "invocations": session.post(f"{url}/invocations", json={"inputs": TABLE}, timeout=_SECONDS),
            "HEAD": session.head(f"{url}/health/ready", timeout=_SECONDS),
            "OPTIONS": session.options(f"{url}/predict", timeout=_SECONDS),
        }
    for name, answer in answers.items():
        yield name, answer.status_code, "setosa" in answer.text


def _triton(url: str, _: Path) -> Iterator[Outcome]:
    rows = np.array([[5.1, 3.5, 1.4, 0.2]])
    packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
    client = tritonclient.http.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    cases: tuple[tuple[str, bool, dict[str, str]], ...] = (
        ("V2", False, {}),
        ("V2 binary", True, {}),
        ("V2 gzip", True, packed),
    )
    for name, binary, options in cases:
        tensor = tritonclient.http.InferInput("features", [1, 4], "FP64")
        tensor.set_data_from_numpy(rows, binary_data=binary)
        found = client.infer(MODEL, [tensor], **options).as_numpy("prediction").tolist()
        yield name, 200, found in ([b"setosa"], ["setosa"])
    client.close()


def _mlflow(url: str, _: Path) -> Iterator[Outcome]:
    with warnings.catch_warnings():
        # MLflow warns about its own types while this module loads.
        warnings.simplefilter("ignore")
        found = importlib.import_module("mlflow.pyfunc.scoring_server.client")
    address = httpx.URL(url)
    host = f"[{address.host}]" if ":" in address.host else address.host
    client = found.ScoringServerClient(host, address.port)
    client.ping()
    assert client.get_version()
    predictions = client.invoke(pd.DataFrame(TABLE)).get_predictions()
    yield "invocations", 200, predictions[0].tolist() == ["setosa"]


def _mlserver(url: str, folder: Path) -> Iterator[Outcome]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "mlserver.lock").open("w") as lock:
        # Test processes run in parallel, and only one of them may create the environment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = prepare("mlserver").bin / "python"
    yield from _lines([str(python), str(_PROGRAMS / "mlserver_client.py"), url, MODEL], folder)


CLIENTS = (
    Client("curl", ("curl",), _curl),
    Client("Java's HttpClient", ("java",), _java),
    Client("Node's fetch and http", ("node",), _node),
    Client("Go's net/http", ("go",), _go),
    Client("Python: httpx", (), _httpx),
    Client("Python: requests", (), _requests),
    Client("tritonclient.http", (), _triton),
    Client("MLflow's ScoringServerClient", (), _mlflow),
    Client("MLServer's types, and `mlserver infer`", (), _mlserver),
)
