"""SeaweedFS as one process: an S3 store for the closed loop and for tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from embedded.processes import LOOPBACK, Server, free_ports, program


class Places(msgspec.Struct, frozen=True):
    """What each of several servers needs for itself: the ports of S3 and of metrics, and arguments for the rest."""

    s3: int
    metrics: int
    arguments: list[str]


def own_places(folder: Path) -> Places:
    """Return them, with different ports for everything."""
    named = [f"{part}.port" for part in ("master", "volume", "filer")]
    named += [f"{part}.port.grpc" for part in ("master", "volume", "filer", "s3")]
    of_s3, metrics, *others = free_ports(2 + len(named))
    arguments = [f"-{name}={port}" for name, port in zip(named, others, strict=True)]
    return Places(of_s3, metrics, arguments + [f"-{part}.localSocket={folder / part}.sock" for part in ("s3", "filer")])


def server(folder: Path, users: Sequence[dict[str, Any]]) -> Server:
    """Describe a server with its data in `folder`.

    Args:
        folder: for its data, its users' file and its log.
        users: entries of the server's file of identities: `name`, `credentials`, `actions`.
    """
    own = own_places(folder)
    data, config = folder / "s3", folder / "s3.json"
    data.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps({"identities": list(users)}))
    # Each bucket takes seven volumes at its first write. Without enough volumes, a write fails with an internal error.
    command = [
        program("weed"), "server", "-s3", f"-s3.config={config}", f"-s3.port={own.s3}", *own.arguments,
        f"-dir={data}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-master.volumeSizeLimitMB=64", "-volume.max=100",
        "-volume.preStopSeconds=0", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    return Server(
        "SeaweedFS",
        command,
        url=f"http://{LOOPBACK}:{own.s3}",
        ready_path="/status",
        log=folder / "s3.log",
        # In addition to its output, it writes log files to the temporary folder.
        environment={"TMPDIR": str(folder)},
    )


def user(name: str, access_key: str, secret_key: str, actions: Sequence[str]) -> dict[str, Any]:
    """Return one entry of the file of identities."""
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"name": name, "credentials": credentials, "actions": list(actions)}
