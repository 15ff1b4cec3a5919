"""Fill the thresholds of charts/observability into its rules and dashboards, as the chart's templates do.

python tools/thresholds.py CHART TARGET

compose.yaml runs this because Compose has no Helm. CHART is the chart's folder. The command makes rules/ and
dashboards/ in TARGET.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import yaml

_FILES = ("rules/*.yaml", "dashboards/*.json")
# Grafana has placeholders too, such as `${__value.raw}`.
_PLACEHOLDER = re.compile(
    r'(?P<quote>"?)\$\{(?P<group>[a-zA-Z]\w*)\.(?P<name>\w+)(?P<form>:percent|:bound)?\}(?P<end>"?)'
)

Thresholds = Mapping[str, Mapping[str, float]]


def named(text: str) -> set[str]:
    """Return the thresholds that a text has placeholders for, such as drift.maxPsi."""
    return {f"{match['group']}.{match['name']}" for match in _PLACEHOLDER.finditer(text)}


def filled(text: str, thresholds: Thresholds, *, is_json: bool) -> str:
    """Return a file with its placeholders replaced by numbers.

    Args:
        text: Content with `${group.name}`, `${group.name:percent}` for sentences, and `${group.name:bound}` for the
            label `le`.
        thresholds: The numbers, by group and name.
        is_json: Whether a string that is only a placeholder becomes a number.

    Raises:
        KeyError: A placeholder names no threshold.
    """

    def number(match: re.Match[str]) -> str:
        value = thresholds[match["group"]][match["name"]]
        said = json.dumps(value)
        if match["form"] == ":percent":
            said = f"{float(Decimal(said) * 100):g} %"
        elif match["form"] == ":bound":
            said = str(float(value))
        elif isinstance(value, float) and value.is_integer():
            said = str(int(value))
        if is_json and match["quote"] and match["end"] and not match["form"]:
            return said
        return f"{match['quote']}{said}{match['end']}"

    return _PLACEHOLDER.sub(number, text)


def main() -> int:
    """Run the command; return 1 if a placeholder names no threshold."""
    parser = argparse.ArgumentParser(prog="tools/thresholds.py", description=__doc__.splitlines()[0])
    parser.add_argument("chart", type=Path, help="such as charts/observability")
    parser.add_argument("target", type=Path, help="where rules/ and dashboards/ are made")
    options = parser.parse_args()
    thresholds: Thresholds = yaml.safe_load((options.chart / "values.yaml").read_text(encoding="utf-8"))["thresholds"]
    # Delete results of an earlier run whose source no longer exists.
    for path in (path for pattern in _FILES for path in options.target.glob(pattern)):
        path.unlink()
    for source in (path for pattern in _FILES for path in sorted(options.chart.glob(pattern))):
        made: Path = options.target / source.relative_to(options.chart)
        made.parent.mkdir(parents=True, exist_ok=True)
        try:
            text = filled(source.read_text(encoding="utf-8"), thresholds, is_json=source.suffix == ".json")
        except KeyError as error:
            print(f"tools/thresholds.py: {source} names {error}, which `thresholds` does not have", file=sys.stderr)
            return 1
        made.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
