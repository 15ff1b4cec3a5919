"""The estimators that can be chosen by name, and how they are built and fitted."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from training import boosters
from training.boosters import loaded
from training.errors import BadInputError
from training.kinds import Column, plain
from training.preparation import CENTRE, PREPARE, SCALE, SINGLE, preparation
from training.settings import Scalar, Task, suggestion


class ModelSpec(Struct, frozen=True):
    """An estimator by name.

    Attributes:
        estimators: The class for each supported task; a name if its package may not be installed.
        defaults: Parameters that differ from scikit-learn's defaults.
        scale: Whether it needs standardised features.
        trusted_types: Types that skops may construct, in addition to those that it trusts by itself.
    """

    estimators: Mapping[Task, Callable[..., BaseEstimator] | str]
    defaults: Mapping[str, Scalar] = {}
    scale: bool = False
    trusted_types: tuple[str, ...] = ()


_TREES = ("sklearn.tree._tree.Tree",)
_HISTOGRAMS = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
MODELS = {
    "logistic-regression": ModelSpec({"classification": LogisticRegression}, {"max_iter": 1000}, scale=True),
    "ridge": ModelSpec({"regression": Ridge}, scale=True),
    "random-forest": ModelSpec(
        {"classification": RandomForestClassifier, "regression": RandomForestRegressor},
        trusted_types=_TREES,
    ),
    "extra-trees": ModelSpec(
        {"classification": ExtraTreesClassifier, "regression": ExtraTreesRegressor}, trusted_types=_TREES
    ),
    "hist-gradient-boosting": ModelSpec(
        {"classification": HistGradientBoostingClassifier, "regression": HistGradientBoostingRegressor},
        trusted_types=_HISTOGRAMS,
    ),
    "lightgbm": ModelSpec(
        {"classification": "lightgbm.LGBMClassifier", "regression": "lightgbm.LGBMRegressor"},
        {"verbose": -1, "deterministic": True, "force_col_wise": True},
    ),
    "xgboost": ModelSpec({"classification": "xgboost.XGBClassifier", "regression": "xgboost.XGBRegressor"}),
    "catboost": ModelSpec(
        {"classification": "catboost.CatBoostClassifier", "regression": "catboost.CatBoostRegressor"},
        {"verbose": False, "allow_writing_files": False},
    ),
    # The penalty that is scikit-learn's default shrinks most coefficients to zero.
    "quantile": ModelSpec({"regression": QuantileRegressor}, {"alpha": 0.0}, scale=True),
    "quantile-boosting": ModelSpec(
        {"regression": HistGradientBoostingRegressor}, {"loss": "quantile", "quantile": 0.5}, trusted_types=_HISTOGRAMS
    ),
}
# An imputer keeps the type of the numbers that it was fitted on.
_TRUSTED_IN_PREPARATION = ("numpy.dtype",)
# Plain parts of estimators that a model's own code may use. Serving loads them as well.
_TRUSTED_IN_OWN_CODE = (
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.utils._bunch.Bunch",
)
# What searches and tuned thresholds keep of their scoring. Predictions call none of it.
_TRUSTED_IN_SEARCHES = (
    *(f"sklearn.model_selection._split.{name}" for name in ("KFold", "StratifiedKFold")),
    *(f"sklearn.metrics._scorer.{name}" for name in ("_CurveScorer", "_PassthroughScorer", "_Scorer")),
    *(f"sklearn.utils._metadata_requests.{name}" for name in ("MetadataRequest", "MethodMetadataRequest")),
    *(
        f"sklearn.metrics._classification.{name}_score"
        for name in ("accuracy", "balanced_accuracy", "f1", "fbeta", "jaccard", "precision", "recall")
    ),
    "sklearn.metrics._classification.matthews_corrcoef",
)
TRUSTED_TYPES = sorted(
    {
        *_TRUSTED_IN_PREPARATION,
        *boosters.TRUSTED_TYPES,
        *_TRUSTED_IN_OWN_CODE,
        *_TRUSTED_IN_SEARCHES,
        *(name for spec in MODELS.values() for name in spec.trusted_types),
    }
)


def default_model(task: Task) -> str:
    """Return the simplest model of a task."""
    return "logistic-regression" if task == "classification" else "ridge"


def build(
    model: str,
    task: Task,
    params: Mapping[str, Scalar],
    seed: int,
    columns: Sequence[Column] = (),
    *,
    centre: bool = False,
) -> Pipeline:
    """Build an unfitted pipeline; with `centre`, it first subtracts the median of every number, in float64.

    If columns have gaps or texts, it begins with a step `prepare`, which fills gaps and encodes texts.

    Raises:
        BadInputError: There is no such model, it cannot do the task, or it has no such parameter.
    """
    able = [name for name, spec in MODELS.items() if task in spec.estimators]
    if model not in able:
        what = f"does {'/'.join(MODELS[model].estimators)}" if model in MODELS else "is not known"
        raise BadInputError(
            f"--model: {model!r} {what}; for {task} there is {', '.join(able)}.{suggestion(model, able)}"
        )
    spec = MODELS[model]
    kind = spec.estimators[task]
    kind = loaded(kind) if isinstance(kind, str) else kind
    known = sorted({*inspect.signature(kind).parameters, *kind().get_params()} - {"kwargs"})
    seeded = {"random_state": seed} if "random_state" in known else {}
    known = [name for name in known if name != "random_state"]
    for name in params:
        if name == "random_state":
            raise BadInputError("--param: 'random_state' is set by --seed.")
        if name not in known:
            raise BadInputError(
                f"--param: {model} has no parameter {name!r}.{suggestion(name, known)} It has {', '.join(known)}."
            )
    estimator = kind(**{**spec.defaults, **params, **seeded})
    steps: list[tuple[str, BaseEstimator]] = [("model", estimator)]
    if spec.scale and plain(columns):
        steps.insert(0, (SCALE, StandardScaler()))
    return prepared(Pipeline(steps), columns, centre=centre, scale=spec.scale)


def prepared(pipeline: Pipeline, columns: Sequence[Column], *, centre: bool, scale: bool = False) -> Pipeline:
    """Return a pipeline behind the steps that turn its columns into numbers without gaps, if they need such steps.

    Args:
        pipeline: Unfitted.
        columns: The columns of the rows.
        centre: Whether to subtract the median of every number first, in float64.
        scale: Whether the preparation standardises the numbers.
    """
    if not plain(columns):
        return Pipeline([(PREPARE, preparation(columns, centre=centre, scale=scale)), *pipeline.steps])
    if centre:
        # The differences are rarely float32 values, and the twin continues in float32.
        first = [(CENTRE, RobustScaler(with_scaling=False)), (SINGLE, FunctionTransformer(np.float32))]
        return Pipeline([*first, *pipeline.steps])
    return pipeline


def fit(pipeline: Pipeline, rows: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> list[str]:
    """Fit a pipeline in place; `weights`, shape [rows], are the rows' weights.

    Returns:
        The estimator's warnings, such as a solver that did not converge.

    Raises:
        BadInputError: The estimator refuses its parameters.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pipeline.fit(rows, truth, **fit_parameters(pipeline, weights))
        except Exception as error:
            if not boosters.is_refusal(error):
                raise
            name = type(pipeline[-1]).__name__
            raise BadInputError(f"{name} cannot be fitted: {' '.join(str(error).split())}") from error
    return [
        f"{type(pipeline[-1]).__name__}: {str(warning.message).splitlines()[0]}"
        for warning in caught
        if issubclass(warning.category, UserWarning | ConvergenceWarning)
    ]


