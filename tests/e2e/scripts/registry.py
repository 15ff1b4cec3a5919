"""Count the content of an MLflow server and list its model versions, through its REST API.

Question: `url`. The user comes from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. Answer: `experiments`,
`runs`, `metrics` (all counts), `aliases` (`model@alias` to version), and `versions`, each with `name`, `version`,
`tags` and the `uri` of its files.
"""

import base64
import json
import os
import sys
import urllib.parse
import urllib.request
from typing import Any


def call(url: str, path: str, *, query: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> Any:
    """Call one endpoint, and return its answer."""
    address = f"{url}/api/2.0/mlflow/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    data = None if body is None else json.dumps(body).encode()
    login = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ['MLFLOW_TRACKING_PASSWORD']}"
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
    }
    request = urllib.request.Request(address, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def version(url: str, item: dict[str, Any]) -> dict[str, Any]:
    """Describe one registered version."""
    key = {"name": item["name"], "version": item["version"]}
    uri = call(url, "model-versions/get-download-uri", query=key)["artifact_uri"]
    return {**key, "tags": {tag["key"]: tag["value"] for tag in item.get("tags", [])}, "uri": uri}


def main() -> None:
    """Print the summary."""
    url = json.loads(sys.argv[1])["url"]
    experiments = call(url, "experiments/search", body={"max_results": 1000, "view_type": "ALL"})["experiments"]
    ids = [experiment["experiment_id"] for experiment in experiments]
    runs = call(url, "runs/search", body={"experiment_ids": ids, "max_results": 1000}).get("runs", [])
    models = call(url, "registered-models/search").get("registered_models", [])
    versions = call(url, "model-versions/search").get("model_versions", [])
    aliases = {f"{model['name']}@{a['alias']}": a["version"] for model in models for a in model.get("aliases", [])}
    summary = {
        "experiments": len(experiments),
        "runs": len(runs),
        "metrics": sum(len(run["data"].get("metrics", [])) for run in runs),
        "aliases": aliases,
        "versions": sorted((version(url, item) for item in versions), key=lambda v: (v["name"], int(v["version"]))),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
