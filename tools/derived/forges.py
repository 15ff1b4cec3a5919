"""What the chart of applications needs to know of each kind of forge."""

from gitops.platform.forges import FORGES


def text() -> str:
    """Return the content of apps/forges.yaml."""
    heading = (
        "# Where a forge shows a file, below the address of the repository.\n"
        "# `make derived` writes this from services/gitops/src/gitops/platform/forges.py.\n"
    )
    return heading + "".join(f'{kind}: "{facts.file_page}"\n' for kind, facts in FORGES.items())
