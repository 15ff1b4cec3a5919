"""Cut a release: the section of CHANGELOG.md, and the version of every part and chart. Nothing is committed.

python -m tools.release VERSION
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from tools.release.cut import ReleaseError, cut

_NEXT = """\
Check it with git diff, then run:
  git switch --create release-{version}
  git commit --all --message "Release {version}"
  git push --set-upstream origin HEAD
When it is merged and delivered, start the workflow: gitops dispatch release --input tag=v{version}"""


def main() -> int:
    """Run the command; return 2 if the release is not possible, and then write nothing."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__.splitlines()[0])
    parser.add_argument("version", help="such as 1.2.3")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2], help="the repository")
    options = parser.parse_args()
    try:
        changed = cut(options.root, options.version, datetime.now(UTC).date())
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    for path, text in changed.items():
        (options.root / path).write_text(text, encoding="utf-8")
        print(path)
    print(_NEXT.format(version=options.version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
