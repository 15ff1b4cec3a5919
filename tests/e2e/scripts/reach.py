"""Test which addresses this pod can reach.

Question: `targets`, a list of `name`, `host`, `port` and `expected`. Policies take a moment to apply to a new pod, so
each target is tried until the result is as expected, for at most `seconds`. The last try counts. Answer: by name,
whether the target was reached. For the name `dns`, a lookup (UDP) at the pod's resolver is tried.
"""

import concurrent.futures
import json
import pathlib
import socket
import struct
import sys
import time
from typing import Any

TRY_SECONDS = 2.0


def connects(host: str, port: int) -> bool:
    """Return whether a TCP connection can be opened."""
    try:
        with socket.create_connection((host, port), timeout=TRY_SECONDS):
            return True
    except OSError:
        return False


def resolves() -> bool:
    """Return whether the cluster's DNS answers a query (RFC 1035) for the API server's name."""
    lines = pathlib.Path("/etc/resolv.conf").read_text().splitlines()
    resolver = next(line.split()[1] for line in lines if line.startswith("nameserver"))
    labels = b"".join(
        bytes([len(label)]) + label for label in (b"kubernetes", b"default", b"svc", b"cluster", b"local")
    )
    question = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TRY_SECONDS)
        try:
            sock.sendto(question, (resolver, 53))
            return len(sock.recv(512)) > len(question)
        except OSError:
            return False


def settle(target: dict[str, Any], deadline: float) -> bool:
    """Try a target until the result is as expected or time is up, and return the last result."""
    while True:
        reached = resolves() if target["name"] == "dns" else connects(target["host"], target["port"])
        if reached is target["expected"] or time.monotonic() > deadline:
            return reached
        time.sleep(0.2)


def main() -> None:
    """Try all targets at the same time, and print the results."""
    question = json.loads(sys.argv[1])
    deadline = time.monotonic() + question["seconds"]
    with concurrent.futures.ThreadPoolExecutor(len(question["targets"])) as pool:
        outcomes = list(pool.map(lambda target: settle(target, deadline), question["targets"]))
    print(json.dumps({target["name"]: outcome for target, outcome in zip(question["targets"], outcomes, strict=True)}))


if __name__ == "__main__":
    main()
