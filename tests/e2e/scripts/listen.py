"""Accept connections on the port in the question until `/tmp/stop` appears, as a target for other pods."""

import json
import pathlib
import socket
import sys


def main() -> None:
    """Accept and close connections."""
    with socket.create_server(("", json.loads(sys.argv[1])["port"])) as server:
        server.settimeout(0.5)
        while not pathlib.Path("/tmp/stop").exists():  # noqa: S108  the pod's own
            try:
                server.accept()[0].close()
            except TimeoutError:
                continue
    print("{}")


if __name__ == "__main__":
    main()
