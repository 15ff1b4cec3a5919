"""The class labels in an ONNX graph, in the order of its probabilities, if it has any.

This parses only the necessary parts of the file format (protobuf, with ONNX's `onnx.proto`), and needs no package.
"""

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

import msgspec

# The numbers of fields in onnx.proto.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 7, 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTS, _ATTRIBUTE_STRINGS = 1, 8, 9
_TENSOR_INT32, _TENSOR_STRING, _TENSOR_INT64, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_TYPE = 5, 6, 7, 8, 9, 2
_VALUE_NAME = 1
_INT32, _INT64 = 6, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LABEL_ATTRIBUTES = {b"classlabels_strings", b"classlabels_ints", b"classlabels_int64s"}
# Between the output and the classifier there are a few reshapes and casts.
_MOST_STEPS = 32
_MOST_BITS = 70

Labels = tuple[str | int, ...]
Value = int | memoryview


class _Node(msgspec.Struct):
    operator: bytes
    inputs: list[bytes]
    labels: Labels = ()


def graph_labels(path: Path) -> Labels:
    """Return the labels of a classifier's graph, or an empty tuple if there are none, or none can be found."""
    with path.open("rb") as file:
        # Mapped, because almost all of a large file is skipped. The mapping ends with the last view of it.
        content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    try:
        graphs = [value for value in _all(content, _MODEL_GRAPH) if isinstance(value, memoryview)]
        return _from_outputs(graphs[0])
    except (ValueError, IndexError):
        return ()


def _from_outputs(graph: memoryview) -> Labels:
    producers: dict[bytes, _Node] = {}
    constants: dict[bytes, memoryview] = {}
    outputs: list[bytes] = []
    for number, value in _fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == _GRAPH_NODE:
            node = _node(value)
            producers.update({_as_bytes(name): node for name in _all(value, _NODE_OUTPUT)})
        elif number == _GRAPH_INITIALIZER:
            constants.update({_as_bytes(name): value for name in _all(value, _TENSOR_NAME)})
        elif number == _GRAPH_OUTPUT:
            outputs += map(_as_bytes, _all(value, _VALUE_NAME))
    # The output `label` is the shortest way to the labels, if the graph has it.
    for output in sorted(outputs, key=lambda name: name != b"label"):
        if found := _back_from(output, producers, constants):
            return found
    return ()


def _back_from(name: bytes, producers: dict[bytes, _Node], constants: dict[bytes, memoryview]) -> Labels:
    for _ in range(_MOST_STEPS):
        node = producers.get(name)
        if node is None or not node.inputs:
            return ()
        if node.labels:
            return node.labels
        name = node.inputs[0]
        if node.operator == b"ArrayFeatureExtractor" and name in constants:
            return _tensor(constants[name])
    return ()


def _node(content: memoryview) -> _Node:
    node = _Node(b"", [])
    for number, value in _fields(content):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_INPUT:
            node.inputs.append(bytes(value))
        elif number == _NODE_OPERATOR:
            node.operator = bytes(value)
        elif number == _NODE_ATTRIBUTE and _first(value, _ATTRIBUTE_NAME) in _LABEL_ATTRIBUTES:
            node.labels = (*map(_text, _all(value, _ATTRIBUTE_STRINGS)), *_integers(value, _ATTRIBUTE_INTS))
    return node


def _tensor(content: memoryview) -> Labels:
    if strings := tuple(map(_text, _all(content, _TENSOR_STRING))):
        return strings
    if integers := (*_integers(content, _TENSOR_INT64), *_integers(content, _TENSOR_INT32)):
        return integers
    size = {_INT64: 8, _INT32: 4}.get(next((kind for kind in _all(content, _TENSOR_TYPE) if isinstance(kind, int)), 0))
    if not size:
        return ()
    raw = _first(content, _TENSOR_RAW)
    return tuple(int.from_bytes(raw[start : start + size], "little", signed=True) for start in range(0, len(raw), size))


def _integers(content: memoryview, wanted: int) -> tuple[int, ...]:
    """Read a repeated integer, in separate fields or packed into one."""
    found: list[int] = []
    for value in _all(content, wanted):
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(number)
    return tuple(number - 2**64 if number >= 2**63 else number for number in found)


def _first(content: memoryview, wanted: int) -> bytes:
    return next((bytes(value) for value in _all(content, wanted) if isinstance(value, memoryview)), b"")


def _all(content: memoryview, wanted: int) -> Iterator[Value]:
    return (value for number, value in _fields(content) if number == wanted)


def _fields(content: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the fields of a protobuf message: varints as integers, all others as bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(content, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(content, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}")
        yield key >> 3, content[at : at + length]
        at += length


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < _MOST_BITS:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("a number without end")


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, memoryview):
        raise ValueError("a number instead of a name")  # noqa: TRY004  (the file is wrong, not a caller)
    return bytes(value)


def _text(value: Value) -> str:
    return _as_bytes(value).decode("utf-8")
