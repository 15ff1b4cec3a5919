"""Write them, or with --check say which files are not what would be written."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gitops.platform import schema
from tools import generated
from tools.derived import alerts, forges, help_texts, settings
from training.schema import model_file_schema

_ROOT = Path(__file__).resolve().parents[2]


def wanted(root: Path) -> Mapping[Path, str]:
    """Return what each file should contain.

    Raises:
        ValueError: A file lacks the marks between which text is written.
    """
    alerts_page, chart = root / "docs/alerts.md", root / "charts/observability"
    serving, gitops = root / "services/serving/README.md", root / "services/gitops/README.md"
    return {
        alerts_page: alerts.written(alerts_page.read_text(encoding="utf-8"), chart),
        serving: settings.written(serving.read_text(encoding="utf-8")),
        gitops: help_texts.written(gitops.read_text(encoding="utf-8")),
        root / "services/gitops/platform.schema.json": schema.text(),
        root / "training/training.schema.json": _json(model_file_schema()),
        root / "apps/forges.yaml": forges.text(),
    }


def _json(content: object) -> str:
    """Return what `training schema` prints."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def main() -> int:
    """Run the command; return 1 if --check found a difference."""
    parser = argparse.ArgumentParser(prog="python -m tools.derived", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    parser.add_argument("--root", type=Path, default=_ROOT, help="the repository (%(default)s)")
    options = parser.parse_args()
    return generated.write(wanted(options.root), check=options.check, command="make derived")


sys.exit(main())
