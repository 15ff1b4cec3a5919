"""The `embedded` command."""

import sys
import tempfile
from pathlib import Path

import httpx
from cyclopts import App
from rich.console import Console

from embedded import demo as demo_steps
from embedded.processes import ServerFailedError, stopped_by_signals

app = App(
    name="embedded", help="Run the whole pipeline on one machine, as processes: no Docker, no cluster, no account."
)


@app.command
def demo(
    *, model_dir: Path = Path("models/iris"), table_dir: Path = Path("models/penguins"), keep: bool = False
) -> int:
    """Train, gate, register and serve two models, one of numbers and one of text and gaps, and show their predictions.

    Parameters
    ----------
    model_dir:
        The folder of the first model, a classifier.
    table_dir:
        The folder of the second one, a classifier of a table with text and gaps.
    keep:
        Leave MLflow and the API running at the end, until Ctrl-C.
    """
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    try:
        with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="ml-pipeline-demo-") as folder:
            demo_steps.run(console, Path(folder), model_dir, table_dir, keep=keep)
    except KeyboardInterrupt:
        errors.print("Stopped; everything that the demo created is removed.")
        return 0 if keep else 130
    except (demo_steps.StepFailedError, ServerFailedError, httpx.HTTPError) as error:
        errors.print(f"The demo failed: {error}", markup=False)
        return 1
    return 0


@app.command
def loop(*, model_dir: Path = Path("models/iris"), report: Path = Path("dist/loop.html")) -> int:
    """Run the closed loop once: predict, log, join the late truth, see the model go wrong, train again with a reason.

    Parameters
    ----------
    model_dir:
        The folder of the iris model.
    report:
        The file for the report, an HTML page.
    """
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    from embedded import loop as loop_steps  # noqa: PLC0415 # boto3 takes a while to load

    try:
        with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="ml-pipeline-loop-") as folder:
            loop_steps.run(console, Path(folder), model_dir, report)
    except KeyboardInterrupt:
        errors.print("Stopped; everything that the loop created is removed.")
        return 130
    except (demo_steps.StepFailedError, ServerFailedError, httpx.HTTPError) as error:
        errors.print(f"The loop failed: {error}", markup=False)
        return 1
    return 0


def main() -> None:
    """Run the command line."""
    sys.exit(app())
