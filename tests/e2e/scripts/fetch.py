"""Report whether this pod can reach an address.

Question: `url` and `seconds` to try for. Answer: `reached` and, if it was not, `why`.
"""

import json
import sys
import urllib.request


def main() -> None:
    """Try, and print the result."""
    question = json.loads(sys.argv[1])
    try:
        with urllib.request.urlopen(question["url"], timeout=question["seconds"]):
            print(json.dumps({"reached": True}))
    except OSError as error:
        print(json.dumps({"reached": False, "why": str(error)}))


if __name__ == "__main__":
    main()
