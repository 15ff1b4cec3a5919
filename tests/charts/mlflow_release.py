"""Run the mlflow chart as processes on this machine: its rendered commands and variables, on a real Postgres and S3."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from embedded.processes import LOOPBACK, Server, free_port, program
from tests.integration.stores import S3Store
from tests.support import helm
from tests.support.manifests import Manifest, name_of, parse

USER, PASSWORD = "admin", "correct-horse-battery"
MACHINES = ("training", "gitops", "serving", "smoke")
POD_IP = "10.42.0.17"
VALUES = {
    "gc": {"olderThan": "1s"},
    "ingress": {"enabled": True, "hosts": ["mlflow.example.com"], "tlsSecret": "mlflow-tls"},
}


class Release:
    """The rendered chart and what a kubelet would know: Secrets, the pod's address, and the places of volumes."""

    def __init__(self, folder: Path, database: str, store: S3Store, **more: object) -> None:
        values = folder / "values.yaml"
        settings = {**VALUES, "artifacts": {"endpointUrl": store.url}, **more}
        values.write_text(yaml.safe_dump(settings), encoding="utf-8")
        outcome = helm.template("mlflow", values)
        assert outcome.code == 0, outcome.errors
        self.manifests = {name_of(manifest): manifest for manifest in parse(outcome.output)}
        self.folder = folder
        self.port = free_port()
        self.secrets = {
            ("mlflow-database", "uri"): database,
            ("mlflow-auth", "username"): USER,
            ("mlflow-auth", "password"): PASSWORD,
            ("mlflow-auth", "flask-secret-key"): "0123456789abcdef",
        }
        for name, user in (("s3-mlflow", store.writer), ("s3-serving", store.reader)):
            self.secrets[name, "AWS_ACCESS_KEY_ID"] = user.access_key
            self.secrets[name, "AWS_SECRET_ACCESS_KEY"] = user.secret_key
        for name in MACHINES:
            self.secrets[f"mlflow-{name}", "username"] = name
            self.secrets[f"mlflow-{name}", "password"] = f"{name}-{PASSWORD}"

    def container(self, name: str, key: str = "containers", container: str = "") -> dict[str, Any]:
        """Return the container of a manifest, by its name if there are several."""
        manifest: Manifest = self.manifests[name]
        spec = manifest["spec"]
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        found = (spec if manifest["kind"] == "Pod" else spec["template"]["spec"])[key]
        (only,) = (entry for entry in found if container in ("", entry["name"]))
        return dict(only)

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """Return the container's variables as the kubelet would set them, with volumes in this release's folder."""
        found: dict[str, str] = {}
        for variable in container["env"]:
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                found[variable["name"]] = self.secrets[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
            elif "fieldRef" in source:
                found[variable["name"]] = POD_IP
            else:
                found[variable["name"]] = variable["value"].replace("$(POD_IP)", found.get("POD_IP", ""))
        return {name: self.local(value) for name, value in found.items()} | {"HOME": str(self.folder)}

    def local(self, value: str) -> str:
        for mount in ("/run/mlflow", "/tmp/metrics"):  # noqa: S108  the path in the container, not on this machine
            value = value.replace(mount, str(self.folder) + mount)
        for address in ("http://mlflow.ml-pipeline:5000", "http://localhost:5000"):
            value = value.replace(address, f"http://{LOOPBACK}:{self.port}")
        return value

    def command(self, container: dict[str, Any]) -> list[str]:
        first, *rest = container.get("command") or ["mlflow"]
        return [program(first), *rest, *container["args"]]

    def run(
        self, name: str, key: str = "containers", container_name: str = "", *, code: int = 0, **changed: str
    ) -> str:
        """Run a container until it ends, with the variables `changed`, and return its output."""
        container = self.container(name, key, container_name)
        environment = {**os.environ, **self.environment(container), **changed}
        done = subprocess.run(
            self.command(container),
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def server(self) -> Server:
        """Describe the server's container. The migration has run, and the file with the users' database exists."""
        self.run("Job/mlflow-migration")
        self.run("Deployment/mlflow", "initContainers", "auth-config")
        container = self.container("Deployment/mlflow")
        environment = self.environment(container)
        environment |= {"MLFLOW_HOST": LOOPBACK, "MLFLOW_PORT": str(self.port)}
        return Server(
            "MLflow",
            self.command(container),
            url=f"http://{LOOPBACK}:{self.port}",
            ready_path=container["readinessProbe"]["httpGet"]["path"],
            log=self.folder / "mlflow.log",
            environment=environment,
        )

    def metrics(self, *, ready: int = 200, **changed: str) -> Server:
        """Describe the metrics sidecar, with the variables `changed`. It is ready when it answers with `ready`."""
        container = self.container("Deployment/mlflow", "initContainers", "metrics")
        port = free_port()
        return Server(
            "metrics",
            self.command(container),
            url=f"http://{LOOPBACK}:{port}",
            ready_path="/metrics",
            ready_statuses=frozenset({ready}),
            log=self.folder / "metrics.log",
            environment={**self.environment(container), "METRICS_PORT": str(port), **changed},
        )
