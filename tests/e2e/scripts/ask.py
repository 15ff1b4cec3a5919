"""Send many requests to a serving API, one after the other, and the truth of some of them.

Question: `url` (of the service), `key` (an API key), and `requests`, each with `id`, `rows`, and optionally the `truth`
of its rows to send. Answer: for each request `predictions`, `probabilities` and the `version` that answered.
"""

import json
import sys
import urllib.request
from typing import Any

_SECONDS = 20


def send(question: dict[str, Any], path: str, body: object, headers: dict[str, str]) -> Any:
    """Send JSON to the service, and return its answer."""
    sent = {"Content-Type": "application/json", "X-API-Key": question["key"], **headers}
    request = urllib.request.Request(f"{question['url']}{path}", json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=_SECONDS) as response:
        return json.load(response)


def main() -> None:
    """Send all requests and the truth, and print the answers."""
    question = json.loads(sys.argv[1])
    answers = []
    for each in question["requests"]:
        said = send(question, "/predict", {"instances": each["rows"]}, {"X-Request-ID": each["id"]})
        answers.append(
            {
                "predictions": [one["prediction"] for one in said["predictions"]],
                "probabilities": [one["probability"] for one in said["predictions"]],
                "version": said["model_version"],
            }
        )
        if each["truth"]:
            told = [{"request_id": each["id"], "row": row, "truth": true} for row, true in enumerate(each["truth"])]
            send(question, "/feedback", {"feedback": told}, {})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
