"""Asks a serving API for one prediction and for what it serves.

Question: `url` (of the service), `features`, and in `further` the names of more models. The answer: `prediction` (what
`/predict` says), `info` (what `/model/info` says), and by the names of further models what each gives for zeros.
"""

import json
import sys
import urllib.request
from typing import Any


def ask(url: str, body: object = None) -> Any:
    """Ask an address: with a body by POST, without one by GET."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def zeros(url: str) -> Any:
    """Ask a model of the Open Inference Protocol for what it gives for a row of zeros."""
    inputs = [
        {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [0] * shape[-1]}
        for tensor in ask(url)["inputs"]
        for shape in [[1, *tensor["shape"][1:]]]
    ]
    return ask(f"{url}/infer", {"inputs": inputs})


def main() -> None:
    """Ask and print."""
    question = json.loads(sys.argv[1])
    url = question["url"]
    answer = {
        "prediction": ask(f"{url}/predict", {"features": question["features"]}),
        "info": ask(f"{url}/model/info"),
        "further": {name: zeros(f"{url}/v2/models/{name}") for name in question.get("further", [])},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
