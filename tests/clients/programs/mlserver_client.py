"""MLServer's own client: requests built with its types and codecs, and its command `mlserver infer`.

Its arguments are the address and the model. It prints a line for each case: name, status, and whether the class is in
the answer. It runs in MLServer's environment.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


def main() -> None:
    """Send requests in both ways."""
    url, model = sys.argv[1:]
    rows = NumpyCodec.encode_input("features", np.array([[5.1, 3.5, 1.4, 0.2]]))
    request = InferenceRequest(inputs=[rows])
    body = request.model_dump_json().encode()
    asked = urllib.request.Request(f"{url}/v2/models/{model}/infer", body, {"content-type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
        outputs = InferenceResponse.model_validate_json(answer.read()).outputs
        found = next(output for output in outputs if output.name == "prediction")
        print("V2 with nulls", answer.status, str(StringCodec.decode_output(found) == ["setosa"]).lower(), sep="\t")
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder) / "in", Path(folder) / "out"
        # One line for each request.
        given.write_text(f"{request.model_dump_json()}\n" * 3)
        host = url.removeprefix("http://")
        words = [
            "infer",
            "--url",
            host,
            "--model-name",
            model,
            "--input-data-path",
            given,
            "--output-data-path",
            written,
        ]
        command = [str(Path(sys.executable).with_name("mlserver")), *map(str, words)]
        subprocess.run(command, check=True, timeout=120, stdout=sys.stderr)
        answers = [json.loads(line) for line in written.read_text().splitlines()]
        right = [answer["outputs"][0]["data"] == ["setosa"] for answer in answers]
        print("V2", 200, str(len(right) == 3 and all(right)).lower(), sep="\t")


if __name__ == "__main__":
    main()
