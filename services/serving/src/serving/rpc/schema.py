"""The protocol's gRPC messages, built from the definitions in its published file.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto

They are in a separate pool, so that a process may also have a client's generated messages with the same names.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}
_PARAMETERS = "map InferParameter parameters"
# The fields of each message by number, each as `[repeated|map|choice] TYPE NAME`. The keys of a map are strings. Only
# one field of a choice may be set.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {1: "bool live"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {1: "bool ready"},
    "ModelReadyRequest": {1: "string name", 2: "string version"},
    "ModelReadyResponse": {1: "bool ready"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {1: "string name", 2: "string version", 3: "repeated string extensions"},
    "ModelMetadataRequest": {1: "string name", 2: "string version"},
    "ModelMetadataResponse.TensorMetadata": {1: "string name", 2: "string datatype", 3: "repeated int64 shape"},
    "ModelMetadataResponse": {
        1: "string name",
        2: "repeated string versions",
        3: "string platform",
        4: "repeated ModelMetadataResponse.TensorMetadata inputs",
        5: "repeated ModelMetadataResponse.TensorMetadata outputs",
    },
    "InferParameter": {
        1: "choice bool bool_param",
        2: "choice int64 int64_param",
        3: "choice string string_param",
    },
    "InferTensorContents": {
        1: "repeated bool bool_contents",
        2: "repeated int32 int_contents",
        3: "repeated int64 int64_contents",
        4: "repeated uint32 uint_contents",
        5: "repeated uint64 uint64_contents",
        6: "repeated float fp32_contents",
        7: "repeated double fp64_contents",
        8: "repeated bytes bytes_contents",
    },
    "ModelInferRequest.InferInputTensor": {
        1: "string name",
        2: "string datatype",
        3: "repeated int64 shape",
        4: _PARAMETERS,
        5: "InferTensorContents contents",
    },
    "ModelInferRequest.InferRequestedOutputTensor": {1: "string name", 2: _PARAMETERS},
    "ModelInferRequest": {
        1: "string model_name",
        2: "string model_version",
        3: "string id",
        4: _PARAMETERS,
        5: "repeated ModelInferRequest.InferInputTensor inputs",
        6: "repeated ModelInferRequest.InferRequestedOutputTensor outputs",
        7: "repeated bytes raw_input_contents",
    },
    "ModelInferResponse.InferOutputTensor": {
        1: "string name",
        2: "string datatype",
        3: "repeated int64 shape",
        4: _PARAMETERS,
        5: "InferTensorContents contents",
    },
    "ModelInferResponse": {
        1: "string model_name",
        2: "string model_version",
        3: "string id",
        4: _PARAMETERS,
        5: "repeated ModelInferResponse.InferOutputTensor outputs",
        6: "repeated bytes raw_output_contents",
    },
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    # Outer messages come before nested ones.
    for name in sorted(_MESSAGES, key=lambda each: each.count(".")):
        outer, _, own = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
    for name, fields in _MESSAGES.items():
        for number, text in fields.items():
            _add(made[name], name, number, text.split())
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for method in METHODS:
        service.method.add(
            name=method, input_type=f".{PACKAGE}.{method}Request", output_type=f".{PACKAGE}.{method}Response"
        )
    return file


def _add(message: Any, owner: str, number: int, words: list[str]) -> None:
    *how, kind, name = words
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if how == ["choice"]:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    elif how:
        field.label = _Field.LABEL_REPEATED
    if how == ["map"]:
        entry = f"{name.title().replace('_', '')}Entry"
        pair = message.nested_type.add(name=entry, options=descriptor_pb2.MessageOptions(map_entry=True))
        _add(pair, owner, 1, ["string", "key"])
        _add(pair, owner, 2, [kind, "value"])
        kind = f"{owner}.{entry}"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


POOL = DescriptorPool()
POOL.AddSerializedFile(_file().SerializeToString())


@cache
def message(name: str) -> Any:
    """Return the class of a message, such as `ModelInferRequest`."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
