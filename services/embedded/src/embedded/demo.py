"""The whole job on one machine: train, gate, register and serve models, then predict over HTTP.

Everything is in a temporary folder (an SQLite database, a folder of artifacts), which is removed afterwards.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from embedded.processes import Server, program
from embedded.servers import mlflow_server, serving
from training.errors import BadInputError
from training.model_folder import TRAINING_FILE, load_settings, read_model_file

if TYPE_CHECKING:
    from training.data import Dataset
    from training.split import Split

_ROWS = 6
_SWAP_SECONDS = 30.0
# The alias that the demo's API follows, so moving it promotes a version.
ALIAS = "production"


class StepFailedError(RuntimeError):
    """A step of the demo failed. The message names the step and has its output."""


class Trained(msgspec.Struct, frozen=True):
    """The version that a run registered, from the output of `training run --json`."""

    name: str
    version: str
    release: str
    metrics: dict[str, float]


class Answer(msgspec.Struct, frozen=True):
    """The answer of POST /predict for one row."""

    prediction: str
    probability: float
    model_version: str
    latency_ms: float


class HeldOutRow(msgspec.Struct, frozen=True):
    """A row that no model was trained on, and its true label.

    Attributes:
        number: its position among the held-out rows.
        features: its values in the order of the columns, or by their names; null if one is missing.
        truth: the true label.
    """

    number: int
    features: list[Any] | dict[str, Any]
    truth: str


def run(console: Console, folder: Path, model_dir: Path, table_dir: Path, *, keep: bool) -> None:
    """Run the demo.

    Args:
        console: for the progress.
        folder: an empty folder for all files of the demo.
        model_dir: the folder of the first model, a classifier of numbers.
        table_dir: the folder of the second model, a classifier of a table with text and gaps.
        keep: whether to keep the servers running at the end, until Ctrl-C.

    Raises:
        StepFailedError: the model's folder cannot be used, or training or promotion failed.
        ServerFailedError: a server did not start.
        httpx.HTTPError: a prediction failed.
    """
    model = _registered_name(model_dir)
    with contextlib.ExitStack() as stack:
        with step(console, "Starting MLflow (SQLite, a local folder)"):
            mlflow = stack.enter_context(mlflow_server(folder))
        with step(console, "Training, gating and registering a logistic regression"):
            first = _train(mlflow, model_dir, "logistic-regression")
        with step(console, f"Promoting version {first.version} and serving it"):
            promote(mlflow, model, first)
            api = stack.enter_context(serving(folder, _settings(mlflow, model)))
        rows = _held_out_rows(model_dir)
        answers = [(row, _predict(api, row)) for row in rows]
        with step(console, "Training, gating and registering a random forest"):
            second = _train(mlflow, model_dir, "random-forest")
        with step(console, f"Promoting version {second.version}: the API swaps to it while it serves"):
            promote(mlflow, model, second)
            wait_for_version(api, second.version)
        answers += [(row, _predict(api, row)) for row in rows]
        console.print(_table(answers, {trained.release: trained.version for trained in (first, second)}))
        table_api, table_row = _table_with_gaps(console, stack, folder, mlflow, table_dir)
        _say_what_next(console, mlflow, [(api, rows[0]), (table_api, table_row)], keep=keep)
        if keep:
            threading.Event().wait()


def _table_with_gaps(
    console: Console, stack: contextlib.ExitStack, folder: Path, mlflow: Server, table_dir: Path
) -> tuple[Server, HeldOutRow]:
    """Train, serve and query a model of a table with text and gaps; return its API and a row to try."""
    with step(console, f"Training, gating and registering {table_dir.name}, a table with text and gaps"):
        trained = _train(mlflow, table_dir)
    with step(console, f"Promoting version {trained.version} and serving it"):
        model = _registered_name(table_dir)
        promote(mlflow, model, trained)
        api = stack.enter_context(serving(folder, _settings(mlflow, model)))
    rows = _rows_with_gaps(table_dir)
    console.print(_questions([(row, _predict(api, row)) for row in rows]))
    return api, rows[-1]


@contextlib.contextmanager
def step(console: Console, what: str) -> Iterator[None]:
    """Show a step while it runs, and then how long it took."""
    started = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"[green]done[/] {what} [dim]{time.perf_counter() - started:.1f} s[/]")


def _settings(mlflow: Server, model: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": mlflow.url,
        "MODEL_NAME": model,
        "MODEL_STAGE": ALIAS,
        "MODEL_POLL_SECONDS": "1",
        "LOG_FORMAT": "json",
    }


def training(
    mlflow: Server,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    ends: Sequence[int] = (0,),
) -> bytes:
    """Run the `training` command and return what it wrote to standard output.

    Args:
        mlflow: the MLflow server to use.
        arguments: the arguments of the command.
        environment: further variables.
        ends: the expected exit codes.

    Raises:
        StepFailedError: it ended with another exit code.
    """
    command = [program("training"), *arguments]
    variables = {**os.environ, **(environment or {}), "MLFLOW_TRACKING_URI": mlflow.url}
    done = subprocess.run(command, env=variables, capture_output=True, check=False)
    if done.returncode not in ends:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise StepFailedError(f"`training {' '.join(arguments)}` ended with status {done.returncode}:\n{said}")
    return done.stdout


def _registered_name(model_dir: Path) -> str:
    try:
        return read_model_file(model_dir / TRAINING_FILE).name
    except BadInputError as error:
        raise StepFailedError(str(error)) from error


def _train(mlflow: Server, model_dir: Path, model: str | None = None) -> Trained:
    other = ["--model", model] if model else []
    said = training(mlflow, ["run", "--model-dir", str(model_dir), *other, "--json"])
    return trained_by(said)


def trained_by(said: bytes) -> Trained:
    """Return the version in the output of `training run --json`."""
    return msgspec.json.decode(said, type=Trained)


def promote(mlflow: Server, model: str, trained: Trained) -> None:
    """Promote a version, so that the API serves it."""
    training(mlflow, ["promote", model, "--from", trained.version, "--to", ALIAS])


def _held_out_rows(model_dir: Path) -> list[HeldOutRow]:
    """Return rows that training held out, evenly spread."""
    dataset, split = _split(model_dir)
    step = max(1, len(split.test_rows) // _ROWS)
    return [_row(dataset, split, number) for number in range(0, len(split.test_rows), step)[:_ROWS]]


def _rows_with_gaps(table_dir: Path) -> list[HeldOutRow]:
    """Return held-out rows: one by position, one by name, and one by name with some values unknown."""
    dataset, split = _split(table_dir)
    first, second, third = (_row(dataset, split, number) for number in range(3))
    optional = [column.name for column in dataset.columns if column.optional]
    known = dict(zip(dataset.features, third.features, strict=True))
    guessed = HeldOutRow(third.number, known | dict.fromkeys(optional[-2:]), third.truth)
    return [first, _named(dataset, second), guessed]


def _split(model_dir: Path) -> tuple["Dataset", "Split"]:
    # Imported here: this imports scikit-learn, which takes a second, and help should not wait for it.
    from training.data import load  # noqa: PLC0415
    from training.split import split_dataset  # noqa: PLC0415

    settings = load_settings({}, model_dir)
    dataset = load(settings)
    return dataset, split_dataset(dataset, seed=settings.seed, test_size=settings.test_size)


def _row(dataset: "Dataset", split: "Split", number: int) -> HeldOutRow:
    from training.kinds import as_asked  # noqa: PLC0415 # as above

    return HeldOutRow(number, as_asked(dataset.columns, split.test_rows[number]), str(split.test_truth[number]))


def _named(dataset: "Dataset", row: HeldOutRow) -> HeldOutRow:
    return msgspec.structs.replace(row, features=dict(zip(dataset.features, row.features, strict=True)))


def _predict(api: Server, row: HeldOutRow) -> Answer:
    body = {"features": row.features, "model_version": "latest"}
    response = httpx.post(f"{api.url}/predict", json=body, timeout=10.0, trust_env=False)
    response.raise_for_status()
    return msgspec.json.decode(response.content, type=Answer)


def wait_for_version(api: Server, version: str) -> None:
    """Wait until the API serves a version.

    Raises:
        StepFailedError: it does not in time.
    """
    deadline = time.monotonic() + _SWAP_SECONDS
    while httpx.get(f"{api.url}/model/info", timeout=5.0, trust_env=False).json()["version"] != version:
        if time.monotonic() > deadline:
            raise StepFailedError(
                f"the API did not swap to version {version} in {_SWAP_SECONDS:.0f} s.\n{api.last_lines()}"
            )
        time.sleep(0.1)


def _table(answers: Sequence[tuple[HeldOutRow, Answer]], numbers: dict[str, str]) -> Table:
    table = Table(title="Rows that no model has seen, answered over HTTP", title_justify="left")
    for name in ("row", "truth", "prediction", "probability", "version", "latency"):
        table.add_column(name, justify="left" if name in {"truth", "prediction", "version"} else "right")
    for row, answer in answers:
        hit = answer.prediction == row.truth
        table.add_row(
            str(row.number),
            row.truth,
            f"[{'green' if hit else 'red'}]{answer.prediction}[/]",
            f"{answer.probability:.3f}",
            f"{numbers[answer.model_version]} ({answer.model_version})",
            f"{answer.latency_ms:.2f} ms",
        )
    return table


def _questions(answers: Sequence[tuple[HeldOutRow, Answer]]) -> Table:
    table = Table(title="By position or by name, with null for what is missing", title_justify="left")
    for name in ("features", "truth", "prediction", "probability"):
        table.add_column(name, justify="right" if name == "probability" else "left")
    for row, answer in answers:
        hit = answer.prediction == row.truth
        table.add_row(
            msgspec.json.encode(row.features).decode().replace(",", ", "),
            row.truth,
            f"[{'green' if hit else 'red'}]{answer.prediction}[/]",
            f"{answer.probability:.3f}",
        )
    return table


def _say_what_next(console: Console, mlflow: Server, apis: Sequence[tuple[Server, HeldOutRow]], *, keep: bool) -> None:
    if not keep:
        console.print("Everything is stopped and removed. To keep it running: [bold]make demo KEEP=1[/]")
        console.print("What to read next: README.md, docs/bring-your-own-table.md, services/serving/README.md")
        return
    console.print(f"MLflow        {mlflow.url}")
    for api, row in apis:
        console.print(f"Predictions   {api.url}/docs")
        request = msgspec.json.encode({"features": row.features, "model_version": "latest"}).decode()
        console.print(f"Try it        curl -d '{request}' {api.url}/predict", soft_wrap=True, markup=False)
    train = "training run --model hist-gradient-boosting"
    console.print(f"Train more    MLFLOW_TRACKING_URI={mlflow.url} .venv/bin/{train}", soft_wrap=True)
    console.print("Ctrl-C stops everything and removes it.")
