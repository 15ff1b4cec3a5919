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
from training.boosters import catboost_graph, is_refusal, package_of, register_converters
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

    The graph has the input `features`, shape [rows, features], float32, or float64 if the pipeline starts by
    subtracting centres; or, where text is among the columns, inputs `column_0`, `column_1`, ..., each of shape
    [rows, 1]. It
    has one output: `probabilities`, shape [rows, classes], or `prediction`, shape [rows, 1]; with `labels` other than
    `largest` an output `label` in addition to the probabilities, or instead of them: int64, [rows], the places of
    the classes.

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
        # A step `single` follows it, which is the graph's cast.
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
    """A pipeline without searches, thresholds and pipelines in its last step."""
    found, threshold = unwrapped(pipeline)
    while isinstance(found[-1], Pipeline):
        last, steps = found[-1], found.steps[:-1]
        # Two pipelines may give their steps the same names.
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
    register_converters(pipeline[-1])
    ready = _ready_to_convert(pipeline)
    try:
        with warnings.catch_warnings():
            # Of attributes that the converters still ask for.
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
    """A classifier's graph with the outputs that its labels ask for; what only other outputs need is left out."""
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
            labels: How it names the class of a row, where it is a classifier.

        Raises:
            UnusableGraphError: It is damaged, asks for more than this ONNX Runtime can do, or lacks an output.
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
        """Scores of a classifier as in `training.labels`, or predicted values, shape [rows, 1]; float64.

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
        # Labels of every type convert alike when the converter sees only their positions.
        ready[-1].classes_ = np.arange(len(pipeline.classes_))
    if hasattr(ready[-1], "flatten_transform"):
        # Of no meaning to predictions, and unknown to the converter.
        ready[-1].flatten_transform = False
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
    """Have the graph take float64 rows, and subtract the centres before it continues in float32.

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
