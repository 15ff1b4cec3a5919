"""The command `training`: reads options, calls the steps, and turns their results into output and exit codes."""

# ruff: noqa: PLC0415 # commands import what they need when they run: help must not wait for scikit-learn and MLflow
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env
from cyclopts.validators import Number

from training.due.command import due
from training.due.options import WhyOptions
from training.environment import prepare_environment
from training.errors import BadInputError, TrainingError
from training.model_folder import list_folders, load_settings
from training.options import (
    DataOptions,
    FormGateOptions,
    GateOptions,
    Json,
    ModelOptions,
    RegisterOptions,
    ScoreOptions,
    TrackingOptions,
    overrides,
)
from training.outcomes.command import outcomes
from training.report import Terminal, gate_rows, moment
from training.schema import model_file_schema
from training.steps import headline

if TYPE_CHECKING:
    from training.gate import GateReport

_INTERRUPTED = 130
_GATE_COLUMNS = ("check", "figure", "bound", "verdict", "detail")
_NOT_TAKEN, _NO_FORM_GATE, _AS_USUAL = RegisterOptions(), FormGateOptions(), ScoreOptions()
_NO_DATA, _NO_MODEL, _NO_GATE, _NO_TRACKING = DataOptions(), ModelOptions(), GateOptions(), TrackingOptions()
_NO_REASON = WhyOptions()

app = App(
    name="training",
    help="Train, evaluate, gate and register scikit-learn models in MLflow.",
    help_epilogue="Exit codes: 0 done, 1 MLflow or its store down, 2 unusable input or failed gate, 3 not due, "
    "130 interrupted.",
    version=lambda: version("training"),
    config=Env("TRAINING_", command=False),
    suppress_keyboard_interrupt=False,
)
app.command(due)


@app.command
def run(
    data: DataOptions = _NO_DATA,
    model: ModelOptions = _NO_MODEL,
    gate: GateOptions = _NO_GATE,
    tracking: TrackingOptions = _NO_TRACKING,
    why: WhyOptions = _NO_REASON,
    *,
    model_dir: Path | None = None,
    json: Json = False,
) -> int:
    """Train a model, evaluate it, and register it if it passes the gate.

    Args:
        data: The training data.
        model: The estimator and its name.
        gate: What the model must achieve.
        tracking: Where MLflow is.
        why: Why the model is trained.
        model_dir: A model's folder; its training.yaml gives settings, which options and environment variables override.
        json: Print the result as JSON on the output stream.
    """
    terminal = Terminal()
    settings = load_settings(overrides(data, model, gate, tracking), model_dir)
    reason = why.reason
    if why.if_due:
        from training.due.command import reason_to_train

        reason, ended = reason_to_train(model_dir, why, settings, terminal, json=json)
        if not reason:
            return ended
    with terminal.step("start") as step:
        from training.due.changes import fingerprint
        from training.pipeline import Occasion, train_and_register

        step.outcome = f"training {version('training')}"
    occasion = Occasion(reason=reason, settings=fingerprint(model_dir) if model_dir else {})
    result = train_and_register(settings, terminal, occasion)
    if json:
        terminal.json(result)
    else:
        terminal.rows("Gate", _GATE_COLUMNS, gate_rows(result.gate.checks))
        registered = {"version": result.version, "release": result.release, "aliases": ", ".join(result.aliases)}
        terminal.facts(
            "Registered" if result.registered else "Not registered",
            {"model": result.name, **(registered if result.registered else {}), "trained because": reason or None}
            | {"metrics": headline(result.metrics)}
            | {"digest": result.digest, "artifacts": result.uri, "run": result.run_id, "mlflow": result.tracking_uri},
        )
    return _ended(terminal, result.gate, result.name, result.run_id)


def _ended(terminal: Terminal, gate: "GateReport", name: str, run_id: str | None) -> int:
    """Print why a gate refused a model, and return the exit code."""
    for check in gate.failures:
        terminal.error(f"gate: {check.sentence()}")
    if not gate.passed:
        terminal.error(f"{name} was not registered; the measurements are in run {run_id}.")
    return 0 if gate.passed else 2


