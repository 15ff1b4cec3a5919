"""The steps from a fitted model that was made elsewhere to a registered version."""

import contextlib
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import yaml
from msgspec import Struct

from modelformat.digest import content_digest
from modelformat.mlmodel import FILE, Label
from modelformat.tags import DIGEST, FAILED, GATE, PASSED, RELEASE
from training import columns as table_columns
from training import plots
from training.baseline import measure_baseline
from training.card import card
from training.confinement import Bounds
from training.contract import contract_of
from training.data import Dataset, default_model_name, load
from training.errors import BadInputError, OutageError
from training.gate import GateReport, verify_settings
from training.hard_rows import hard_rows
from training.kinds import as_frame
from training.registering.bundle import ForeignWriter, Form
from training.registering.card import subject_of, with_contributions
from training.registering.gate import judge, measured, scores_of
from training.registering.messages import SKOPS_FILE, TWIN_FILE, ColumnGiven, Outcome, Request
from training.registering.opening import Opened, open_confined
from training.registering.source import Source, found_source
from training.registry import Registry, Version
from training.settings import Settings
from training.steps import Silent, Steps, headline
from training.tracking import REGISTERED_FROM, Tracking

_MOST_LABELS = 10
# A version of a registered model. A model address without version and alias is a logged model's id.
_REGISTERED = re.compile(r"models:/([^/@]+)[/@].+")


class Taking(Struct, frozen=True, kw_only=True):
    """How a model is opened and registered.

    Attributes:
        trust_pickle: Whether a pickle may be opened, which runs its author's code.
        dry_run: Whether to stop before recording anything.
        seconds: The time limit for opening the model and predicting the rows.
        memory_mb: The memory limit for this, in MiB.
        threads: The limit of processes and threads for this.
    """

    trust_pickle: bool = False
    dry_run: bool = False
    seconds: float = 600.0
    memory_mb: int = 4096
    threads: int = 512


class Registered(Struct, frozen=True, kw_only=True):
    """The result; `version`, `release`, `uri`, `digest` and `run_id` are null if nothing was registered."""

    registered: bool
    name: str
    version: str | None
    release: str | None
    aliases: tuple[str, ...]
    digest: str | None
    uri: str | None
    run_id: str | None
    tracking_uri: str
    source: str
    kind: str
    runtime: str
    labels: str
    untrusted_types: tuple[str, ...]
    confinement: str
    data: str
    metrics: dict[str, float]
    notes: tuple[str, ...]
    gate: GateReport | None
    seconds: float


def register(model: str, settings: Settings, taking: Taking, steps: Steps | None = None) -> Registered:
    """Open, convert, judge, record and register a model that was made elsewhere.

    A failed gate is not an error: the run is recorded, nothing is registered, and the result says which checks failed.

    Raises:
        BadInputError: The model or the data cannot be used; a line for each reason, and nothing was recorded.
        OutageError: MLflow does not answer; nothing was registered.
    """
    started = time.monotonic()
    steps = steps or Silent()
    tracking = Tracking(settings.tracking_uri)
    if not taking.dry_run:
        tracking.check()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="register-")))
        source, dataset = _given(model, settings, taking, tracking, stack, steps)
        with steps.step("open") as step:
            opened = open_confined(_request(source, dataset, settings, taking), _table(dataset), folder, taking.seconds)
            step.outcome = f"{opened.outcome.kind or source.form}; {opened.outcome.confinement}"
        dataset = _of_model(source, dataset, settings, opened.outcome)
        verify_settings(
            settings.gate, dataset, probable=not dataset.classes or opened.answers.probabilities is not None
        )
        notes = (*dataset.notes, *opened.outcome.notes, *_runtime_notes(opened.outcome))
        for note in notes:
            steps.note(note)
        figures = measured(opened.answers, dataset)
        with steps.step("evaluate") as step:
            step.outcome = headline(figures)
        result = Registered(
            registered=False,
            name=settings.name or _name(model, dataset),
            version=None,
            release=None,
            aliases=(),
            digest=None,
            uri=None,
            run_id=None,
            tracking_uri=tracking.address,
            source=source.title,
            kind=opened.outcome.kind,
            runtime="onnx" if opened.outcome.form == "onnx" else "sklearn",
            labels=opened.outcome.labels,
            untrusted_types=opened.outcome.untrusted,
            confinement=opened.outcome.confinement,
            data=dataset.source,
            metrics=figures,
            notes=notes,
            gate=None,
            seconds=0.0,
        )
        if not taking.dry_run:
            result = _recorded(result, settings, dataset, opened, tracking, steps)
    return msgspec.structs.replace(result, seconds=round(time.monotonic() - started, 3))


