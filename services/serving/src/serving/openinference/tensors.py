"""Tensors of the Open Inference Protocol in their two forms, JSON and bytes.

Bytes are little-endian, row by row, without gaps. A BOOL is one byte. An element of BYTES is its length in four bytes,
followed by its content (Triton's binary tensor data extension, `extension_binary_data.md`).
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving import numbers
from serving.errors import FieldError, InvalidInputError

Array = NDArray[Any]

# The datatypes of numbers. BF16 has no type in numpy and no form in JSON; it is the upper half of an FP32.
NUMBERS: dict[str, str] = {
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = ("BOOL", *NUMBERS, "BYTES")

_FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
_DATATYPES = {"b1": "BOOL", "f4": "FP32", "f8": "FP64", "i8": "INT64"}
_NESTED = re.compile(rb"\s*\[\s*\[")
_DECODERS: dict[type, tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]] = {
    kind: (msgspec.json.Decoder(list[value]), msgspec.json.Decoder(list[list[value]]))  # type: ignore[valid-type]
    for kind, value in {bool: bool, int: int, float: float | None, str: str | None}.items()
}
_KINDS: dict[str, type] = {"BOOL": bool, "BYTES": str, **dict.fromkeys(_FLOATS, float)}
_DTYPES: dict[type, Any] = {bool: bool, float: np.float64, str: object}
_LENGTH = np.dtype("<u4").itemsize


def datatype_of(array: Array) -> str:
    """Return the protocol's datatype for a result. Arrays of Python strings are BYTES."""
    return _DATATYPES.get(array.dtype.str[1:], "BYTES")


def from_json(data: msgspec.Raw, datatype: str, shape: Sequence[int], field: str) -> Array:
    """Decode a tensor from JSON: a flat list, or for two dimensions a list of lists.

    Null is NaN for datatypes with fractions, and the empty string for text. Numbers with a fraction are returned in
    double precision whatever their datatype, because JSON has all their digits.

    Args:
        data: The JSON text of the tensor's elements.
        datatype: One of `DATATYPES`.
        shape: The shape of the tensor.
        field: The name of the tensor in errors.

    Raises:
        InvalidInputError: if the elements do not fit the datatype or the shape.
    """
    kind = _KINDS.get(datatype, int)
    if kind is float and (found := _of_numbers(bytes(data), shape)) is not None:
        return shaped(found, shape, field)
    flat, nested = _DECODERS[kind]
    dtype: Any = NUMBERS[datatype] if kind is int else _DTYPES[kind]
    try:
        if _NESTED.match(memoryview(data)):
            rows = nested.decode(data)
            if len(shape) != 2 or any(len(row) != shape[1] for row in rows):
                raise _wrong(field, f"the nesting of its data does not match its shape {list(shape)}")
            values = list(chain.from_iterable(rows))
        else:
            values = flat.decode(data)
        array = np.array(["" if value is None else value for value in values] if kind is str else values, dtype=dtype)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
        raise _wrong(field, f"its data must be a list of {datatype} values") from None
    return shaped(array, shape, field)


def _of_numbers(text: bytes, shape: Sequence[int]) -> Array | None:
    """Decode a long tensor at once, if all elements are numbers, and are flat or nested as in the shape."""
    if len(text) < numbers.SHORTEST:
        return None
    if not _NESTED.match(text):
        return numbers.flat(text)
    found = numbers.table(text)
    return found if found is not None and found.shape == tuple(shape) else None


def from_bytes(data: memoryview, datatype: str, shape: Sequence[int], field: str) -> Array:
    """Decode a tensor from bytes. Numbers are not copied, except those with 16 bits, which become FP32.

    Raises:
        InvalidInputError: if the bytes do not fit the datatype or the shape.
    """
    if datatype == "BYTES":
        return shaped(_texts(data, field), shape, field)
    dtype = np.dtype("|u1" if datatype == "BOOL" else NUMBERS[datatype])
    if len(data) % dtype.itemsize:
        raise _wrong(field, f"its {len(data)} bytes are not a whole number of {datatype} values")
    array: Array = np.frombuffer(data, dtype)
    if datatype == "BOOL":
        if array.size and array.max() > 1:
            raise _wrong(field, "a BOOL is a byte of 0 or 1")
        array = array.view(bool)
    elif datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif datatype == "FP16":
        array = array.astype(np.float32)
    return shaped(array, shape, field)


def _texts(data: memoryview, field: str) -> Array:
    """Decode elements of BYTES, which must be text in UTF-8."""
    texts: list[str] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH
        at = start + int.from_bytes(data[at:start], "little")
        if at > len(data):
            raise _wrong(field, f"its BYTES end within element {len(texts)}")
        try:
            texts.append(str(data[start:at], "utf-8"))
        except UnicodeDecodeError:
            raise _wrong(field, f"its element {len(texts)} is not text in UTF-8") from None
    array: Array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def to_bytes(array: Array) -> bytes:
    """Encode a tensor as bytes, with strings in UTF-8."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    # Labels repeat, so each is encoded only once. They are compared as text, because True == 1 in Python.
    texts = [value if type(value) is str else str(value) for value in array.reshape(-1).tolist()]
    encoded = {text: _element(text.encode()) for text in set(texts)}
    return b"".join(map(encoded.__getitem__, texts))


def _element(value: bytes) -> bytes:
    return len(value).to_bytes(_LENGTH, "little") + value


def shaped(array: Array, shape: Sequence[int], field: str) -> Array:
    """Return elements in their shape.

    Raises:
        InvalidInputError: if there are more or fewer elements.
    """
    # With Python's integers, so that the product of the sizes cannot overflow.
    wanted = 1
    for size in shape:
        wanted *= size
    if array.size != wanted:
        raise _wrong(field, f"its shape {list(shape)} takes {wanted} values, but its data holds {array.size}")
    return array.reshape(shape)


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
