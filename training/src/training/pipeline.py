"""The steps from data to a registered model."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct
from sklearn.pipeline import Pipeline

from modelformat.baseline import Baseline
from modelformat.mlmodel import Labels
from modelformat.tags import DIGEST, FAILED, GATE, PASSED, REASON, RELEASE, SETTINGS
from training import metrics, models, plots
from training.addresses import named
from training.baseline import measure_baseline
from training.boosters import is_refusal, learnt_truth, predicted_labels
from training.bundle import Bundle, BundleWriter
from training.card import Subject, card
from training.champion import loaded_champion
from training.contributions import mean_contributions
from training.data import Dataset, default_model_name, load
from training.errors import BadInputError, OutageError
from training.gate import GateReport, columns_check, duplicates_check, judge, verify_settings
from training.labels import has_probabilities, places_of, rule_of
from training.long_parameters import in_parts
from training.onnx_twin import Twin, to_onnx
from training.own_code import build_own, refuse_untrusted
from training.registry import Registry, Version
from training.settings import CsvSettings, OutcomesSettings, Scalar, Settings, SplitSettings
from training.split import Split, split_dataset
from training.steps import Silent, Steps, headline
from training.tracking import Tracking, git_commit

if TYPE_CHECKING:
    from training.search import Trial


class RunResult(Struct, frozen=True, kw_only=True):
    """The result of a run; `version`, `release` and `uri` are null if the gate failed.

    `uri` is the folder's place in the artifact store, `source` its address in MLflow. `notes` are sentences about
    problems that did not stop the run.
    """

    registered: bool
    name: str
    version: str | None
    release: str | None
    aliases: tuple[str, ...]
    digest: str
    uri: str | None
    source: str
    run_id: str
    model_id: str
    experiment: str
    tracking_uri: str
    data: str
    data_sha256: str
    model: str
    metrics: dict[str, float]
    notes: tuple[str, ...]
    gate: GateReport
    seconds: float


class Plan(Struct, frozen=True, eq=False):
    """A run whose input is usable, and whose pipeline is not fitted yet."""

    settings: Settings
    dataset: Dataset
    split: Split
    pipeline: Pipeline
    model: str
    name: str

    @property
    def experiment(self) -> str:
        """The MLflow experiment that records the run."""
        return self.settings.experiment or self.name


class Trained(Struct, frozen=True, eq=False):
    """The ONNX twin of the fitted pipeline, its scores and metrics on the held-out rows, and the metrics over folds.

    `labels` is how it decides labels, `baseline` the distribution of rows and answers, `notes` the warnings of the fit.
    """

    twin: bytes
    labels: Labels
    baseline: Baseline
    scores: np.ndarray
    metrics: dict[str, float]
    cross_validation: dict[str, float]
    notes: tuple[str, ...]


class Occasion(Struct, frozen=True, kw_only=True):
    """Why a model is trained, in a sentence, and with which settings, as a hash for each; empty if not given."""

    reason: str = ""
    settings: Mapping[str, str] = {}

    def tags(self) -> dict[str, str]:
        """Return the tags of a version that is trained for this reason."""
        settings = msgspec.json.encode(self.settings, order="deterministic").decode()
        return {**({REASON: self.reason} if self.reason else {}), **({SETTINGS: settings} if self.settings else {})}


def train_and_register(settings: Settings, steps: Steps | None = None, occasion: Occasion | None = None) -> RunResult:
    """Load, split, train, evaluate, record, gate and register.

    A failed gate is not an error: the run is recorded, nothing is registered, and the result says which checks failed.

    Args:
        settings: What to train.
        steps: Shows the progress.
        occasion: Why the model is trained.

    Raises:
        BadInputError: Data, model or settings cannot be used; nothing was recorded.
        OutageError: MLflow does not answer; nothing was registered.
    """
    started = time.monotonic()
    steps = steps or Silent()
    plan = prepare(settings, steps)
    tracking = Tracking(settings.tracking_uri)
    tracking.check()
    registry = Registry(tracking)
    plan, trials = searched(plan, steps)
    trained = train(plan, steps)
    version: Version | None = None
    with tracking.run(plan.experiment) as run_id:
        with steps.step("record") as step:
            writer = BundleWriter(plan.pipeline, trained.twin, trained.baseline, plan.dataset, trained.labels)
            model_id = _record(tracking, plan, trained, writer)
            tracking.record_trials(trials, run_id)
            step.outcome = f"run {run_id} of experiment {plan.experiment} at {tracking.address}"
        with steps.step("gate") as step, tracking.downloaded(f"models:/{model_id}") as folder:
            bundle = Bundle(folder)
            digest, contract = bundle.digest(), bundle.contract
            if digest != writer.digest:
                raise OutageError(
                    f"The artifact store returned different bytes for models:/{model_id} than were uploaded."
                )
            with loaded_champion(tracking, registry, plan.name, settings.gate.champion) as champion:
                report = judge(
                    bundle,
                    plan.split,
                    settings.gate,
                    champion,
                    extra=[columns_check(plan.dataset, settings.gate), duplicates_check(plan.split, settings.gate)],
                )
            step.outcome = report.headline()
        tags = {DIGEST: digest, GATE: PASSED if report.passed else FAILED, **(occasion or Occasion()).tags()}
        release = registry.next_release(plan.name, contract) if report.passed else ""
        tracking.record_verdict(model_id, report, tags)
        subject = _subject(plan, trained, report, run_id, release)
        tracking.record_figures(plots.contributions(subject.contributions))
        tracking.record_card(card(subject))
        if report.passed:
            with steps.step("register") as step:
                tags[RELEASE] = release
                version = registry.register(plan.name, model_id, run_id, tags, _description(plan, trained, tracking))
                step.outcome = f"{version.title}, alias {', '.join(version.aliases)}"
    return RunResult(
        registered=version is not None,
        name=plan.name,
        version=version.version if version else None,
        release=version.release if version else None,
        aliases=version.aliases if version else (),
        digest=digest,
        uri=registry.artifact_uri(version) if version else None,
        source=version.uri if version else f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        experiment=plan.experiment,
        tracking_uri=tracking.address,
        data=plan.dataset.source,
        data_sha256=plan.dataset.sha256,
        model=plan.model,
        metrics=trained.metrics,
        notes=(*plan.dataset.warnings, *trained.notes),
        gate=report,
        seconds=round(time.monotonic() - started, 3),
    )


def prepare(settings: Settings, steps: Steps) -> Plan:
    """Load and split the data, and build the unfitted model.

    Raises:
        BadInputError: An input cannot be used.
    """
    with steps.step("load") as step:
        dataset = load(settings)
        name = settings.name or default_model_name(dataset)
        model, pipeline = _unfitted(settings, dataset)
        quantile = models.quantile_of(pipeline) if not dataset.classes else None
        verify_settings(settings.gate, dataset, quantile, probable=has_probabilities(pipeline))
        step.outcome = (
            f"{dataset.source}: {len(dataset.rows)} rows, {len(dataset.features)} features, "
            f"{dataset.task} of {dataset.target}" + (f" ({len(dataset.classes)} classes)" if dataset.classes else "")
        )
    for note in dataset.warnings:
        steps.note(note)
    with steps.step("split") as step:
        split = split_dataset(
            dataset,
            seed=settings.seed,
            test_size=settings.test_size,
            folds=settings.cv,
            class_weights=settings.class_weights,
        )
        models.fit_parameters(pipeline, split.train_weights)
        step.outcome = f"{len(split.train_rows)} training rows, {len(split.test_rows)} held out"
    return Plan(settings, dataset, split, pipeline, model, name)


def _unfitted(settings: Settings, dataset: Dataset) -> tuple[str, Pipeline]:
    """Return the model's name, and its pipeline."""
    centre = bool(dataset.centred)
    if settings.code:
        path = Path(settings.code)
        own = build_own(path, dataset.task, settings.params, settings.seed, dataset.columns)
        return path.name, models.prepared(own, dataset.columns, centre=centre)
    model = settings.model or models.default_model(dataset.task)
    return model, models.build(model, dataset.task, settings.params, settings.seed, dataset.columns, centre=centre)


