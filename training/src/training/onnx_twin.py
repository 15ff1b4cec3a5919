"""The ONNX twin: the same model as a graph of float32 operations, which serving runs without scikit-learn."""

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors
from skl2onnx import convert_sklearn
from skl2onnx.common._registration import get_converter, get_shape_calculator
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from modelformat.mlmodel import Labels
from modelformat.session import DTYPES, LABEL, MATRIX, PROBABILITIES, as_columns, open_session
from training.boosters import catboost_graph, is_refusal, package_of, register_converter
from training.boosters import ready_to_convert as boosters_ready
from training.errors import BadInputError
from training.kinds import Column
from training.labels import Threshold, unwrapped
from training.onnx_labels import add_threshold, convertible, plain_outputs, type_of
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


def to_onnx(pipeline: Pipeline, columns: Sequence[Column], *, classifier: bool, labels: Labels = "largest") -> bytes:
    """Convert a fitted pipeline.

    The graph has the input `features`, shape [rows, features]: float32, or float64 if the pipeline starts by
    subtracting centres. If there is text among the columns, it has inputs `column_0`, `column_1`, ... of shape
    [rows, 1] instead. It has one output: `probabilities`, shape [rows, classes], or `prediction`, shape [rows, 1]. With
    `labels` other than `largest`, the output `label` is added to the probabilities or replaces them: int64, [rows], the
    places of the classes.

    Raises:
        BadInputError: A step of the pipeline has no ONNX form.
    """
    pipeline, threshold = _inside(pipeline)
    naming = _Naming(labels, threshold) if classifier else None
    prepare = pipeline.named_steps.get(PREPARE)
    if prepare is not None:
        width = sum(part.stop - part.start for part in prepare.output_indices_.values())
        graph = _converted(pipeline[1:], _PREPARED, width, naming)
        prepend(graph, _PREPARED, prepare, columns)
    else:
        # The step `single` that follows is the graph's cast.
        centre = pipeline.named_steps.get(CENTRE)
        graph = _converted(pipeline[2:] if centre is not None else pipeline, MATRIX, len(columns), naming)
        if centre is not None:
            _centre_first(graph, centre.center_)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


class _Naming(Struct, frozen=True):
    """How a classifier names its label."""

    labels: Labels
    threshold: Threshold | None


def _inside(pipeline: Pipeline) -> tuple[Pipeline, Threshold | None]:
    """Return a pipeline without searches, thresholds and inner pipelines in its last step."""
    found, threshold = unwrapped(pipeline)
    while isinstance(found[-1], Pipeline):
        last, steps = found[-1], found.steps[:-1]
        # Prefixed, because the steps of two pipelines may have the same names.
        found = Pipeline([*steps, *((f"{found.steps[-1][0]}-{name}", step) for name, step in last.steps)])
    return found, threshold


def _converted(pipeline: Pipeline, read: str, width: int, naming: _Naming | None) -> onnx.ModelProto:
    classifier = naming is not None
    if len(pipeline) == 1 and package_of(pipeline[-1]) == "catboost":
        try:
            own = catboost_graph(pipeline[-1], read, width, classifier=classifier)
        except Exception as error:
            if not is_refusal(error):
                raise
            raise _no_form(pipeline, error) from error
        raise_opsets(own)
        return _named(own, read, naming) if naming else own
    register_converter(type(pipeline[-1]))
    ready = _ready_to_convert(pipeline)
    try:
        with warnings.catch_warnings():
            # The converters still use deprecated attributes.
            warnings.simplefilter("ignore", FutureWarning)
            graph = convert_sklearn(
                ready,
                name="model",
                initial_types=[(read, FloatTensorType([None, width]))],
                options=plain_outputs(ready[-1]) if classifier else None,
                target_opset=OPSETS,
                custom_conversion_functions=HISTOGRAM_CONVERTERS[0],
                custom_shape_calculators=HISTOGRAM_CONVERTERS[1],
            )
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _no_form(pipeline, error) from error
    if naming:
        return _named(graph, read, naming)
    _rename_output(graph, graph.graph.output[0].name, "prediction")
    typed: onnx.ModelProto = graph
    return typed


def _no_form(pipeline: Pipeline, error: Exception) -> BadInputError:
    step, estimator = pipeline.steps[-1]
    return BadInputError(
        f"step {step!r} ({type(estimator).__name__}) has no ONNX form with these parameters: "
        f"{' '.join(str(error).split())[:300]}"
    )


