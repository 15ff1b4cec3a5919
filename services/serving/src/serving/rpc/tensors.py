"""The tensors of gRPC messages: typed contents, or bytes as Triton's clients send them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.errors import FieldError, InvalidInputError
from serving.openinference.messages import LARGEST_SIZE, Inference, no_extensions
from serving.openinference.tensors import DATATYPES, NUMBERS, Array, datatype_of, from_bytes, shaped, to_bytes

# The field of InferTensorContents for each datatype. Datatypes that are not listed are only sent as bytes.
_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_MOST_DIMENSIONS = 2


def read(request: Any) -> Inference:
    """Read the tensors of a ModelInferRequest, and the outputs that it requests.

    Raises:
        InvalidInputError: if they do not follow the protocol.
    """
    no_extensions(request.parameters, "parameters")
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise _wrong("", f"raw_input_contents has {len(raw)} elements for {len(request.inputs)} inputs")
    if not request.inputs:
        raise _wrong("inputs", "expected at least one tensor")
    tensors: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        field = f"inputs[{tensor.name[:100]!r}]"
        if tensor.name in tensors:
            raise _wrong(field, "it is given twice")
        tensors[tensor.name] = _tensor(tensor, raw[index] if raw else None, field)
    outputs = []
    for output in request.outputs:
        no_extensions(output.parameters, f"outputs[{output.name[:100]!r}]")
        if output.name in outputs:
            raise _wrong(f"outputs[{output.name[:100]!r}]", "it is named twice")
        outputs.append(output.name)
    return Inference(request.id, tensors, tuple(outputs), as_bytes=bool(raw))


def _tensor(tensor: Any, raw: bytes | None, field: str) -> Array:
    no_extensions(tensor.parameters, field)
    shape = list(tensor.shape)
    if not 1 <= len(shape) <= _MOST_DIMENSIONS or not all(0 <= size <= LARGEST_SIZE for size in shape):
        raise _wrong(field, f"its shape must have one or two sizes from 0 to {LARGEST_SIZE}")
    if tensor.datatype not in DATATYPES:
        raise _wrong(field, f"unknown datatype {tensor.datatype[:100]!r}; known ones are {', '.join(DATATYPES)}")
    if raw is not None:
        if tensor.HasField("contents"):
            raise _wrong(field, "it has contents, and bytes in raw_input_contents too")
        return from_bytes(memoryview(raw), tensor.datatype, shape, field)
    if tensor.datatype not in _FIELDS:
        raise _wrong(field, f"{tensor.datatype} values can only be sent in raw_input_contents")
    wanted = _FIELDS[tensor.datatype]
    filled = [name.name for name, _ in tensor.contents.ListFields()]
    if others := [name for name in filled if name != wanted]:
        raise _wrong(field, f"{tensor.datatype} values belong in {wanted}, not in {others[0]}")
    return shaped(_elements(getattr(tensor.contents, wanted), tensor.datatype, field), shape, field)


def _elements(values: Any, datatype: str, field: str) -> Array:
    if datatype == "BYTES":
        try:
            texts = [value.decode() for value in values]
        except UnicodeDecodeError:
            raise _wrong(field, "one of its elements is not text in UTF-8") from None
        array: Array = np.empty(len(texts), dtype=object)
        array[:] = texts
        return array
    if datatype == "BOOL":
        return np.array(values, dtype=bool)
    try:
        return np.array(values, dtype=NUMBERS[datatype])
    except OverflowError:
        raise _wrong(field, f"one of its values is out of the range of {datatype}") from None


def write(response: Any, request: Inference, outputs: Mapping[str, Array]) -> None:
    """Add results, by the names of the outputs, to a ModelInferResponse: as bytes if the request used bytes.

    Raises:
        InvalidInputError: if the model does not have a requested output.
    """
    for name in request.outputs or outputs:
        array = outputs.get(name)
        if array is None:
            raise _wrong(f"outputs[{name[:100]!r}]", f"the model has no such output, only {', '.join(outputs)}")
        datatype = datatype_of(array)
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if request.as_bytes:
            response.raw_output_contents.append(to_bytes(array))
            continue
        values = array.reshape(-1).tolist()
        getattr(tensor.contents, _FIELDS[datatype]).extend(
            [str(value).encode() for value in values] if datatype == "BYTES" else values
        )


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