def searched(plan: Plan, steps: Steps) -> "tuple[Plan, tuple[Trial, ...]]":
    """Return the plan with the best parameters of its search, and the trials; without a search, the plan as it is.

    Raises:
        BadInputError: A parameter is not known, or no trial could be fitted.
    """
    settings, dataset = plan.settings, plan.dataset
    if settings.search is None:
        return plan, ()

    def build(params: Mapping[str, Scalar]) -> Pipeline:
        given = msgspec.structs.replace(settings, params={**settings.params, **params})
        return _unfitted(given, dataset)[1]

    with steps.step("search") as step:
        from training.search import search  # noqa: PLC0415 # Optuna takes a while to load

        found = search(settings.search, build, plan.split, dataset, folds=settings.cv, seed=settings.seed)
        best = ", ".join(f"{name} {value}" for name, value in found.params.items())
        step.outcome = f"{len(found.trials)} trials; {best} reaches {found.metric} {found.best:.4g} over folds"
    settings = msgspec.structs.replace(settings, params={**settings.params, **found.params})
    plan = msgspec.structs.replace(plan, settings=settings, pipeline=_unfitted(settings, dataset)[1])
    return plan, found.trials


def train(plan: Plan, steps: Steps) -> Trained:
    """Fit the plan's pipeline, convert and measure it.

    Raises:
        BadInputError: The estimator refuses its parameters, or its predictions are not finite.
    """
    split, dataset, settings = plan.split, plan.dataset, plan.settings
    with steps.step("train") as step:
        truth = learnt_truth(plan.pipeline, split.train_truth, dataset.classes)
        notes = models.fit(plan.pipeline, split.train_rows, truth, split.train_weights)
        if settings.code:
            refuse_untrusted(plan.pipeline, models.TRUSTED_TYPES, settings.code)
        labels = _labels(plan)
        twin = to_onnx(plan.pipeline, dataset.columns, classifier=bool(dataset.classes), labels=labels)
        step.outcome = f"{plan.model}, seed {settings.seed}"
    for note in notes:
        steps.note(note)
    with steps.step("evaluate") as step:
        cross_validation = _over_folds(plan, truth)
        # Measured on the twin, because that is what serving runs.
        scores = Twin(twin, labels).scores(split.test_rows)
        if not np.isfinite(scores).all():
            raise BadInputError(
                f"{dataset.source}: {plan.model} overflows float32 on these rows; rescale the largest features."
            )
        quantile = None if dataset.classes else models.quantile_of(plan.pipeline)
        measured = metrics.measure(scores, split.test_truth, dataset.classes, quantile)
        step.outcome = headline(measured)
    baseline = measure_baseline(dataset.columns, split.train_rows, scores, dataset.classes)
    return Trained(twin, labels, baseline, scores, measured, cross_validation, tuple(notes))