def _given(
    model: str, settings: Settings, taking: Taking, tracking: Tracking, stack: contextlib.ExitStack, steps: Steps
) -> tuple[Source, Dataset]:
    """Return the model's file and the table, or raise an error with all problems of both."""
    problems: list[str] = []
    source, dataset = None, None
    with steps.step("find") as step:
        try:
            source = stack.enter_context(found_source(model, tracking))
            step.outcome = f"{source.title} ({source.form})"
        except BadInputError as error:
            problems.append(str(error))
        if source and source.form == "pickle" and not taking.trust_pickle:
            problems.append(
                f"{model}: it is a pickle, which can run any code of its author when it is opened. If you trust the "
                "author, add --trust-pickle: it is then opened once, in a process without credentials and network. "
                "Serving never opens it."
            )
    with steps.step("load") as step:
        try:
            # The model decides the task.
            dataset = load(msgspec.structs.replace(settings, task=None), exact=True)
            step.outcome = f"{dataset.source}: {len(dataset.rows)} rows, {len(dataset.features)} columns"
        except BadInputError as error:
            problems.append(str(error))
    if problems or source is None or dataset is None:
        raise BadInputError("\n".join(problems))
    return source, dataset


def _request(source: Source, dataset: Dataset, settings: Settings, taking: Taking) -> Request:
    return Request(
        path=str(source.path),
        form=source.form,
        model_class=source.model_class,
        beside=source.beside,
        code=source.code,
        columns=tuple(ColumnGiven(column.name, column.kind, column.optional) for column in dataset.columns),
        rows=len(dataset.rows),
        tolerance=settings.gate.parity_tolerance,
        trusted=taking.trust_pickle,
        bounds=Bounds(
            cpu_seconds=int(taking.seconds) + 1, memory_bytes=taking.memory_mb * 2**20, threads=taking.threads
        ),
    )


def _table(dataset: Dataset) -> pd.DataFrame:
    """Return the data, followed by the difficult rows."""
    hard = hard_rows([(column.kind, column.optional) for column in dataset.columns], dataset.rows)
    return as_frame(dataset.columns, np.concatenate([dataset.rows, hard]))


def _of_model(source: Source, dataset: Dataset, settings: Settings, outcome: Outcome) -> Dataset:
    """Return the data with the model's columns, task and classes.

    Raises:
        BadInputError: The model cannot be registered, or contradicts the data or the given settings.
    """
    problems = [f"{source.title}: {problem}." for problem in outcome.problems]
    if not outcome.kind:
        raise BadInputError("\n".join(problems))
    chosen = [dataset.columns[place] for place in outcome.columns]
    names = tuple(column.name for column in chosen)
    problems += _typed_otherwise(source, settings, outcome, names)
    truth = dataset.truth
    try:
        truth = _truth(dataset, outcome)
    except BadInputError as error:
        problems.append(str(error))
    if problems:
        raise BadInputError("\n".join(problems))
    for place in outcome.refuses_unknown:
        chosen[place] = msgspec.structs.replace(chosen[place], unknown="refuse")
    left_out = [name for name in dataset.features if name not in names]
    notes = dataset.notes
    if left_out:
        notes = (*notes, f"{dataset.source}: the model does not use {_listed(left_out)}.")
    return msgspec.structs.replace(
        dataset,
        task=outcome.task,
        columns=tuple(chosen),
        rows=_narrowed(dataset, outcome.columns),
        truth=truth,
        classes=outcome.classes,
        notes=notes,
    )


def _typed_otherwise(source: Source, settings: Settings, outcome: Outcome, names: tuple[str, ...]) -> list[str]:
    """Return the problems of settings and descriptions that contradict the model itself."""
    problems = []
    if settings.task and settings.task != outcome.task:
        problems.append(f"--task says {settings.task}, but the {outcome.kind} does {outcome.task}.")
    if source.inputs and source.inputs != names:
        problems.append(
            f"{source.title}: its signature has the columns {_listed(source.inputs)}, but the model with this table "
            f"takes {_listed(names)}."
        )
    if source.classes and list(map(str, source.classes)) != list(map(str, outcome.classes)):
        problems.append(
            f"{source.title}: its metadata.classes are {_listed(source.classes)}, but the model's own classes are "
            f"{_listed(outcome.classes)}, in this order: log it without them."
        )
    return problems


