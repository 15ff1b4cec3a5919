"""A model's own code: `pipeline.py` in its folder, whose `build(columns)` returns an unfitted estimator."""

import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import skops.io
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from training.errors import BadInputError
from training.kinds import Column
from training.settings import Scalar, Task, suggestion

_MODULE = "model_pipeline"
# Plain values that an estimator may hold. They contain no code.
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))
_DEPTH = 20


def build_own(path: Path, task: Task, params: Mapping[str, Scalar], seed: int, columns: Sequence[Column]) -> Pipeline:
    """Return the pipeline that a model's own code builds.

    Args:
        path: The file.
        task: The task that it must do.
        params: Parameters that override those of the code, by scikit-learn's names (`model__C`).
        seed: The value of every `random_state` that the code leaves open.
        columns: The table's columns, which `build` receives.

    Raises:
        BadInputError: The code fails, or returns no estimator for the task, or one that needs more than installed
            packages: a process that loads the model has nothing else.
    """
    estimator = _estimator(path, columns)
    strangers = sorted(dict.fromkeys(_strangers(estimator)))
    if strangers:
        raise BadInputError(
            f"{path}: build() uses {', '.join(strangers)}, but no installed package has it. A process that loads the "
            "model has installed packages only. Use classes of scikit-learn, or of a package that is installed with it."
        )
    _refuse_other_tasks(estimator, path, task)
    known = estimator.get_params()
    for name in params:
        if name not in known:
            raise BadInputError(f"{path}: the estimator has no parameter {name!r}.{suggestion(name, known)}")
    seeds = {name: seed for name in known if name.rpartition("__")[2] == "random_state" and known[name] is None}
    estimator.set_params(**{**seeds, **params})
    if isinstance(estimator, Pipeline):
        return estimator
    return Pipeline([("model", estimator)])


def refuse_untrusted(pipeline: Pipeline, trusted: Sequence[str], origin: str) -> None:
    """Refuse a fitted pipeline that needs more trusted types than serving has.

    Raises:
        BadInputError: The sentence names the types.
    """
    unknown = [name for name in skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)) if name not in trusted]
    if unknown:
        raise BadInputError(
            f"{origin}: the fitted estimator holds {', '.join(unknown)}, which serving does not load; use another "
            "estimator."
        )


def _estimator(path: Path, columns: Sequence[Column]) -> BaseEstimator:
    module = ModuleType(_MODULE)
    module.__file__ = str(path)
    # Under this name, so that the classes of the file can be recognised by their module.
    sys.modules[_MODULE] = module
    made: Any = None
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 # the model's own code
        build = getattr(module, "build", None)
        takes = len(inspect.signature(build).parameters) if callable(build) else None
        if callable(build) and takes == 1:
            made = build(tuple(columns))
            if isinstance(made, BaseEstimator):
                made = clone(made)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # the model's own code may raise anything
        raise BadInputError(f"{path}: {_where(error, path)}{type(error).__name__}: {error}") from error
    finally:
        del sys.modules[_MODULE]
    if takes is None:
        raise BadInputError(f"{path}: it has no function build(columns).")
    if takes != 1:
        raise BadInputError(f"{path}: build must take one argument, the columns.")
    if not isinstance(made, BaseEstimator) or not hasattr(made, "fit"):
        raise BadInputError(f"{path}: build() returns {_named(made)}, but must return a scikit-learn estimator.")
    return made


def _named(made: object) -> str:
    return f"the class {made.__name__}" if isinstance(made, type) else f"a {type(made).__name__}"


def _where(error: Exception, path: Path) -> str:
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    return f"line {line}: " if line else ""


def _refuse_other_tasks(estimator: BaseEstimator, path: Path, task: Task) -> None:
    name = type(estimator[-1] if isinstance(estimator, Pipeline) else estimator).__name__
    if not (is_classifier(estimator) if task == "classification" else is_regressor(estimator)):
        raise BadInputError(
            f"{path}: build() returns a {name}, which does not do {task}; --task overrides the task of the target."
        )


def _strangers(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names of the classes and functions in an estimator that belong to no installed package."""
    if isinstance(value, _PLAIN) or depth > _DEPTH:
        return
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from _strangers(entry, depth + 1)
        return
    code = value if isinstance(value, type | FunctionType) or not hasattr(value, "__dict__") else type(value)
    named = code if hasattr(code, "__module__") and hasattr(code, "__qualname__") else type(code)
    if not _installed(named):
        yield named.__qualname__
    if isinstance(value, BaseEstimator):
        for entry in value.get_params(deep=False).values():
            yield from _strangers(entry, depth + 1)


def _installed(code: Any) -> bool:
    package = str(code.__module__).partition(".")[0]
    if "<lambda>" in code.__qualname__ or package in (_MODULE, "training"):
        return False
    origin = getattr(sys.modules.get(package), "__file__", None) or ""
    return package == "builtins" or not {"site-packages", "dist-packages"}.isdisjoint(Path(origin).parts)
