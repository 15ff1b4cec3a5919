"""Write the dashboards, or with --check say which files are not what would be written."""

import argparse
import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools import generated
from tools.dashboards import delivery, model, platform, serving

_FOLDER = Path(__file__).resolve().parents[2] / "charts" / "observability" / "dashboards"
_DASHBOARDS = {"delivery": delivery, "model": model, "platform": platform, "serving": serving}


def main() -> int:
    """Run the command; return 1 if --check found a difference."""
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="the folder of the dashboards (%(default)s)")
    options = parser.parse_args()
    folder: Path = options.folder
    wanted = {folder / f"{name}.json": _text(module.dashboard()) for name, module in _DASHBOARDS.items()}
    surplus = sorted(set(folder.glob("*.json")) - set(wanted))
    return generated.write(wanted, check=options.check, command="python -m tools.dashboards", surplus=surplus)


def _text(dashboard: object) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.exit(main())
