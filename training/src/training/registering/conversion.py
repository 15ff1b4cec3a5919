"""Convert an estimator, or a foreign graph, to the ONNX graph that serving runs (docs/model-format.md)."""

import contextlib
import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer

from modelformat.columns import NO_TEXT, Kind
from modelformat.mlmodel import Label, Labels
from modelformat.session import LABEL, MATRIX, PREDICTION, PROBABILITIES, column_input
from training.labels import Threshold, parts, unwrapped
from training.onnx_labels import add_threshold, convertible, plain_outputs, type_of
from training.onnx_preparation import OPSETS
from training.onnx_twin import HISTOGRAM_CONVERTERS
from training.registering.converters import register_all
from training.registering.estimators import names_of
from training.registering.graphs import GraphModel


class NoOnnxError(Exception):
    """An estimator has no ONNX form; the message says why."""


def to_graph(model: Any, kinds: Sequence[Kind], classes: Sequence[Label], labels: Labels, *, double: bool) -> bytes:
    """Convert a fitted estimator.

    Args:
        model: The estimator.
        kinds: The kinds of its columns, in its order.
        classes: Its labels in its order; empty for regression.
        labels: Whether the graph gives probabilities, the place of the label, or both.
        double: Whether the graph computes in double precision.

    Raises:
        NoOnnxError: It has no ONNX form.
    """
    inner, threshold = unwrapped(model)
    if isinstance(inner, GraphModel):
        graph = onnx.ModelProto()
        graph.CopyFrom(inner.graph)
    elif type(inner).__module__.partition(".")[0] == "catboost":
        graph = _of_catboost(inner)
    else:
        graph = _of_sklearn(inner, kinds, classes, double=double)
    _name_outputs(graph, classes, labels, threshold)
    _name_inputs(graph, kinds)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _of_sklearn(model: Any, kinds: Sequence[Kind], classes: Sequence[Label], *, double: bool) -> onnx.ModelProto:
    register_all()
    number = DoubleTensorType if double else FloatTensorType
    picks = any(isinstance(part, ColumnTransformer) for part in parts(model))
    if "category" in kinds or picks:
        names = names_of(model) or [column_input(index) for index in range(len(kinds))]
        given = [
            (name, StringTensorType([None, 1]) if kind == "category" else number([None, 1]))
            for name, kind in zip(names, kinds, strict=True)
        ]
    else:
        given = [(MATRIX, number([None, len(kinds)]))]
    ready, last = _ready(model, classes)
    converters, shapes = HISTOGRAM_CONVERTERS
    try:
        converted: onnx.ModelProto = convert_sklearn(
            ready,
            name="model",
            initial_types=given,
            options=plain_outputs(last) if classes else None,
            target_opset=OPSETS,
            custom_conversion_functions=converters,
            custom_shape_calculators=shapes,
        )
    except Exception as error:  # converters may raise anything
        reason = " ".join(str(error).split())
        raise NoOnnxError(f"{type(error).__name__}: {reason[:300]}") from error
    for node in converted.graph.node:
        for attribute in node.attribute:
            if node.op_type == "OneHotEncoder" and attribute.name == "zeros":
                # The encoder must not refuse them: unknown texts are refused before they reach the graph.
                attribute.i = 1
    return converted


def _ready(model: Any, classes: Sequence[Label]) -> tuple[Any, Any]:
    """Return a copy that the converters accept, and its last step."""
    ready = copy.deepcopy(model)
    if hasattr(ready, "steps"):
        ready.steps[-1] = (ready.steps[-1][0], convertible(ready[-1]))
    else:
        ready = convertible(ready)
    for part in parts(ready):
        if isinstance(part, SimpleImputer) and part.statistics_.dtype.kind in "OU" and pd.isna(part.missing_values):
            # In the graph, a missing text is an empty one. The converter does not accept NaN among texts.
            part.missing_values = NO_TEXT
    last = ready[-1] if hasattr(ready, "steps") else ready
    if classes:
        # With positions instead of labels, the conversion is the same for every type of label.
        with contextlib.suppress(AttributeError):
            last.classes_ = np.arange(len(classes))
    if hasattr(last, "flatten_transform"):
        # It does not affect predictions, and the converter does not know it.
        last.flatten_transform = False
    if hasattr(last, "get_booster"):
        # The converter identifies columns by position.
        last.get_booster().feature_names = None
    return ready, last


def _of_catboost(model: Any) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            model.save_model(str(path), format="onnx")
        except Exception as error:
            raise NoOnnxError(" ".join(str(error).split())[:300]) from error
        return onnx.load(str(path))


