"""Asks a serving API for one prediction and for what it serves.

Question: `url` (of the service) and `features`. The answer: `prediction` (what `/predict` says) and `info` (what
`/model/info` says).
"""

import json
import sys
import urllib.request


def main() -> None:
    """Ask and print."""
    question = json.loads(sys.argv[1])
    body = json.dumps({"features": question["features"]}).encode()
    predict = urllib.request.Request(question["url"] + "/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(predict, timeout=10) as response:
        prediction = json.load(response)
    with urllib.request.urlopen(question["url"] + "/model/info", timeout=10) as response:
        info = json.load(response)
    print(json.dumps({"prediction": prediction, "info": info}))


if __name__ == "__main__":
    main()
