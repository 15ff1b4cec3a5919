"""Request one prediction and the served version from a serving API.

Question: `url` (of the service), `features`, and the names of more models in `further`. Answer: `prediction` (of
`/predict`), `info` (of `/model/info`), and `further`: by name of a further model, its answer for a row of zeros.
"""

import json
import sys
import urllib.request
from typing import Any


def ask(url: str, body: object = None) -> Any:
    """Send a request: POST with a body, GET without."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def zeros(url: str) -> Any:
    """Request the answer for a row of zeros from a model of the Open Inference Protocol."""
    inputs = [
        {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [0] * shape[-1]}
        for tensor in ask(url)["inputs"]
        for shape in [[1, *tensor["shape"][1:]]]
    ]
    return ask(f"{url}/infer", {"inputs": inputs})


def main() -> None:
    """Send the requests, and print the answers."""
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