@app.command
def evaluate(
    model: str,
    /,
    data: DataOptions = _NO_DATA,
    gate: GateOptions = _NO_GATE,
    tracking: TrackingOptions = _NO_TRACKING,
    *,
    model_dir: Path | None = None,
    json: Json = False,
) -> int:
    """Evaluate a stored model again, by default on the held-out rows of its own training run.

    Args:
        model: NAME@ALIAS, NAME/VERSION, NAME/RELEASE or runs:/RUN_ID.
        data: The rows to evaluate on.
        gate: What the model must achieve.
        tracking: Where MLflow is.
        model_dir: A model's folder; its training.yaml gives settings, which options and environment variables override.
        json: Print the result as JSON on the output stream.
    """
    terminal = Terminal()
    with terminal.step("start") as step:
        from training.evaluation import evaluate as judge_again

        step.outcome = f"training {version('training')}"
    result = judge_again(model, overrides(data, gate, tracking), model_dir, terminal)
    if json:
        terminal.json(result)
    else:
        terminal.rows(
            "Metrics", ("metric", "value"), [[name, f"{value:.4g}"] for name, value in result.metrics.items()]
        )
        terminal.rows("Gate", _GATE_COLUMNS, gate_rows(result.gate.checks))
    for check in result.gate.failures:
        terminal.error(f"gate: {check.sentence()}")
    return 0 if result.gate.passed else 2


@app.command
def register(
    model: str,
    /,
    taken: RegisterOptions = _NOT_TAKEN,
    gate: FormGateOptions = _NO_FORM_GATE,
    tracking: TrackingOptions = _NO_TRACKING,
    *,
    model_dir: Path | None = None,
    json: Json = False,
) -> int:
    """Register a fitted model that was made elsewhere: open it, convert it, check it against the gate, and register it.

    A separate process, without credentials and network, opens the model and predicts every row of the data. The
    model is registered only if its stored form gives the same answer for each row as its own `predict`, thresholds
    included. Columns and classes come from the model and the data.

    Args:
        model: models:/NAME/VERSION, models:/NAME@ALIAS, runs:/RUN_ID/NAME (logged as sklearn, xgboost, lightgbm,
            catboost or onnx), or a file (.skops, .onnx, .joblib, .pkl).
        taken: The data to test it with, and how it is opened.
        gate: What it must achieve; metrics count only if you give a threshold, because it may have learned from
            these rows.
        tracking: Where MLflow is.
        model_dir: A folder whose training.yaml describes the data; options and environment variables override it.
        json: Print the result as JSON on the output stream.
    """
    terminal = Terminal()
    if taken.data is None and model_dir is None:
        raise BadInputError("--data: name a file with the columns that the model takes, and the target.")
    settings = load_settings(overrides(taken.data_options(), gate, tracking) | taken.named(), model_dir)
    with terminal.step("start") as step:
        from training.registering.registration import Taking
        from training.registering.registration import register as register_model

        step.outcome = f"training {version('training')}"
    result = register_model(model, settings, msgspec.convert(taken.taking(), Taking), terminal)
    checks = result.gate.checks if result.gate else ()
    if json:
        terminal.json(result)
    else:
        if checks:
            terminal.rows("Gate", _GATE_COLUMNS, gate_rows(checks))
        registered = {"version": result.version, "release": result.release, "aliases": ", ".join(result.aliases)}
        terminal.facts(
            "Registered" if result.registered else "Dry run" if taken.dry_run else "Not registered",
            {"model": result.name, **(registered if result.registered else {}), "kind": result.kind}
            | {"runtime": result.runtime, "metrics": headline(result.metrics), "digest": result.digest}
            | {"artifacts": result.uri, "run": result.run_id, "mlflow": result.tracking_uri},
        )
    return _ended(terminal, result.gate, result.name, result.run_id) if result.gate else 0


