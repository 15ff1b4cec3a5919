"""The messages of the Open Inference Protocol, parsed from and written to bodies with or without binary tensors."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from serving.errors import FieldError, InvalidInputError
from serving.malformed import why_malformed
from serving.openinference.tensors import DATATYPES, Array, datatype_of, from_bytes, from_json, to_bytes

Parameters = dict[str, Any]
# No body has room for more values. A larger size would overflow numpy's sizes, even in an empty tensor.
LARGEST_SIZE = 2**31 - 1
Size = Annotated[int, Meta(ge=0, le=LARGEST_SIZE)]


class InputTensor(msgspec.Struct, frozen=True):
    """One named tensor of a request. `data` is absent if it is sent as bytes."""

    name: str
    shape: Annotated[list[Size], Meta(min_length=1, max_length=2)]
    datatype: str
    parameters: Parameters | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class RequestedOutput(msgspec.Struct, frozen=True):
    """One output that the caller wants, and its form."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON of a request. Unknown fields are extensions of other servers, and are ignored.

    Fields may be null, because clients write null for those that are not set.
    """

    inputs: Annotated[list[InputTensor], Meta(min_length=1)]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """One named tensor of an answer. `data` is absent if it is sent as bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


class Inference(msgspec.Struct, frozen=True):
    """A parsed request: its tensors by name, and the requested outputs (all, if none is named).

    `as_bytes` says whether outputs are sent as bytes. `own_form` overrides it for single outputs.
    """

    id: str
    tensors: dict[str, Array]
    outputs: tuple[str, ...] = ()
    as_bytes: bool = False
    own_form: dict[str, bool] = {}


_decoder = msgspec.json.Decoder(InferRequest)
_encoder = msgspec.json.Encoder()
# Extensions that change the meaning of the data. Ignoring one would give an answer to another question.
_REFUSED = ("shared_memory_region", "classification")


def parse(body: bytes, header_length: int | None) -> Inference:
    """Parse a request's body.

    Args:
        body: The JSON, followed by the tensors that are sent as bytes.
        header_length: The length of the JSON (the header Inference-Header-Content-Length). None: the whole body.

    Raises:
        InvalidInputError: if it does not follow the protocol.
    """
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise _wrong("", f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes")
    try:
        request = _decoder.decode(memoryview(body)[:length])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = why_malformed(error, memoryview(body)[:length])
        raise _wrong("", f"the body is not an inference request: {reason}") from None
    except RecursionError:
        raise _wrong("", "the body is nested too deeply") from None
    as_bytes = _flag(request.parameters, "binary_data_output", "")
    own_form: dict[str, bool] = {}
    for output in request.outputs or ():
        field = f"outputs[{output.name[:100]!r}]"
        no_extensions(output.parameters, field)
        if output.name in own_form:
            raise _wrong(field, "it is named twice")
        own_form[output.name] = _flag(output.parameters, "binary_data", field, as_bytes)
    tensors = _tensors(request, memoryview(body)[length:])
    return Inference(request.id or "", tensors, tuple(own_form), as_bytes, own_form)


def _tensors(request: InferRequest, rest: memoryview) -> dict[str, Array]:
    """Decode the tensors. Those that are sent as bytes follow each other in `rest`."""
    tensors: dict[str, Array] = {}
    for tensor in request.inputs:
        field = f"inputs[{tensor.name[:100]!r}]"
        if tensor.name in tensors:
            raise _wrong(field, "it is given twice")
        if tensor.datatype not in DATATYPES:
            raise _wrong(field, f"unknown datatype {tensor.datatype[:100]!r}; known ones are {', '.join(DATATYPES)}")
        no_extensions(tensor.parameters, field)
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            tensors[tensor.name] = from_json(tensor.data, tensor.datatype, tensor.shape, field)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(rest):
            raise _wrong(field, f"binary_data_size is {size!r}, but {len(rest)} bytes are left after the JSON")
        tensors[tensor.name] = from_bytes(rest[:size], tensor.datatype, tensor.shape, field)
        rest = rest[size:]
    if len(rest):
        raise _wrong("", f"{len(rest)} bytes follow that no binary_data_size covers")
    return tensors


def write(request: Inference, name: str, version: str, outputs: dict[str, Array]) -> tuple[bytes, int | None]:
    """Write an answer.

    Args:
        request: Says which outputs are wanted, and in which form.
        name: The model's name.
        version: The model's version.
        outputs: The results of the model, by the names of the outputs.

    Returns:
        The body, and the length of its JSON if bytes follow it.

    Raises:
        InvalidInputError: if the model does not have a requested output.
    """
    written: list[OutputTensor] = []
    blocks: list[bytes] = []
    for wanted in request.outputs or tuple(outputs):
        array = outputs.get(wanted)
        if array is None:
            raise _wrong(f"outputs[{wanted[:100]!r}]", f"the model has no such output, only {', '.join(outputs)}")
        shape, datatype = list(array.shape), datatype_of(array)
        if request.own_form.get(wanted, request.as_bytes):
            block = to_bytes(array)
            blocks.append(block)
            written.append(OutputTensor(wanted, shape, datatype, {"binary_data_size": len(block)}))
        else:
            written.append(OutputTensor(wanted, shape, datatype, data=array.reshape(-1).tolist()))
    head = _encoder.encode(InferResponse(name, version, written, request.id))
    return (b"".join((head, *blocks)), len(head)) if blocks else (head, None)


def _flag(parameters: Parameters | None, name: str, field: str, otherwise: bool = False) -> bool:
    value = (parameters or {}).get(name, otherwise)
    if not isinstance(value, bool):
        raise _wrong(field, f"the parameter {name} must be true or false")
    return value


def no_extensions(parameters: Mapping[str, Any] | None, field: str) -> None:
    """Refuse unsupported extensions that change the meaning of data.

    Raises:
        InvalidInputError: if there is such a parameter.
    """
    for name in _REFUSED:
        if parameters and name in parameters:
            raise _wrong(field, f"this server does not know the extension behind the parameter {name}")


def _wrong(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(FieldError(field, reason))
