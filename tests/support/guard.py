"""The real HAProxy that runs in front of MinIO in its pod, with the chart's own configuration and other ports."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from embedded.processes import LOOPBACK, Server, free_ports
from tests.support import helm

_CONFIG = helm.CHARTS / "minio" / "files" / "haproxy.cfg"
PROGRAM = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
"""Debian installs it in a folder that is only on root's path."""
WITHOUT = "HAProxy is not installed: apt-get install haproxy"


@contextlib.contextmanager
def running(folder: Path, upstream: int) -> Iterator[tuple[str, str]]:
    """Run it in front of the server at the port `upstream`. Yield the addresses of S3 and of the metrics."""
    s3, metrics = free_ports(2)
    text = _CONFIG.read_text(encoding="utf-8")
    for chosen, here in (
        ("bind :9000", f"bind {LOOPBACK}:{s3}"),
        ("bind :9002", f"bind {LOOPBACK}:{metrics}"),
        (f"{LOOPBACK}:9010", f"{LOOPBACK}:{upstream}"),
    ):
        assert text.count(chosen) == 1, f"{_CONFIG} must contain {chosen} once"
        text = text.replace(chosen, here)
    config = folder / "haproxy.cfg"
    config.write_text(text, encoding="utf-8")
    addresses = f"http://{LOOPBACK}:{s3}", f"http://{LOOPBACK}:{metrics}"
    command = [str(PROGRAM), "-db", "-f", str(config)]
    with Server("HAProxy", command, url=addresses[1], ready_path="/guard/live", log=folder / "haproxy.log"):
        yield addresses
