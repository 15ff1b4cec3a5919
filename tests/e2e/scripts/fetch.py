"""Says whether an address can be reached from here.

Question: `url` and `seconds` to try for. The answer: `reached` and, where it was not, `why`.
"""

import json
import sys
import urllib.request


def main() -> None:
    """Try and print."""
    question = json.loads(sys.argv[1])
    try:
        with urllib.request.urlopen(question["url"], timeout=question["seconds"]):
            print(json.dumps({"reached": True}))
    except OSError as error:
        print(json.dumps({"reached": False, "why": str(error)}))


if __name__ == "__main__":
    main()
