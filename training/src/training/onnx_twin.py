"""The ONNX twin: the same model as a graph of float32 operations, which serving runs without scikit-learn."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from skl2onnx import convert_sklearn
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from modelformat.session import DTYPES, MATRIX, as_columns, open_session
from training.boosters import catboost_graph, package_of, register_converters
from training.boosters import ready_to_convert as boosters_ready
from training.errors import BadInputError
from training.kinds import Column
from training.onnx_preparation import OPSETS, prepend, raise_opsets
from training.preparation import CENTRE, PREPARE

_PREPARED = "prepared"
_CENTRED = "centred"
_LOAD_ERRORS = (
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.InvalidProtobuf,
    runtime_errors.NotImplemented,
)


def to_onnx(pipeline: Pipeline, columns: Sequence[Column], *, classifier: bool) -> bytes:
    """Convert a fitted pipeline.

    The graph has the input `features`, shape [rows, features], float32, or float64 where the pipeline begins by taking
    centres away; or, where text is among the columns, inputs `column_0`, `column_1`, ..., each of shape [rows, 1]. It
    has one output: `probabilities`, shape [rows, classes], or `prediction`, shape [rows, 1].

    Raises:
        BadInputError: A step of the pipeline has no ONNX form.
    """
    prepare = pipeline.named_steps.get(PREPARE)
    if prepare is not None:
        width = sum(part.stop - part.start for part in prepare.output_indices_.values())
        graph = _converted(pipeline[1:], _PREPARED, width, classifier=classifier)
        prepend(graph, _PREPARED, prepare, columns)
    else:
        # A step `single` follows it, which is the graph's cast.
        centre = pipeline.named_steps.get(CENTRE)
        graph = _converted(
            pipeline[2:] if centre is not None else pipeline, MATRIX, len(columns), classifier=classifier
        )
        if centre is not None:
            _centre_first(graph, centre.center_)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _converted(pipeline: Pipeline, read: str, width: int, *, classifier: bool) -> onnx.ModelProto:
    if len(pipeline) == 1 and package_of(pipeline[-1]) == "catboost":
        own = catboost_graph(pipeline[-1], read, width, classifier=classifier)
        raise_opsets(own)
        return own
    register_converters(pipeline[-1])
    try:
        graph = convert_sklearn(
            _ready_to_convert(pipeline),
            name="model",
            initial_types=[(read, FloatTensorType([None, width]))],
            options={"zipmap": False} if classifier else None,
            target_opset=OPSETS,
            custom_conversion_functions=HISTOGRAM_CONVERTERS[0],
            custom_shape_calculators=HISTOGRAM_CONVERTERS[1],
        )
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, KeyError) as error:
        step, estimator = pipeline.steps[-1]
        raise BadInputError(
            f"step {step!r} ({type(estimator).__name__}) has no ONNX form with these parameters: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if classifier:
        # Leaves out the label output and whatever only it needs: labels are the caller's, by position.
        extracted: onnx.ModelProto = Extractor(graph).extract_model([read], ["probabilities"])
        return extracted
    _rename_output(graph, "prediction")
    typed: onnx.ModelProto = graph
    return typed


class UnusableGraphError(Exception):
    """ONNX Runtime cannot load a graph."""


class Twin:
    """A loaded ONNX graph."""

    def __init__(self, model: Path | bytes) -> None:
        """Load a graph.

        Raises:
            UnusableGraphError: It is damaged, or asks for more than this ONNX Runtime can do.
        """
        try:
            self._session = open_session(model)
        except _LOAD_ERRORS as error:
            raise UnusableGraphError(" ".join(str(error).split())) from error
        self._outputs = [self._session.get_outputs()[0].name]
        inputs = self._session.get_inputs()
        self._matrix = inputs[0].name == MATRIX
        self._types = [DTYPES.get(read.type, np.float32) for read in inputs]

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities, shape [rows, classes], or predicted values, shape [rows, 1]; float64.

        Args:
            rows: As in `training.data.Dataset`.
        """
        given = {MATRIX: rows.astype(self._types[0])} if self._matrix else as_columns(rows, tuple(self._types))
        found = self._session.run(self._outputs, given)[0]
        return np.asarray(found, dtype=np.float64).reshape(len(rows), -1)


def _ready_to_convert(pipeline: Pipeline) -> Pipeline:
    ready = copy.deepcopy(pipeline)
    ready.steps[-1] = (ready.steps[-1][0], boosters_ready(ready[-1], _rounded_down))
    if hasattr(ready, "classes_") and not package_of(ready[-1]):
        # Labels of every type convert alike when the converter sees only their positions.
        ready[-1].classes_ = np.arange(len(pipeline.classes_))
    for trees in getattr(ready[-1], "_predictors", ()):
        for tree in trees:
            tree.nodes["num_threshold"] = _rounded_down(tree.nodes["num_threshold"])
    return ready


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 values that are not above: `x <= threshold` then says the same of every float32 x.

    Rounded to nearest, a threshold between two neighbouring float32 values would land on one of them, in half of
    all cases on the upper one, and send it the other way.
    """
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float64)


def _centre_first(graph: onnx.ModelProto, centres: np.ndarray) -> None:
    """Have the graph take float64 rows, and take the centres away before it goes on in float32.

    ONNX's own scaler would first round what it is given to float32.
    """
    for node in graph.graph.node:
        for position, read in enumerate(node.input):
            if read == MATRIX:
                node.input[position] = _CENTRED
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    graph.graph.initializer.append(numpy_helper.from_array(np.asarray(centres, dtype=np.float64), "centres"))
    first = [
        helper.make_node("Sub", [MATRIX, "centres"], ["centred_exactly"], "centre"),
        helper.make_node("Cast", ["centred_exactly"], [_CENTRED], "to_float32", to=TensorProto.FLOAT),
    ]
    rest = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*first, *rest])


def _rename_output(graph: onnx.ModelProto, name: str) -> None:
    output = graph.graph.output[0]
    for node in graph.graph.node:
        for position, produced in enumerate(node.output):
            if produced == output.name:
                node.output[position] = name
    output.name = name


_HISTOGRAMS = (
    (HistGradientBoostingClassifier, "SklearnHistGradientBoostingClassifier"),
    (HistGradientBoostingRegressor, "SklearnHistGradientBoostingRegressor"),
)


def _integer_flags(converter: Callable[..., None]) -> Callable[..., None]:
    """Have a histogram converter write its flags as the integers that ONNX's format asks for.

    skl2onnx 1.20 hands on the trees' missing-value directions as booleans, which protobuf refuses in a list of
    integers from version 7 on.
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        converter(scope, operator, _IntegerFlags(container))

    return convert


class _IntegerFlags:
    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *args: Any, nodes_missing_value_tracks_true: list[bool], **attributes: Any) -> None:
        flags = [int(flag) for flag in nodes_missing_value_tracks_true]
        self._container.add_node(*args, nodes_missing_value_tracks_true=flags, **attributes)


# Converters and shape calculators of the histogram estimators, as `convert_sklearn` takes them.
HISTOGRAM_CONVERTERS = (
    {kind: _integer_flags(get_converter(alias)) for kind, alias in _HISTOGRAMS},
    {kind: get_shape_calculator(alias) for kind, alias in _HISTOGRAMS},
)
