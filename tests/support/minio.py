"""A real MinIO with the buckets, policies and users of the minio chart's provisioning."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from embedded.processes import LOOPBACK, free_port
from tests.support import guard, helm, s3
from tests.support.manifests import parse

PROGRAMS = {name: shutil.which(name) for name in ("minio", "mc")}
FILES = helm.CHARTS / "minio" / "files"
SECONDS = 30
USERS = s3.USERS[1:]
NEEDED = None not in PROGRAMS.values()
"""Whether minio and mc are on PATH."""


class Store(msgspec.Struct, frozen=True):
    """A running server, and the folder with the files that the Job's pod would mount."""

    folder: Path
    url: str
    """The address for clients: HAProxy if it is installed, otherwise MinIO itself."""
    metrics_url: str = ""
    """Empty without HAProxy."""

    def write(self, user: str, values: Mapping[str, str]) -> None:
        """Replace the keys of a user's Secret by these."""
        shutil.rmtree(self.folder / "users" / user, ignore_errors=True)
        _files(self.folder / "users" / user, values)

    def provision(self, **environment: str) -> str:
        """Run the Job's script with the environment of the chart, and return its output."""
        job = next(m for m in self._rendered() if m["kind"] == "Job")
        container = job["spec"]["template"]["spec"]["containers"][0]
        of_chart = {entry["name"]: entry["value"] for entry in container["env"]}
        ours = {
            "STORE_URL": self.url,
            "USERS_DIR": str(self.folder / "users"),
            "ROOT_DIR": str(self.folder / "root"),
            "POLICIES_DIR": str(self.folder / "policies"),
            "MC_CONFIG_DIR": str(self.folder / "mc"),
            "WAIT_SECONDS": str(SECONDS),
        }
        path = {"PATH": f"{Path(str(PROGRAMS['mc'])).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", FILES / "provision.sh"],
            env=of_chart | ours | path | environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def policies(self) -> None:
        """Write the rendered policies to the folder that the Job's pod would mount."""
        maps = {m["metadata"]["name"]: m for m in self._rendered() if m["kind"] == "ConfigMap"}
        config = maps["minio-provision"]
        policies = {
            name.removeprefix("policy-"): text for name, text in config["data"].items() if name.startswith("policy-")
        }
        _files(self.folder / "policies", policies)

    def keys(self, user: str) -> dict[str, str]:
        """Return the content of a user's Secret. `root` is the server's own user."""
        folder = self.folder / "root" if user == "root" else self.folder / "users" / user
        return {path.name: path.read_text() for path in folder.iterdir()}

    def client(self, values: Mapping[str, str]) -> Any:
        """Return a boto3 client with these keys, without retries."""
        return s3.client(self.url, values)

    def target(self) -> s3.Target:
        """Return the store as tests of any S3 store use it."""
        return s3.Target("MinIO", self.url, {user: self.keys(user) for user in s3.USERS})

    def _rendered(self) -> list[dict[str, Any]]:
        outcome = helm.template("minio", helm.scenarios("minio")[0])
        assert outcome.code == 0, outcome.errors
        return parse(outcome.output)


def _files(folder: Path, contents: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in contents.items():
        (folder / name).write_text(text)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Store]:
    """Run a server with its data in `folder`, with a new pair of keys for each of the chart's users.

    If HAProxy is installed, it runs in front of the server, as in the pod.
    """
    root, port = s3.random_keys(), free_port()
    _files(folder / "root", root)
    command = [str(PROGRAMS["minio"]), "server", str(folder / "data"), "--address", f"{LOOPBACK}:{port}", "--quiet"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MINIO_ROOT_USER": root["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": root["AWS_SECRET_ACCESS_KEY"],
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_PROMETHEUS_AUTH_TYPE": "public",
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            with _guarded(folder, port) as (url, metrics_url):
                store = Store(folder, url, metrics_url)
                store.policies()
                for user in USERS:
                    store.write(user, s3.random_keys())
                yield store
        finally:
            process.terminate()


@contextlib.contextmanager
def _guarded(folder: Path, port: int) -> Iterator[tuple[str, str]]:
    if guard.PROGRAM is None:
        yield f"http://{LOOPBACK}:{port}", ""
        return
    with guard.running(folder, port) as addresses:
        yield addresses
