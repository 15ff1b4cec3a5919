"""Open a model's file, in the form in which it is stored. Only the process of `child` may do this."""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelformat.skops_types import TRUSTED_TYPES
from training.registering.errors import UnfitError
from training.registering.graphs import GraphModel
from training.registering.messages import Request

# Packages whose classes skops may construct, although it does not trust them by itself.
_KNOWN_PACKAGES = ("sklearn", "numpy", "scipy", "lightgbm", "xgboost", "collections", "builtins")


def load(request: Request) -> Any:
    """Return the fitted model.

    Raises:
        UnfitError: It is stored in a form that cannot be opened.
        Exception: Whatever the model raises when it is opened.
    """
    path = Path(request.path)
    if request.code:
        sys.path.append(request.code)
    if request.form == "onnx":
        return GraphModel(path)
    if request.form == "skops":
        return _skops(path, trusted=request.trusted)
    if request.form == "pickle":
        return _pickle(path)
    return _native(request, path)


def untrusted_types(path: Path) -> list[str]:
    """Return the types in a skops file that serving does not trust by default."""
    import skops.io  # noqa: PLC0415

    return sorted(set(skops.io.get_untrusted_types(file=path)) - TRUSTED_TYPES)


def _skops(path: Path, *, trusted: bool) -> Any:
    import skops.io  # noqa: PLC0415

    found = skops.io.get_untrusted_types(file=path)
    foreign = [name for name in found if name.partition(".")[0] not in _KNOWN_PACKAGES]
    if foreign and not trusted:
        raise UnfitError(
            f"its skops file has types that are not known to be harmless ({_listed(foreign)}); --trust-pickle allows "
            "them"
        )
    return skops.io.load(path, trusted=found)


def _pickle(path: Path) -> Any:
    import joblib  # noqa: PLC0415

    try:
        # joblib reads plain pickles as well.
        return joblib.load(path)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnfitError(
            f"its pickle needs a module that is not installed here ({error}): install it in the environment of "
            "training, or define the classes in a package"
        ) from error
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, IndexError) as error:
        raise UnfitError(f"its pickle cannot be read ({type(error).__name__}: {error})") from error


def _native(request: Request, path: Path) -> Any:
    kind = request.model_class.rpartition(".")[2]
    if request.form == "xgboost":
        import xgboost  # noqa: PLC0415

        classes: dict[str, Any] = {name: getattr(xgboost, name) for name in ("XGBClassifier", "XGBRegressor")}
    else:
        import catboost  # noqa: PLC0415

        classes = {name: getattr(catboost, name) for name in ("CatBoostClassifier", "CatBoostRegressor")}
    if kind not in classes:
        raise UnfitError(
            f"its class is {kind or 'not told'}, which does not say its classes or its task; log the "
            f"{' or '.join(classes)}"
        )
    model = classes[kind]()
    model.load_model(str(path))
    return model


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
