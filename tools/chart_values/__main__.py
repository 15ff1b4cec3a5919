"""Write them, or with --check say which files are not what would be written."""

import argparse
import sys
from pathlib import Path

from tools import generated
from tools.chart_values import pods, settings
from tools.chart_values.texts import Texts

_CHARTS = Path(__file__).resolve().parents[2] / "charts"


def main() -> int:
    """Run the command; return 1 if --check found a difference."""
    parser = argparse.ArgumentParser(prog="python -m tools.chart_values", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    parser.add_argument("--charts", type=Path, default=_CHARTS, help="the folder of the charts (%(default)s)")
    options = parser.parse_args()
    texts = Texts(options.charts)
    pods.write(texts)
    settings.write(texts)
    return generated.write(texts.wanted, check=options.check, command="python -m tools.chart_values")


sys.exit(main())
