"""A fitted estimator's task, classes, columns and answers."""

import copy
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import ColumnTransformer

from modelformat.mlmodel import Label, Task
from training.labels import has_probabilities, parts
from training.registering.errors import UnfitError
from training.registering.graphs import GraphModel

# The names that libraries give to columns without names.
_NO_NAMES = re.compile(r"Column_\d+|\d+|f\d+")


class Answers(Struct, frozen=True, eq=False):
    """A model's answers: for each row the place of its class (-1: none) or a value (NaN: none), and probabilities."""

    codes: np.ndarray | None
    values: np.ndarray | None
    probabilities: np.ndarray | None

    @property
    def answered(self) -> np.ndarray:
        """Whether each row has an answer; shape [rows]."""
        if self.codes is not None:
            known: np.ndarray = self.codes >= 0
            return known
        finite: np.ndarray = np.isfinite(np.asarray(self.values))
        return finite


def task_of(model: Any) -> Task:
    """Return whether a model classifies or predicts numbers.

    Raises:
        UnfitError: It does neither.
    """
    if not callable(getattr(model, "predict", None)):
        raise UnfitError(f"the {type(model).__name__} has no predict")
    if isinstance(model, GraphModel):
        return model.task
    try:
        regressor, classifier = is_regressor(model), is_classifier(model)
    except AttributeError:
        raise UnfitError(
            f"the {type(model).__name__} is not an estimator of scikit-learn; for a Booster, use its library's "
            "estimators, such as LGBMClassifier or XGBClassifier"
        ) from None
    if classifier or (hasattr(model, "classes_") and not regressor):
        return "classification"
    if regressor:
        return "regression"
    raise UnfitError(f"the {type(model).__name__} is neither a classifier nor a regressor")


def classes_of(model: Any) -> tuple[Label, ...]:
    """Return the labels in the order of the probabilities.

    Raises:
        UnfitError: It is not fitted, there are several outputs, or the labels have a type that JSON cannot hold.
    """
    found = getattr(model, "classes_", None)
    if found is None:
        raise UnfitError(f"the {type(model).__name__} has no classes_, as if it was never fitted")
    if any(np.ndim(labels) for labels in found):
        raise UnfitError(f"the {type(model).__name__} has several outputs; register a model for each of them")
    labels = [label.item() if hasattr(label, "item") else label for label in found]
    if all(isinstance(label, float) and label.is_integer() for label in labels):
        labels = [int(label) for label in labels]
    wrong = [label for label in labels if not isinstance(label, bool | int | str)]
    if wrong:
        raise UnfitError(f"its class {wrong[0]!r} is neither text, nor a whole number, nor a boolean")
    if len(labels) < 2:
        raise UnfitError(f"it knows only one class, {labels}")
    return tuple(labels)


def names_of(model: Any) -> list[str] | None:
    """Return the names of the columns that a model was fitted on, if it was fitted on a table."""
    for name in ("feature_names_in_", "feature_names_"):
        try:
            found = getattr(model, name, None)
        except Exception:  # noqa: BLE001  (for some models it is a property that raises)
            found = None
        if found is not None and len(found):
            names = [str(each) for each in found]
            return None if all(_NO_NAMES.fullmatch(each) for each in names) else names
    return None


def width_of(model: Any) -> int | None:
    """Return the number of columns that a model takes, if it says so."""
    try:
        return int(model.n_features_in_)
    except Exception:  # noqa: BLE001  (as above)
        return None


def answers(model: Any, given: Any, classes: Sequence[Label]) -> Answers:
    """Return the model's answers to all rows.

    Raises:
        Exception: Whatever the model raises if it cannot answer one of them.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = np.asarray(model.predict(given))
        if found.ndim > 1 and found.shape[1] > 1:
            raise UnfitError(f"the {type(model).__name__} has several outputs; register a model for each of them")
        found = found.reshape(-1)
        if not classes:
            return Answers(None, found.astype(np.float64), None)
        places = {label: place for place, label in enumerate(classes)}
        codes = np.array([places.get(_label(value), -1) for value in found.tolist()], dtype=np.int64)
        probabilities = np.asarray(model.predict_proba(given), dtype=np.float64) if has_probabilities(model) else None
    return Answers(codes, None, probabilities)


def _label(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def answers_one_by_one(model: Any, given: Any, classes: Sequence[Label]) -> Answers:
    """Return answers as `answers` does, but a row without an answer is not an error."""
    single = []
    for index in range(len(given)):
        row = given.iloc[index : index + 1] if isinstance(given, pd.DataFrame) else given[index : index + 1]
        try:
            single.append(answers(model, row, classes))
        except Exception:  # noqa: BLE001  (a model may refuse a row by any exception)
            nothing = np.full((1, len(classes)), np.nan) if classes and has_probabilities(model) else None
            single.append(
                Answers(np.array([-1]), None, nothing) if classes else Answers(None, np.array([np.nan]), None)
            )
    return joined(single)


def joined(some: Sequence[Answers]) -> Answers:
    """Return the answers to several sets of rows, in their order."""

    def together(name: str) -> np.ndarray | None:
        found = [getattr(each, name) for each in some]
        return None if any(each is None for each in found) else np.concatenate(found)

    return Answers(together("codes"), together("values"), together("probabilities"))


def by_position(model: Any) -> Any:
    """Return a copy that selects columns by position, so that it takes arrays without column names."""
    changed = copy.deepcopy(model)
    for part in parts(changed):
        names = [str(name) for name in getattr(part, "feature_names_in_", ())]
        if isinstance(part, ColumnTransformer) and names:
            places = {name: place for place, name in enumerate(names)}
            part.transformers_ = [(name, step, _placed(picked, places)) for name, step, picked in part.transformers_]
            part.transformers = [(name, step, _placed(picked, places)) for name, step, picked in part.transformers]
            part._columns = [picked for _, _, picked in part.transformers]
            part._transformer_to_input_indices = {name: _places_of(picked) for name, _, picked in part.transformers_}
            part._remainder = ("remainder", part.remainder, part._transformer_to_input_indices.get("remainder", []))
        part.__dict__.pop("feature_names_in_", None)
    return changed


def _placed(picked: Any, places: dict[str, int]) -> Any:
    if isinstance(picked, str):
        return [places[picked]]
    if isinstance(picked, slice) or callable(picked):
        return picked
    return [places[name] if isinstance(name, str) else name for name in list(picked)]


def _places_of(picked: Any) -> list[int]:
    return list(range(picked.start or 0, picked.stop or 0)) if isinstance(picked, slice) else list(picked)