@app.command(name="score")
def score_files(
    service: str,
    /,
    how: ScoreOptions = _AS_USUAL,
    *,
    input: str,  # noqa: A002  (the option's name)
    output: str,
    env: str | None = None,
    envs: Path = Path("envs"),
    again: Json = False,
) -> int:
    """Predict the rows of files with the model that an environment pins, with the same answers as its API.

    Args:
        service: The service whose pins are used.
        how: How files are read and answers are written.
        input: A CSV or Parquet file, a folder of them, or a pattern with * and **; here or s3://BUCKET/...
        output: The folder for the answers, here or s3://BUCKET/...
        env: The environment; needed only if several have a release of the service.
        envs: The folder of environments.
        again: Also score files that were already scored.
    """
    from training.scoring import release_of, score

    return score(release_of(envs, env, service), input, output, how.flags(), again=again)


app.command(outcomes)


@app.command
def promote(
    name: str,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")] = "candidate",
    to: str = "production",
    tracking: TrackingOptions = _NO_TRACKING,
    json: Json = False,
) -> int:
    """Move an alias of a registered model to a version that passed its gate.

    Args:
        name: The registered model.
        from_: A version number, a release (v1.2.0) or an alias.
        to: The alias to move.
        tracking: Where MLflow is.
        json: Print the result as JSON on the output stream.
    """
    from training.registry import Registry
    from training.tracking import Tracking

    version_now, before = Registry(Tracking(tracking.tracking_uri)).promote(name, from_, to)
    terminal = Terminal()
    if json:
        terminal.json({"alias": to, "version": version_now, "before": before})
    elif before and before.version == version_now.version:
        terminal.line(f"{to} of {name} stays at version {before.version}.")
    else:
        terminal.line(f"{to} of {name}: {before.title if before else 'nothing'} -> {version_now.title}")
    return 0


@app.command(name="list")
def list_versions(
    name: str,
    /,
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 20,
    tracking: TrackingOptions = _NO_TRACKING,
    json: Json = False,
) -> int:
    """Show the versions of a registered model, newest first.

    Args:
        name: The registered model.
        limit: How many to show.
        tracking: Where MLflow is.
        json: Print the result as JSON on the output stream.
    """
    from training.registry import Registry
    from training.tracking import Tracking

    registry = Registry(Tracking(tracking.tracking_uri))
    versions = registry.with_metrics(registry.existing(name)[:limit])
    terminal = Terminal()
    if json:
        terminal.json(versions)
    else:
        terminal.rows(
            name,
            ("version", "release", "aliases", "gate", "created (UTC)", "metrics"),
            [
                [
                    entry.version,
                    entry.release or "",
                    ", ".join(entry.aliases),
                    entry.gate or "",
                    moment(entry.created),
                    headline({name: value for name, value in entry.metrics.items() if not name.startswith("cv_")}),
                ]
                for entry in versions
            ],
        )
    return 0


@app.command
def models(folder: Path = Path("models"), /, *, json: Json = False) -> int:
    """List the models that are kept as code, and check their files.

    Args:
        folder: The folder with a folder for each model.
        json: Print the list as JSON on the output stream.
    """
    found = list_folders(folder)
    terminal = Terminal()
    if json:
        terminal.json(found)
    else:
        terminal.rows(
            str(folder),
            ("folder", "registers", "learns from", "schedule (UTC)"),
            [
                [
                    entry.name,
                    entry.model,
                    entry.data,
                    "by hand" if entry.cron is None else entry.cron + (" (suspended)" if entry.suspend else ""),
                ]
                for entry in found
            ],
        )
    return 0


@app.command
def schema() -> int:
    """Print the JSON schema of training.yaml, for editors."""
    Terminal().json(model_file_schema())
    return 0


def execute(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit code. Errors of input or MLflow have been printed on the error stream.
    """
    prepare_environment()
    try:
        code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        Terminal().error(str(error))
        return 2
    except TrainingError as error:
        for sentence in str(error).splitlines():
            Terminal().error(sentence)
        return error.exit_code
    except KeyboardInterrupt:
        Terminal().error("interrupted.")
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line of this process."""
    # A stopped container ends like Ctrl-C: the run is marked as failed, and nothing stays half-registered.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:]))
