"""Judge a stored model again: a registered version, or a model that a run logged."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from modelformat.digest import CURRENT, OLD_RULE, content_digest, is_digest, rule_of
from training import metrics
from training.addresses import named
from training.bundle import Bundle, BundleError
from training.champion import loaded_champion
from training.checks import Check
from training.data import Dataset, load
from training.errors import BadInputError
from training.gate import GateReport, columns_check, duplicates_check, judge, verify_settings
from training.long_parameters import whole
from training.model_folder import load_settings
from training.registry import Registry, Version
from training.settings import ColumnSettings, CsvSettings, Kind, OutcomesSettings, SplitSettings
from training.split import split_dataset
from training.steps import Silent, Steps
from training.tracking import Tracking

# The parameters that a run records and an evaluation reuses, so that it judges on the same held-out rows.
_RECORDED: Mapping[str, type] = {
    "data": str, "query": str, "weights": str, "target": str, "task": str, "seed": int, "test_size": float, "cv": int,
}  # fmt: skip
_RECORDED_AS_JSON: Mapping[str, Any] = {
    "csv": CsvSettings, "split": SplitSettings, "outcomes": OutcomesSettings, "columns": dict[str, ColumnSettings],
}  # fmt: skip
_OF_THE_SOURCE = ("query", "outcomes")
_REFERENCE = re.compile(r"(?:models:/)?(?P<name>[^@/:]+)[@/](?P<version>[^@/]+)")
_RUN = re.compile(r"runs:/(?P<run>[0-9a-zA-Z_-]+)")


class EvaluationResult(Struct, frozen=True, kw_only=True):
    """The result of an evaluation; the fields of a registered version are null for a run's model."""

    model: str
    name: str | None
    version: str | None
    release: str | None
    digest: str
    data: str
    data_sha256: str
    same_data: bool
    metrics: dict[str, float]
    gate: GateReport


class _Stored(Struct, frozen=True):
    """A model that was found: its address in MLflow, its run, and its version if it is registered."""

    uri: str
    run_id: str | None
    version: Version | None


def evaluate(
    reference: str, overrides: Mapping[str, Any], model_dir: Path | None = None, steps: Steps | None = None
) -> EvaluationResult:
    """Evaluate a stored model on held-out rows, by default those of its own training run.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, `NAME/RELEASE` or `runs:/RUN_ID`.
        overrides: As for `load_settings`; data, target, task, seed and test size come from the model's run by default.
        model_dir: A model's folder, whose training.yaml gives settings.
        steps: Shows the progress.

    Raises:
        BadInputError: There is no such model, or the data does not fit it.
        OutageError: MLflow does not answer.
    """
    steps = steps or Silent()
    asked = load_settings(overrides, model_dir)
    tracking = Tracking(asked.tracking_uri)
    registry = Registry(tracking)
    with steps.step("find") as step:
        stored = _found(reference, tracking, registry)
        step.outcome = stored.version.title if stored.version else stored.uri
    recorded = registry.run_data(stored.run_id)[0]
    defaults = _as_settings(recorded)
    if ("data" in overrides or model_dir is not None) and named(asked.data) != defaults.get("data"):
        # These select the rows of the run's own source, and mean nothing for another source.
        defaults = {name: value for name, value in defaults.items() if name not in _OF_THE_SOURCE}
    settings = load_settings(overrides, model_dir, defaults=defaults)
    with steps.step("load") as step:
        dataset = load(settings)
        split = split_dataset(dataset, seed=settings.seed, test_size=settings.test_size)
        step.outcome = f"{dataset.source}: {len(split.test_rows)} of {len(dataset.rows)} rows"
    for note in dataset.warnings:
        steps.note(note)
    same_data = recorded.get("data_sha256") == dataset.sha256
    if not same_data:
        steps.note(
            f"{dataset.source} differs from the data that the model was trained on; the model may have learned from "
            "some of these rows."
        )
    name = stored.version.name if stored.version else None
    with steps.step("gate") as step, tracking.downloaded(stored.uri) as folder:
        registered = stored.version.digest if stored.version else None
        digest = content_digest(folder, rule_of(registered) if registered and is_digest(registered) else CURRENT)
        intact = _intact(stored.version, digest)
        if intact.passed:
            bundle = _opened(folder, stored)
            _refuse_other_contract(bundle, dataset)
            verify_settings(settings.gate, dataset, bundle.quantile, probable=bundle.contract.probabilities)
            measured = metrics.measure(
                bundle.twin.scores(split.test_rows), split.test_truth, dataset.classes, bundle.quantile
            )
            with loaded_champion(tracking, registry, name, settings.gate.champion) as champion:
                extra = [intact, columns_check(dataset, settings.gate)]
                if same_data:
                    # For other data, the rows that the model learned from are not known.
                    extra.append(duplicates_check(split, settings.gate))
                report = judge(bundle, split, settings.gate, champion, extra=extra)
        else:
            # Content that was changed after registration is not even loaded.
            measured, report = {}, GateReport(False, (intact,))
        step.outcome = report.headline()
    return EvaluationResult(
        model=stored.uri,
        name=name,
        version=stored.version.version if stored.version else None,
        release=stored.version.release if stored.version else None,
        digest=digest,
        data=dataset.source,
        data_sha256=dataset.sha256,
        same_data=same_data,
        metrics=measured,
        gate=report,
    )


