"""The command `training due`."""

# ruff: noqa: PLC0415 # as in all commands: help must not wait for scikit-learn and MLflow
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from training.due.options import DueOptions
from training.errors import BadInputError
from training.model_folder import load_settings
from training.options import Json, TrackingOptions, overrides
from training.report import Terminal
from training.settings import Settings

if TYPE_CHECKING:
    from training.due.verdict import Verdict

_NO_DUE, _NO_TRACKING = DueOptions(), TrackingOptions()


def due(
    subject: Annotated[str, Parameter(show_default=False)] = "",
    /,
    asked: DueOptions = _NO_DUE,
    tracking: TrackingOptions = _NO_TRACKING,
    *,
    model_dir: Path | None = None,
    models: Path = Path("models"),
    platform: Path = Path("platform.yaml"),
    json: Json = False,
) -> int:
    """Say whether a model should be trained again, and why: age, alerts, new data, changed settings or code.

    The exit code is 0 if the model is due and 3 if it is not. It is 1 if MLflow, Prometheus or the store does not
    answer and nothing else is a reason. `due` in the model's training.yaml says what counts as a reason.

    Args:
        subject: A service, a registered model, or the name of a model's folder.
        asked: Which Prometheus and alerts to check.
        tracking: Where MLflow is.
        model_dir: The model's folder, instead of a name.
        models: The folder to search for the model.
        platform: The platform.yaml that names the services.
        json: Print the answer as JSON on the output stream.
    """
    if bool(subject) == (model_dir is not None):
        raise BadInputError("name a service or a model, or its folder with --model-dir, but not both.")
    from training.due.naming import folder_of

    terminal = Terminal()
    folder = model_dir or folder_of(subject, models, platform, terminal.note)
    verdict = found(folder, asked, load_settings(overrides(tracking), folder))
    if json:
        terminal.json(verdict)
    else:
        show(verdict, terminal)
    for finding in verdict.unknown:
        terminal.error(finding.says)
    return verdict.exit_code


def found(folder: Path, asked: DueOptions, settings: Settings) -> "Verdict":
    """Find out whether the model of a folder is due; arguments and errors as for `examine`."""
    from training.due.examination import Asked, examine

    return examine(folder, settings, Asked(prometheus=asked.prometheus, labels=asked.labels()))


def show(verdict: "Verdict", terminal: Terminal) -> None:
    """Print what was found."""
    terminal.rows(
        verdict.name,
        ("question", "answer", "why"),
        [[finding.question, finding.answer, finding.says] for finding in verdict.findings],
    )
    terminal.line(
        f"{verdict.name} should be trained again."
        if verdict.due
        else f"It is not known whether {verdict.name} should be trained again."
        if verdict.unknown
        else f"{verdict.name} needs no training."
    )


def reason_to_train(
    model_dir: Path | None, asked: DueOptions, settings: Settings, terminal: Terminal, *, json: bool
) -> tuple[str, int]:
    """Return why a model should be trained now; if there is no reason, an empty text and the exit code to end with.

    A model that is not due is not a failure: a schedule may check every night.

    Raises:
        BadInputError: No folder is given, so nothing says what counts as a reason.
        OutageError: MLflow does not answer.
    """
    if model_dir is None:
        raise BadInputError(
            "--if-due: name the model's folder with --model-dir; its training.yaml says what counts as a reason."
        )
    with terminal.step("due") as step:
        verdict = found(model_dir, asked, settings)
        step.outcome = verdict.reason or "no reason to train"
    for finding in verdict.unknown:
        terminal.note(finding.says)
    if verdict.due:
        return verdict.reason, 0
    if json:
        terminal.json(verdict)
    else:
        show(verdict, terminal)
    return "", verdict.exit_code if verdict.unknown else 0
