"""Draw the README's pictures: panels of a dashboard, the body of a promotion, and a model's card.

python -m tools.pictures [--seconds 300]

All data is real. Two versions of a model are trained and registered; one answers, and the other is its shadow. A
Prometheus scrapes the service, clients send requests, and `gitops promote --dry-run` proposes the second version. This
needs `tools/install prometheus helm`, and takes two minutes more than the requests.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tools.pictures import charts, texts
from tools.pictures.stack import observed

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=300.0, help="how many seconds callers send requests (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", help="where to (%(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        seen = observed(Path(folder), options.seconds)
    charts.draw(seen.panels, options.out / "dashboard.svg")
    texts.draw(seen.card, "The model card of a version, as training writes it", 40, options.out / "card.svg")
    texts.draw(seen.body, "The body of a promotion's pull request", 46, options.out / "promotion.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