def fit_parameters(pipeline: Pipeline, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return the arguments of `fit` in addition to rows and truth.

    Raises:
        BadInputError: The estimator takes no weights.
    """
    if weights is None:
        return {}
    name, estimator = pipeline.steps[-1]
    if not has_fit_parameter(estimator, "sample_weight"):
        raise BadInputError(f"weights, class_weights: {type(estimator).__name__} does not support weights of rows.")
    return {f"{name}__sample_weight": weights}


def quantile_of(pipeline: Pipeline) -> float | None:
    """Return the quantile of the target that a pipeline predicts, if it predicts one."""
    values = pipeline[-1].get_params(deep=False)
    # The names in LightGBM and XGBoost.
    told = {"quantile": "alpha", "reg:quantileerror": "quantile_alpha"}.get(str(values.get("objective")))
    if told:
        return _share(values.get(told))
    if values.get("loss", "quantile") != "quantile":
        return None
    # GradientBoostingRegressor calls it `alpha`.
    found = values.get("quantile", values.get("alpha") if "loss" in values else None)
    return _share(found)


def _share(value: Any) -> float | None:
    """Return a quantile if the value is a number; the estimator itself refuses other values."""
    return float(value) if isinstance(value, int | float) else None


def parameters(pipeline: Pipeline) -> dict[str, Any]:
    """Return the estimator's parameters, both set and default."""
    values: dict[str, Any] = pipeline[-1].get_params(deep=False)
    return values