def _name_inputs(graph: onnx.ModelProto, kinds: Sequence[Kind]) -> None:
    """Give the inputs the names of the contract: one matrix if no column is text, else one input for each column."""
    inputs = list(graph.graph.input)
    if len(inputs) == 1 and "category" not in kinds:
        _rename(graph, inputs[0].name, MATRIX)
        inputs[0].name = MATRIX
        return
    if len(inputs) != len(kinds):
        raise NoOnnxError(f"the graph takes {len(inputs)} inputs for {len(kinds)} columns")
    for index, given in enumerate(inputs):
        _rename(graph, given.name, column_input(index))
        given.name = column_input(index)
    if "category" in kinds:
        return
    kind = inputs[0].type.tensor_type.elem_type
    del graph.graph.input[:]
    graph.graph.input.append(helper.make_tensor_value_info(MATRIX, kind, [None, len(kinds)]))
    first = []
    for index in range(len(kinds)):
        place = numpy_helper.from_array(np.array([index], dtype=np.int64), f"place_{index}")
        graph.graph.initializer.append(place)
        first.append(helper.make_node("Gather", [MATRIX, place.name], [column_input(index)], f"pick_{index}", axis=1))
    _before(graph, first)


def _name_outputs(
    graph: onnx.ModelProto, classes: Sequence[Label], labels: Labels, threshold: Threshold | None
) -> None:
    outputs = _without_zipmap(graph)
    if not classes:
        _keep(graph, {outputs[0]: PREDICTION})
        return
    if len(outputs) < 2:
        raise NoOnnxError("the graph has no output of labels besides its scores")
    label, scores = outputs[0], outputs[1]
    if threshold is not None:
        if not threshold.of_probability:
            raise NoOnnxError("its threshold is on a decision function, which the graph does not output")
        label = add_threshold(graph, scores, threshold)
    elif labels != "largest":
        label = _as_places(graph, label, classes)
    wanted = {scores: PROBABILITIES} if labels != "only" else {}
    _keep(graph, wanted | ({label: LABEL} if labels != "largest" else {}))


def _without_zipmap(graph: onnx.ModelProto) -> list[str]:
    """Return the names of the outputs, after replacing maps of probabilities by their matrices."""
    maps = {node.output[0]: node for node in graph.graph.node if node.op_type == "ZipMap"}
    names = []
    for output in list(graph.graph.output):
        node = maps.get(output.name)
        names.append(node.input[0] if node else output.name)
        if node:
            graph.graph.node.remove(node)
    return names


def _as_places(graph: onnx.ModelProto, label: str, classes: Sequence[Label]) -> str:
    """Return the name of a value with the label's place among the classes."""
    if type_of(graph, label) == TensorProto.STRING:
        keys: dict[str, Any] = {"keys_strings": [str(each) for each in classes]}
    elif type_of(graph, label) == TensorProto.INT64:
        if _gives_places(classes):
            return label
        keys = {"keys_int64s": [int(each) for each in classes]}
    else:
        raise NoOnnxError("the graph outputs labels of a type that is not supported")
    graph.graph.node.append(
        helper.make_node(
            "LabelEncoder",
            [label],
            ["label_place"],
            "place_of_label",
            domain="ai.onnx.ml",
            values_int64s=list(range(len(classes))),
            default_int64=-1,
            **keys,
        )
    )
    return "label_place"


def _gives_places(classes: Sequence[Label]) -> bool:
    """Return whether the graph's labels are already places, because `_ready` has replaced the estimator's classes."""
    return list(classes) == list(range(len(classes))) or not all(type(each) is int for each in classes)


def _keep(graph: onnx.ModelProto, wanted: dict[str, str]) -> None:
    """Keep only these outputs, under new names, and the nodes that they need."""
    inputs = [given.name for given in graph.graph.input]
    known = {output.name for output in graph.graph.output}
    for name in wanted:
        if name not in known:
            graph.graph.output.append(helper.make_tensor_value_info(name, type_of(graph, name), None))
    for opset in graph.opset_import:
        least = OPSETS.get("" if opset.domain == "ai.onnx" else opset.domain, 0)
        opset.version = max(opset.version, least)
    if not any(opset.domain in ("", "ai.onnx") for opset in graph.opset_import):
        graph.opset_import.append(helper.make_opsetid("", OPSETS[""]))
    extracted = Extractor(graph).extract_model(inputs, list(wanted))
    graph.graph.CopyFrom(extracted.graph)
    for output in graph.graph.output:
        new = wanted[output.name]
        _rename(graph, output.name, new)
        output.name = new
        # Converters disagree about shapes.
        output.type.tensor_type.ClearField("shape")


def _rename(graph: onnx.ModelProto, old: str, new: str) -> None:
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new


def _before(graph: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    rest = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *rest])
