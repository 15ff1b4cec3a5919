"""The fitted preparation (`training.preparation`) as ONNX nodes.

skl2onnx cannot convert a missing-value indicator, and its encoder does not support rare texts as scikit-learn's does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from msgspec import Struct, field
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from modelformat.session import MATRIX, column_input
from training.kinds import Column, mixed
from training.preparation import CENTRE, FILL, GAPS, NUMBERS, SCALE, TEXTS

# Supported by every ONNX Runtime since 1.14.
OPSETS = {"": 18, "ai.onnx.ml": 3}
# A text that no training table has: U+10FFFF is not a character and never will be.
_UNKNOWN = "\U0010ffff"


class _Graph(Struct):
    """The nodes, constants and inputs of a graph while it is built."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def node(self, kind: str, read: Sequence[str], result: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(read), [result], f"{result}_{kind.lower()}", **attributes))
        return result

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def input(self, name: str, kind: int, width: int) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, [None, width]))
        return name


def prepend(model: onnx.ModelProto, read: str, prepare: ColumnTransformer, columns: Sequence[Column]) -> None:
    """Put the preparation at the beginning of a graph.

    Args:
        model: A graph with one input, which takes prepared rows; changed in place. Afterwards its input is the
            matrix `features`, or, if there is text among the columns, inputs `column_0`, `column_1`, ...: float
            (double if centres are subtracted) or string.
        read: The name of that input.
        prepare: The fitted preparation.
        columns: The columns that it prepares.
    """
    graph = _Graph()
    parts = {name: (fitted, indexes) for name, fitted, indexes in prepare.transformers_ if name != "remainder"}
    blocks = []
    if NUMBERS in parts:
        fitted, indexes = parts[NUMBERS]
        gaps = parts[GAPS][1] if GAPS in parts else []
        blocks += _numbers(graph, fitted, indexes, gaps, columns)
    if TEXTS in parts:
        encoder, indexes = parts[TEXTS]
        blocks += [_text(graph, encoder, place, index) for place, index in enumerate(indexes)]
    graph.node("Concat", blocks, read, axis=1)
    graph.nodes.extend(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.constants)
    raise_opsets(model)
    # Inputs have the order of the columns, which is not the order of the blocks.
    order = {column_input(index): index for index in range(len(columns))}
    model.graph.input.extend(sorted(graph.inputs, key=lambda value: order.get(value.name, 0)))


def raise_opsets(model: onnx.ModelProto) -> None:
    """Raise the declared opsets to what these nodes need: skl2onnx declares only what its own nodes need."""
    found = {opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    for domain, version in (found | {name: max(found.get(name, 0), least) for name, least in OPSETS.items()}).items():
        model.opset_import.append(helper.make_opsetid(domain, version))


def _numbers(
    graph: _Graph, fitted: Pipeline, indexes: Sequence[int], gaps: Sequence[int], columns: Sequence[Column]
) -> list[str]:
    steps = fitted.named_steps
    kind = TensorProto.DOUBLE if CENTRE in steps else TensorProto.FLOAT
    if mixed(columns):
        given = [graph.input(column_input(index), kind, 1) for index in indexes]
        values = graph.node("Concat", given, "numbers_given", axis=1)
    else:
        values = graph.input(MATRIX, kind, len(indexes))
    if CENTRE in steps:
        centres = graph.constant("centres", np.asarray(steps[CENTRE].center_, dtype=np.float64))
        exact = graph.node("Sub", [values, centres], "numbers_centred")
        values = graph.node("Cast", [exact], "numbers_single", to=TensorProto.FLOAT)
    missing = graph.node("IsNaN", [values], "numbers_missing")
    medians = graph.constant("medians", np.asarray(steps[FILL].statistics_, dtype=np.float32))
    values = graph.node("Where", [missing, medians, values], "numbers_filled")
    if SCALE in steps:
        mean = graph.constant("means", np.asarray(steps[SCALE].mean_, dtype=np.float32))
        scale = graph.constant("scales", np.asarray(steps[SCALE].scale_, dtype=np.float32))
        moved = graph.node("Sub", [values, mean], "numbers_moved")
        values = graph.node("Div", [moved, scale], "numbers_scaled")
    if not gaps:
        return [values]
    places = graph.constant("gap_places", np.array([indexes.index(index) for index in gaps], dtype=np.int64))
    flags = graph.node("Gather", [missing, places], "gaps_flagged", axis=1)
    return [values, graph.node("Cast", [flags], "gaps", to=TensorProto.FLOAT)]


def _text(graph: _Graph, encoder: OneHotEncoder, place: int, index: int) -> str:
    """Encode a text: it has a number, and each number has a row of a table, which the encoder itself computes."""
    texts = [*encoder.categories_[place], _UNKNOWN]
    table, numbers = np.unique(_encoded(encoder, place, texts), axis=0, return_inverse=True)
    name = column_input(index)
    given = graph.input(name, TensorProto.STRING, 1)
    number = graph.node(
        "LabelEncoder",
        [given],
        f"{name}_number",
        domain="ai.onnx.ml",
        keys_strings=texts[:-1],
        values_int64s=numbers[:-1].tolist(),
        default_int64=int(numbers[-1]),
    )
    axis = graph.constant(f"{name}_axis", np.array([1], dtype=np.int64))
    flat = graph.node("Squeeze", [number, axis], f"{name}_flat")
    rows = graph.constant(f"{name}_table", table.astype(np.float32))
    return graph.node("Gather", [rows, flat], f"{name}_encoded", axis=0)


def _encoded(encoder: OneHotEncoder, place: int, texts: Sequence[str]) -> np.ndarray:
    """Return the encoder's output for each text in one of its columns; shape [texts, the column's width]."""
    given = np.empty((len(texts), len(encoder.categories_)), dtype=object)
    given[:] = [categories[0] for categories in encoder.categories_]
    given[:, place] = texts
    own = [
        name.startswith(f"{place}:")
        for name in encoder.get_feature_names_out([f"{at}:" for at in range(given.shape[1])])
    ]
    return np.asarray(encoder.transform(given))[:, own]
