"""Converters that skl2onnx does not have: for numpy's functions, LightGBM and XGBoost."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common._apply_operation import apply_abs, apply_exp, apply_identity, apply_log, apply_sqrt
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import FunctionTransformer

from training.boosters import converted, register_converter


def _log1p(scope: Any, name: str, result: str, container: Any) -> None:
    _with_one(scope, name, container, "Add", lambda between: apply_log(scope, between, result, container))


def _expm1(scope: Any, name: str, result: str, container: Any) -> None:
    between = scope.get_unique_variable_name("exp")
    apply_exp(scope, name, between, container)
    one = _one(scope, container)
    container.add_node("Sub", [between, one], [result], name=scope.get_unique_operator_name("Sub"), op_version=14)


def _square(scope: Any, name: str, result: str, container: Any) -> None:
    container.add_node("Mul", [name, name], [result], name=scope.get_unique_operator_name("Mul"), op_version=14)


def _with_one(scope: Any, name: str, container: Any, kind: str, then: Callable[[str], None]) -> None:
    between = scope.get_unique_variable_name("more")
    one = _one(scope, container)
    container.add_node(kind, [name, one], [between], name=scope.get_unique_operator_name(kind), op_version=14)
    then(between)


def _one(scope: Any, container: Any) -> str:
    one: str = scope.get_unique_variable_name("one")
    kind = 11 if container.proto_dtype == 11 else 1
    container.add_initializer(one, kind, [1], [1.0])
    return one


_FUNCTIONS: Mapping[Any, Callable[[Any, str, str, Any], None]] = {
    None: apply_identity,
    np.log: apply_log,
    np.log1p: _log1p,
    np.exp: apply_exp,
    np.expm1: _expm1,
    np.sqrt: apply_sqrt,
    np.abs: apply_abs,
    np.square: _square,
}


def register_all() -> None:
    """Register these converters with skl2onnx, in this process; libraries that are not installed are left out."""
    update_registered_converter(FunctionTransformer, "SklearnNumpyFunction", _function_shape, _convert_function)
    for estimator in converted():
        with contextlib.suppress(ImportError):
            register_converter(estimator)


def _function_shape(operator: Any) -> None:
    width = sum(given.type.shape[1] for given in operator.inputs)
    kind = type(operator.inputs[0].type)
    operator.outputs[0].type = (kind if "Tensor" in kind.__name__ else FloatTensorType)([None, width])


def _convert_function(scope: Any, operator: Any, container: Any) -> None:
    function = operator.raw_operator
    if function.func not in _FUNCTIONS or function.kw_args:
        name = getattr(function.func, "__name__", function.func)
        raise RuntimeError(f"the function {name!r} of a FunctionTransformer has no ONNX form")
    names = [given.full_name for given in operator.inputs]
    given = names[0]
    if len(names) > 1:
        given = scope.get_unique_variable_name("together")
        container.add_node("Concat", names, given, name=scope.get_unique_operator_name("Concat"), axis=1, op_version=13)
    _FUNCTIONS[function.func](scope, given, operator.outputs[0].full_name, container)