def _found(reference: str, tracking: Tracking, registry: Registry) -> _Stored:
    run = _RUN.fullmatch(reference)
    if run:
        return _Stored(f"models:/{tracking.model_of_run(run['run'])}", run["run"], None)
    registered = _REFERENCE.fullmatch(reference)
    if not registered:
        raise BadInputError(f"{reference!r} is not of the form NAME@ALIAS, NAME/VERSION, NAME/RELEASE or runs:/RUN_ID.")
    version = registry.find(registered["name"], registered["version"])
    return _Stored(version.uri, version.run_id, version)


def _as_settings(recorded: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = {name: kind(whole(recorded, name)) for name, kind in _RECORDED.items() if name in recorded}
        for name, kind in _RECORDED_AS_JSON.items():
            if name in recorded:
                found[name] = msgspec.to_builtins(msgspec.json.decode(whole(recorded, name), type=kind))
    except (ValueError, msgspec.DecodeError):
        # A run from elsewhere may have parameters of these names with another meaning.
        return {}
    return found


def _opened(folder: Path, stored: _Stored) -> Bundle:
    try:
        return Bundle(folder)
    except BundleError as error:
        raise BadInputError(f"{stored.uri} cannot be evaluated: {error}.") from error


def _refuse_other_contract(bundle: Bundle, dataset: Dataset) -> None:
    if bundle.features != dataset.features:
        raise BadInputError(
            f"{dataset.source} has the features {', '.join(dataset.features)}; the model expects "
            f"{', '.join(bundle.features)}, in this order."
        )
    wrong = []
    for column, (kind, optional) in zip(dataset.columns, bundle.kinds, strict=True):
        if not _takes(kind, column.kind) or (column.optional and not optional):
            here, there = (" with gaps" if gaps else " without gaps" for gaps in (column.optional, optional))
            wrong.append(
                f"{dataset.source}: column {column.name!r} is of kind {column.kind}{here}; the model takes "
                f"{kind}{there}. `columns` in training.yaml sets the kind of a column."
            )
    if wrong:
        raise BadInputError("\n".join(wrong))
    if bundle.contract.classes != dataset.classes:
        raise BadInputError(
            f"{dataset.source} has the classes {dataset.classes or 'of a regression'}; the model knows "
            f"{bundle.contract.classes or 'none'}."
        )


def _takes(wanted: Kind, given: Kind) -> bool:
    """Return whether a model that learned from one kind of values can predict another."""
    return wanted == given or {wanted, given} <= {"number", "integer", "boolean"}


def _intact(version: Version | None, digest: str) -> Check:
    if version is None:
        return Check(name="digest", passed=True, detail=f"{digest}, not registered")
    same = version.digest == digest
    detail = digest if same else f"{digest}, registered as {version.digest}"
    if rule_of(digest) != CURRENT:
        detail += f"; {OLD_RULE}"
    return Check(name="digest", passed=same, detail=detail)