def _over_folds(plan: Plan, truth: np.ndarray) -> dict[str, float]:
    """Return the metrics over folds of the training rows.

    Raises:
        BadInputError: The estimator refuses the rows of a fold, which has fewer rows.
    """
    split, settings = plan.split, plan.settings
    try:
        return metrics.cross_validated(
            plan.pipeline,
            split.train_rows,
            truth,
            plan.dataset.task,
            folds=split.folds or settings.cv,
            seed=settings.seed,
            weights=split.train_weights,
        )
    except Exception as error:
        if not is_refusal(error):
            raise
        raise BadInputError(
            f"{plan.dataset.source}: {plan.model} takes all rows to learn from, but not those of a fold: "
            f"{' '.join(str(error).split())[:300]} Change its parameters or --cv, which is 0 for no folds."
        ) from error


def _labels(plan: Plan) -> Labels:
    """Return how a fitted pipeline decides labels, judged by its answers for the training rows."""
    if not plan.dataset.classes:
        return "largest"
    rows, classes = plan.split.train_rows, plan.dataset.classes
    probable = np.asarray(plan.pipeline.predict_proba(rows)) if has_probabilities(plan.pipeline) else None
    return rule_of(
        plan.pipeline, probable, places_of(predicted_labels(plan.pipeline, rows, np.asarray(classes)), classes)
    )