def _truth(dataset: Dataset, outcome: Outcome) -> np.ndarray:
    """Return the target in the form of the model's task.

    Raises:
        BadInputError: This is not possible, or the target has labels that the model does not know.
    """
    truth = dataset.truth
    if outcome.task != dataset.task:
        _, truth = table_columns.truth(pd.Series(truth, name=dataset.target), dataset.source, outcome.task)
    if outcome.classes:
        strange = [label for label in np.unique(truth).tolist() if label not in outcome.classes]
        if strange:
            raise BadInputError(
                f"{dataset.source}: the target {dataset.target!r} holds {_listed(strange)}, but the model knows the "
                f"classes {_listed(outcome.classes)}."
            )
    return truth


def _narrowed(dataset: Dataset, places: Sequence[int]) -> np.ndarray:
    rows = dataset.rows[:, list(places)]
    text = any(dataset.columns[place].is_text for place in places)
    return rows if text else rows.astype(np.float64)


def _runtime_notes(outcome: Outcome) -> tuple[str, ...]:
    if outcome.form == "onnx":
        return ()
    notes = ["serve it with the image that contains scikit-learn (services/serving, target sklearn)"]
    if outcome.untrusted:
        types = outcome.untrusted
        notes.append(
            f"serving loads these types only if its settings allow them: SKOPS_TRUSTED_TYPES={','.join(types)}, for a "
            f"service settings: {{skopsTrustedTypes: [{', '.join(types)}]}} in envs/ENV/SERVICE/values.yaml"
        )
    return tuple(notes)


def _name(model: str, dataset: Dataset) -> str:
    """Return the name of the registered model that the version came from, or else the data's name."""
    registered = _REGISTERED.fullmatch(model)
    return registered[1] if registered else default_model_name(dataset)


def _recorded(
    result: Registered, settings: Settings, dataset: Dataset, opened: Opened, tracking: Tracking, steps: Steps
) -> Registered:
    registry = Registry(tracking)
    outcome = opened.outcome
    # Serving detects drift by comparing answers with these.
    baseline = measure_baseline(
        dataset.columns, dataset.rows, scores_of(opened.answers, len(dataset.rows)), dataset.classes
    )
    file = opened.folder / (TWIN_FILE if outcome.form == "onnx" else SKOPS_FILE)
    writer = ForeignWriter(Form(file, outcome, dataset, baseline))
    version: Version | None = None
    with tracking.run(settings.experiment or result.name) as run_id:
        with steps.step("record") as step:
            tracking.record_data(dataset, held_out=0)
            parameters: dict[str, Any] = {"model": outcome.kind, REGISTERED_FROM: result.source}
            tracking.record_run(parameters, result.metrics)
            model_id = tracking.record_model(writer)
            step.outcome = f"run {run_id} at {tracking.address}"
        with steps.step("gate") as step, tracking.downloaded(f"models:/{model_id}") as folder:
            digest = content_digest(folder)
            if digest != writer.digest:
                raise OutageError(
                    f"The artifact store returned different bytes for models:/{model_id} than were uploaded."
                )
            contract = contract_of(yaml.safe_load((folder / FILE).read_bytes()))
            report = judge(folder, opened, dataset, settings.gate, result.metrics)
            step.outcome = report.headline()
        tags = {DIGEST: digest, GATE: PASSED if report.passed else FAILED}
        release = registry.next_release(result.name, contract) if report.passed else ""
        tracking.record_verdict(model_id, report, tags)
        subject = subject_of(result.name, release, run_id, settings.readme or "", dataset, opened, report)
        subject = with_contributions(subject, baseline)
        tracking.record_figures(plots.contributions(subject.contributions))
        tracking.record_card(card(subject))
        if report.passed:
            with steps.step("register") as step:
                tags[RELEASE] = release
                description = f"{_description(result, dataset)} {tracking.card_link()}"
                version = registry.register(result.name, model_id, run_id, tags, description)
                step.outcome = f"{version.title}, alias {', '.join(version.aliases)}"
    return msgspec.structs.replace(
        result,
        registered=version is not None,
        version=version.version if version else None,
        release=version.release if version else None,
        aliases=version.aliases if version else (),
        digest=digest,
        uri=registry.artifact_uri(version) if version else None,
        run_id=run_id,
        gate=report,
    )


def _description(result: Registered, dataset: Dataset) -> str:
    return (
        f"{result.kind} that predicts {dataset.target} from {len(dataset.features)} columns, registered from "
        f"{result.source}. Data: {dataset.source}, {len(dataset.rows)} rows (sha256 {dataset.sha256[:12]}). "
        f"On these rows, which it may have learned from: {headline(result.metrics)}."
    )


def _listed(values: Sequence[Label]) -> str:
    shown = ", ".join(repr(value) for value in values[:_MOST_LABELS])
    return shown + (f" and {len(values) - _MOST_LABELS} more" if len(values) > _MOST_LABELS else "")
