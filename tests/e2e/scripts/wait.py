"""Wait until `/tmp/stop` appears, or for `seconds`. Other programs run in this pod."""

import json
import pathlib
import sys
import time


def main() -> None:
    """Wait."""
    end = time.monotonic() + json.loads(sys.argv[1])["seconds"]
    while time.monotonic() < end and not pathlib.Path("/tmp/stop").exists():  # noqa: S108  the pod's own
        time.sleep(0.5)
    print("{}")


if __name__ == "__main__":
    main()