def _record(tracking: Tracking, plan: Plan, trained: Trained, writer: BundleWriter) -> str:
    settings = plan.settings
    parameters = {f"model.{name}": value for name, value in models.parameters(plan.pipeline).items()}
    parameters |= {"model": plan.model, "seed": settings.seed, "test_size": settings.test_size, "cv": settings.cv}
    if settings.csv != CsvSettings():
        parameters["csv"] = msgspec.json.encode(settings.csv).decode()
    if settings.query:
        parameters["query"] = settings.query
    if plan.dataset.times is not None:
        # Without enough rows in the log, the data comes from another source.
        parameters["outcomes"] = msgspec.json.encode(_kept(settings.outcomes)).decode()
    # A column that was not set aside must not be recorded: an evaluation would look for it.
    by = settings.split if "time" in plan.dataset.aside else msgspec.structs.replace(settings.split, time=None)
    settings = msgspec.structs.replace(settings, split=by)
    for name in ("split", "weights", "class_weights", "search"):
        value = getattr(settings, name)
        if value not in (None, SplitSettings()):
            parameters[name] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if settings.code:
        tracking.record_file(Path(settings.code))
    if settings.columns:
        parameters["columns"] = msgspec.json.encode(settings.columns).decode()
    tracking.record_data(plan.dataset, held_out=len(plan.split.test_rows))
    tracking.record_run(in_parts(parameters), trained.metrics | trained.cross_validation)
    tracking.record_figures(plots.figures(trained.scores, plan.split.test_truth, plan.dataset.classes))
    return tracking.record_model(writer)


def _kept(outcomes: OutcomesSettings | None) -> OutcomesSettings | None:
    """Return settings without the query strings of addresses, which may be signatures."""
    if outcomes is None:
        return None
    start = outcomes.start and named(outcomes.start)
    return msgspec.structs.replace(outcomes, truth=list(map(named, outcomes.truth)), start=start)


def _subject(plan: Plan, trained: Trained, report: GateReport, run_id: str, release: str) -> Subject:
    """Return the subject of the card."""
    dataset, split, twin = plan.dataset, plan.split, Twin(trained.twin, trained.labels)
    return Subject(
        name=plan.name,
        model=plan.model,
        release=release,
        run_id=run_id,
        dataset=dataset,
        split=split,
        twin=twin,
        scores=trained.scores,
        metrics=trained.metrics,
        quantile=None if dataset.classes else models.quantile_of(plan.pipeline),
        report=report,
        notes=(*dataset.warnings, *trained.notes),
        readme=plan.settings.readme or "",
        contributions=mean_contributions(twin, dataset.columns, dataset.classes, trained.baseline, split.test_rows),
    )


def _description(plan: Plan, trained: Trained, tracking: Tracking) -> str:
    dataset, commit = plan.dataset, git_commit()
    return (
        f"{plan.model} that predicts {dataset.target} from {len(dataset.features)} features. "
        f"Data: {dataset.source}, {len(dataset.rows)} rows (sha256 {dataset.sha256[:12]}). "
        f"Held-out rows: {headline(trained.metrics)}. {tracking.card_link()}"
        + (f" Commit: {commit[:12]}." if commit else "")
    )
