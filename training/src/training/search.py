"""Search for better parameters, by cross-validation on the training rows alone."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from msgspec import Struct
from sklearn.pipeline import Pipeline

from training import metrics, models
from training.boosters import is_refusal, learnt_truth
from training.data import Dataset
from training.errors import BadInputError
from training.labels import has_probabilities
from training.settings import Range, Scalar, SearchSettings, suggestion
from training.split import Split

_FEWEST_FOLDS = 2


class Trial(Struct, frozen=True):
    """One set of parameters that was tried; times are in milliseconds since 1970.

    If it has no figures, `problem` says why.
    """

    params: dict[str, Scalar]
    figures: dict[str, float]
    started: int
    ended: int
    problem: str = ""


class Found(Struct, frozen=True):
    """The result of a search: the best parameters, the metric and its value, and every trial in its order."""

    params: dict[str, Scalar]
    metric: str
    best: float
    trials: tuple[Trial, ...]


def search(
    settings: SearchSettings,
    build: Callable[[Mapping[str, Scalar]], Pipeline],
    split: Split,
    dataset: Dataset,
    *,
    folds: int,
    seed: int,
) -> Found:
    """Try sets of parameters until the trials or the time are used up.

    Args:
        settings: What to try, how often and for how long; a trial that has started is finished.
        build: Builds an unfitted pipeline with parameters.
        split: The training rows; the held-out rows are not used.
        dataset: The data, for its task and classes.
        folds: The number of cross-validation folds.
        seed: The seed of the choice of parameters and of the folds.

    Raises:
        BadInputError: A parameter or metric does not exist, there are no folds, or every trial failed.
    """
    if folds < _FEWEST_FOLDS:
        raise BadInputError("search: trials are compared by cross-validation; set cv (--cv) to 2 or more.")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task, classes = dataset.task, dataset.classes
    plain = build({})
    quantile = models.quantile_of(plain) if task == "regression" else None
    metric = settings.metric or metrics.champion_metric(task, quantile)
    known = metrics.folds_metrics(task, quantile, probable=has_probabilities(plain))
    if metric not in known:
        raise BadInputError(
            f"search.metric: no metric {metric!r} over folds.{suggestion(metric, known)} There are {', '.join(known)}."
        )
    trials: list[Trial] = []

    def tried(trial: optuna.Trial) -> float:
        params = {name: _suggested(trial, name, choice) for name, choice in settings.params.items()}
        pipeline, started = build(params), _now()
        try:
            figures = metrics.cross_validated(
                pipeline,
                split.train_rows,
                learnt_truth(pipeline, split.train_truth, classes),
                task,
                folds=split.folds or folds,
                seed=seed,
                weights=split.train_weights,
            )
        except Exception as error:
            if not is_refusal(error):
                raise
            trials.append(Trial(params, {}, started, _now(), " ".join(str(error).split())[:300]))
            raise optuna.TrialPruned from error
        trials.append(Trial(params, figures, started, _now()))
        return figures[f"cv_{metric}_mean"]

    study = optuna.create_study(
        direction="minimize" if metric in metrics.LOWER_IS_BETTER else "maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    study.optimize(tried, n_trials=settings.trials, timeout=settings.seconds)
    if not any(trial.figures for trial in trials):
        raise BadInputError(f"search: none of {len(trials)} trials could be fitted: {trials[-1].problem}")
    return Found(study.best_params, metric, study.best_value, tuple(trials))


def _suggested(trial: optuna.Trial, name: str, choice: list[Scalar] | Range) -> Any:
    if isinstance(choice, list):
        return trial.suggest_categorical(name, choice)
    if isinstance(choice.low, int) and isinstance(choice.high, int):
        return trial.suggest_int(name, choice.low, choice.high, log=choice.log)
    return trial.suggest_float(name, choice.low, choice.high, log=choice.log)


def _now() -> int:
    return int(time.time() * 1000)