def _named(graph: onnx.ModelProto, read: str, naming: _Naming) -> onnx.ModelProto:
    """Return a classifier's graph with the outputs that its labels need, without nodes that only others need."""
    if naming.threshold is not None:
        if not naming.threshold.of_probability:
            raise BadInputError(
                "a threshold on a decision function has no ONNX form; set response_method='predict_proba'."
            )
        if any(LABEL in node.output for node in graph.graph.node):
            _rename_output(graph, LABEL, "likeliest")
        label = add_threshold(graph, PROBABILITIES, naming.threshold)
        graph.graph.output.append(helper.make_tensor_value_info(label, TensorProto.INT64, [None]))
        graph = Extractor(graph).extract_model([read], [PROBABILITIES, label])
        _rename_output(graph, label, LABEL)
        return graph
    if naming.labels != "largest" and type_of(graph, LABEL) != TensorProto.INT64:
        raise BadInputError("the estimator's own labels have no ONNX form; use another estimator.")
    wanted = {"largest": [PROBABILITIES], "predicted": [PROBABILITIES, LABEL], "only": [LABEL]}[naming.labels]
    extracted: onnx.ModelProto = Extractor(graph).extract_model([read], wanted)
    return extracted


class UnusableGraphError(Exception):
    """ONNX Runtime cannot load a graph."""


class Twin:
    """A loaded ONNX graph."""

    def __init__(self, model: Path | bytes, labels: Labels = "largest") -> None:
        """Load a graph.

        Args:
            model: The file, or what it holds.
            labels: How a classifier decides its label.

        Raises:
            UnusableGraphError: It is damaged, needs more than this ONNX Runtime supports, or lacks an output.
        """
        try:
            self._session = open_session(model)
        except _LOAD_ERRORS as error:
            raise UnusableGraphError(" ".join(str(error).split())) from error
        outputs = [output.name for output in self._session.get_outputs()]
        self._outputs = {"largest": outputs[:1], "predicted": [PROBABILITIES, LABEL], "only": [LABEL]}[labels]
        if missing := [name for name in self._outputs if name not in outputs]:
            raise UnusableGraphError(f"it has no output {' and no output '.join(missing)}")
        inputs = self._session.get_inputs()
        self._matrix = inputs[0].name == MATRIX
        self._types = [DTYPES.get(read.type, np.float32) for read in inputs]

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return a classifier's scores, as in `training.labels`, or predicted values, shape [rows, 1]; float64.

        Args:
            rows: As in `training.data.Dataset`.
        """
        given = {MATRIX: rows.astype(self._types[0])} if self._matrix else as_columns(rows, tuple(self._types))
        found = self._session.run(self._outputs, given)
        parts = [np.asarray(part, dtype=np.float64).reshape(len(rows), -1) for part in found]
        return parts[0] if len(parts) == 1 else np.hstack(parts)


def _ready_to_convert(pipeline: Pipeline) -> Pipeline:
    ready = copy.deepcopy(pipeline)
    ready.steps[-1] = (ready.steps[-1][0], boosters_ready(convertible(ready[-1]), _rounded_down))
    if hasattr(ready, "classes_") and not package_of(ready[-1]):
        # With positions instead of labels, the conversion is the same for every type of label.
        ready[-1].classes_ = np.arange(len(pipeline.classes_))
    if hasattr(ready[-1], "flatten_transform"):
        # It does not affect predictions, and the converter does not know it.
        ready[-1].flatten_transform = False
    for trees in getattr(ready[-1], "_predictors", ()):
        for tree in trees:
            tree.nodes["num_threshold"] = _rounded_down(tree.nodes["num_threshold"])
    return ready


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """Return the largest float32 values that are not above: then `x <= threshold` is the same for every float32 x.

    Rounding to nearest could round a threshold up to the next float32 value. That value would then go the other way.
    """
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float64)


def _centre_first(graph: onnx.ModelProto, centres: np.ndarray) -> None:
    """Have the graph take float64 rows and subtract the centres before it continues in float32.

    ONNX's own scaler would round its input to float32 first.
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


def _rename_output(graph: onnx.ModelProto, old: str, name: str) -> None:
    (output,) = (output for output in graph.graph.output if output.name == old)
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
    """Wrap a histogram converter so that it writes its flags as integers, as ONNX requires.

    skl2onnx 1.20 passes the directions of missing values as booleans, which protobuf 7 and newer refuse in a list of
    integers.
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
