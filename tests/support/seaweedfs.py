"""A real SeaweedFS, started with what the seaweedfs chart renders: the users' file by the init container's script, the
server's arguments, and the buckets by the Job's script."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from embedded.processes import LOOPBACK, Server, free_ports, program
from tests.support import helm, s3
from tests.support.manifests import parse
from tests.support.minio import PROGRAMS

FILES = helm.CHARTS / "seaweedfs" / "files"


@contextlib.contextmanager
def running(folder: Path, users: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[s3.Target]:
    """Run a server with its data in `folder`, with the keys of `users`, or new ones, for root and the chart's users."""
    manifests = _rendered()
    pod = next(m for m in manifests if m["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    config = next(m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "seaweedfs")["data"]
    known = {user: dict((users or {}).get(user) or s3.random_keys()) for user in s3.USERS}
    for user, values in known.items():
        place = folder / "root" if user == "root" else folder / "users" / user
        place.mkdir(parents=True)
        for key, value in values.items():
            (place / key).write_text(value)
    (folder / "policies.json").write_text(config["policies.json"])
    (folder / "data").mkdir()
    places = {
        "CONFIG": str(folder / "s3.json"),
        "POLICIES": str(folder / "policies.json"),
        "ROOT_DIR": str(folder / "root"),
        "USERS_DIR": str(folder / "users"),
        "MC_CONFIG_DIR": str(folder / "mc"),
    }
    _script("identities.sh", pod["initContainers"][0], places)

    # What the pod has for itself is shared by this machine's servers.
    own = own_places(folder)
    command = [program("weed"), *(_here(argument, folder, own) for argument in pod["containers"][0]["args"])]
    command += own.arguments
    url = f"http://{LOOPBACK}:{own.s3}"
    ready = pod["containers"][0]["startupProbe"]["httpGet"]["path"]
    with Server("SeaweedFS", command, url=url, ready_path=ready, log=folder / "s3.log") as server:
        job = next(m for m in manifests if m["kind"] == "Job")["spec"]["template"]["spec"]["containers"][0]
        for _ in range(2):  # It is safe to repeat.
            _script("provision.sh", job, {**places, "STORE_URL": url, "WAIT_SECONDS": "30"})
        try:
            yield s3.Target("SeaweedFS", url, known)
        finally:
            server.kill()  # Its data goes anyway, and an orderly end takes it a quarter of a minute.


class Places(msgspec.Struct, frozen=True):
    """What one of several servers has for itself: the ports of S3 and of metrics, and arguments for the rest."""

    s3: int
    metrics: int
    arguments: list[str]


def own_places(folder: Path) -> Places:
    """Choose them, all different."""
    named = [f"{part}.port" for part in ("master", "volume", "filer")]
    named += [f"{part}.port.grpc" for part in ("master", "volume", "filer", "s3")]
    of_s3, metrics, *others = free_ports(2 + len(named))
    arguments = [f"-{name}={port}" for name, port in zip(named, others, strict=True)]
    return Places(of_s3, metrics, arguments + [f"-{part}.localSocket={folder / part}.sock" for part in ("s3", "filer")])


def _here(argument: str, folder: Path, own: Places) -> str:
    changed = {
        "-dir=": folder / "data", "-s3.ip.bind=": LOOPBACK, "-s3.port=": own.s3, "-s3.config=": folder / "s3.json",
        "-metricsIp=": LOOPBACK, "-metricsPort=": own.metrics, "-volume.max=": 100, "-master.volumeSizeLimitMB=": 32,
    }  # fmt: skip
    return next((f"{name}{value}" for name, value in changed.items() if argument.startswith(name)), argument)


def _script(name: str, container: Mapping[str, Any], changed: Mapping[str, str]) -> None:
    of_chart = {entry["name"]: entry["value"] for entry in container["env"]}
    path = {"PATH": f"{Path(str(PROGRAMS['mc'])).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", FILES / name],
        env={**of_chart, **changed, **path}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _rendered() -> list[dict[str, Any]]:
    outcome = helm.template("seaweedfs", helm.scenarios("seaweedfs")[0])
    assert outcome.code == 0, outcome.errors
    return parse(outcome.output)
