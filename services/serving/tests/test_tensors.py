"""The protocol's tensors and messages: they read back the same as written, and no bytes break the parser."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.errors import InvalidInputError
from serving.openinference.messages import Inference, parse, write
from serving.openinference.tensors import DATATYPES, NUMBERS, from_bytes, from_json, to_bytes

# Without the 16-bit floats, which are read as FP32.
EXACT = {"BOOL": "|b1"} | {name: dtype for name, dtype in NUMBERS.items() if name not in ("FP16", "BF16")}


def tensors(dtype: str) -> st.SearchStrategy[Any]:
    shapes = arrays.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5)
    return arrays.arrays(np.dtype(dtype), shapes, elements={"allow_nan": False} if dtype[1] == "f" else None)


any_tensor = st.sampled_from(sorted(EXACT)).flatmap(lambda name: st.tuples(st.just(name), tensors(EXACT[name])))


@given(any_tensor)
def test_bytes_read_back_the_same(given_tensor: tuple[str, Any]) -> None:
    datatype, array = given_tensor
    found = from_bytes(memoryview(to_bytes(array)), datatype, array.shape, "x")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@given(any_tensor, st.booleans())
def test_json_reads_back_the_same_flat_or_nested(given_tensor: tuple[str, Any], nested: bool) -> None:
    datatype, array = given_tensor
    array = np.nan_to_num(array, posinf=1.0, neginf=-1.0) if array.dtype.kind == "f" else array
    data = json.dumps(array.tolist() if nested else array.reshape(-1).tolist()).encode()
    found = from_json(msgspec.Raw(data), datatype, array.shape, "x")
    np.testing.assert_array_equal(found, array)


@given(arrays.arrays(np.float16, 4, elements={"allow_nan": False}))
def test_16_bit_floats_become_fp32(array: Any) -> None:
    np.testing.assert_array_equal(from_bytes(memoryview(array.tobytes()), "FP16", (4,), "x"), array)
    upper = array.astype("<f4").view("<u4") >> 16
    brain = from_bytes(memoryview(upper.astype("<u2").tobytes()), "BF16", (2, 2), "x")
    np.testing.assert_array_equal(brain.view("<u4").reshape(-1), upper << 16)


def test_strings_are_written_with_their_length_in_front() -> None:
    assert to_bytes(np.array(["ä", ""], dtype=object)) == b"\x02\x00\x00\x00\xc3\xa4\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "reason"),
    [
        (b"[1,2,3]", "FP64", [2, 2], "takes 4 values, but its data holds 3"),
        (b"[[1,2],[3]]", "FP64", [2, 2], "does not match its shape"),
        (b"[[1,2],[3,4]]", "FP64", [4], "does not match its shape"),
        (b"[[[1]]]", "FP64", [1, 1], "a list of FP64 values"),
        (b"[300]", "UINT8", [1], "a list of UINT8 values"),
        (b"[-1]", "UINT64", [1], "a list of UINT64 values"),
        (b"[1.5]", "INT64", [1], "a list of INT64 values"),
        (b"[true]", "FP32", [1], "a list of FP32 values"),
        (b"[1]", "BOOL", [1], "a list of BOOL values"),
        (b'["1"]', "FP32", [1], "a list of FP32 values"),
        (b"5", "FP32", [1], "a list of FP32 values"),
        (b"", "FP32", [1], "a list of FP32 values"),
        (b"[" * 100_000, "FP32", [1], "a list of FP32 values"),
        (b"[1]", "FP64", [10**30, 10**30], "takes 1"),
    ],
)
def test_json_that_does_not_fit_is_refused(data: bytes, datatype: str, shape: list[int], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        from_json(msgspec.Raw(data), datatype, shape, "inputs['x']")
    assert caught.value.errors[0].field == "inputs['x']"


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "reason"),
    [
        (b"\x00" * 7, "FP32", [2], "not a whole number of FP32"),
        (b"\x00" * 8, "FP32", [3], "takes 3 values, but its data holds 2"),
        (b"\x02", "BOOL", [1], "0 or 1"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(data: bytes, datatype: str, shape: list[int], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        from_bytes(memoryview(data), datatype, shape, "x")


def message(*inputs: dict[str, Any], rest: bytes = b"", **more: Any) -> tuple[bytes, int]:
    head = json.dumps({"inputs": list(inputs), **more}).encode()
    return head + rest, len(head)


def binary(name: str, size: Any, shape: tuple[int, ...] = (1,), datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


PLAIN = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2]}


def test_binary_and_json_tensors_mix_in_the_order_of_the_inputs() -> None:
    one, two = np.array([1.5], "<f4").tobytes(), np.array([7, 8], "<i8").tobytes()
    found = parse(*message(binary("a", 4), PLAIN, binary("b", 16, (2,), "INT64"), rest=one + two, id="mine"))
    assert found.id == "mine"
    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {"a": [1.5], "x": [1, 2], "b": [7, 8]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (message(binary("a", 8), rest=b"1234"), "binary_data_size is 8, but 4 bytes are left"),
        (message(binary("a", -4), rest=b"1234"), "binary_data_size is -4"),
        (message(binary("a", True), rest=b"1"), "binary_data_size is True"),
        (message(binary("a", "4"), rest=b"1234"), "binary_data_size is '4'"),
        (message(binary("a", 10**30), rest=b"1234"), "binary_data_size is 1"),
        (message(PLAIN, rest=b"1234"), "4 bytes follow that no binary_data_size covers"),
        ((b"{}", 3), "Inference-Header-Content-Length is 3, but the body has 2 bytes"),
        ((b"{}", 2), "not an inference request"),
        ((b"", 0), "not an inference request"),
        (message(PLAIN, PLAIN), "given twice"),
        (message({**PLAIN, "datatype": "FP128"}), "unknown datatype 'FP128'; known ones are BOOL, UINT8"),
        (message({**PLAIN, "datatype": "BYTES", "data": ["a", 1]}), "must be a list of BYTES values"),
        (message({**PLAIN, "shape": [1, 1, 2]}), "not an inference request"),
        (message({**PLAIN, "shape": [-2]}), "not an inference request"),
        (message(), "not an inference request"),
        (message(PLAIN, outputs=[{"name": "y"}, {"name": "y"}]), "named twice"),
        (message(PLAIN, parameters={"binary_data_output": 1}), "binary_data_output must be true or false"),
        (message(PLAIN, outputs=[{"name": "y", "parameters": {"classification": 2}}]), "extension behind"),
        (message({**PLAIN, "parameters": {"shared_memory_region": "r"}}), "extension behind"),
    ],
)
def test_messages_that_contradict_themselves_are_refused(body: tuple[bytes, int], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        parse(*body)


headers = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.text(max_size=3),
                    "shape": st.lists(st.integers(0, 4), min_size=1, max_size=2),
                    "datatype": st.sampled_from(DATATYPES),
                },
                optional={
                    "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(0, 40)}),
                    "data": st.lists(st.integers(0, 1) | st.booleans() | st.floats(), max_size=4),
                },
            ),
            max_size=3,
        )
    },
    optional={"outputs": st.lists(st.fixed_dictionaries({"name": st.text(max_size=3)}), max_size=2)},
)


@given(headers, st.binary(max_size=64), st.integers(-3, 3))
def test_bytes_after_the_json_are_read_or_refused(header: dict[str, Any], rest: bytes, off: int) -> None:
    head = json.dumps(header).encode()
    try:
        found = parse(head + rest, max(0, len(head) + off))
    except InvalidInputError:
        return
    for tensor, given_input in zip(found.tensors.values(), header["inputs"], strict=True):
        assert list(tensor.shape) == given_input["shape"]
        assert tensor.size == math.prod(given_input["shape"])


@given(st.binary(max_size=200), st.none() | st.integers(0, 250))
def test_no_bytes_break_the_parser(body: bytes, length: int | None) -> None:
    with pytest.raises(InvalidInputError):
        parse(body, length)


def test_answers_have_the_requested_outputs_in_the_requested_form() -> None:
    outputs = {"y": np.array(["a", "bc"], dtype=object), "p": np.array([[0.5, 0.5], [0.25, 0.75]], "<f4")}
    body, length = write(Inference("1", {}), "m", "7", outputs)
    assert length is None
    assert json.loads(body) == {
        "model_name": "m",
        "model_version": "7",
        "id": "1",
        "outputs": [
            {"name": "y", "shape": [2], "datatype": "BYTES", "data": ["a", "bc"]},
            {"name": "p", "shape": [2, 2], "datatype": "FP32", "data": [0.5, 0.5, 0.25, 0.75]},
        ],
    }
    body, length = write(Inference("", {}, ("p", "y"), True, {"y": False}), "m", "7", outputs)
    head = json.loads(body[:length])
    assert "id" not in head
    assert [output.get("data") for output in head["outputs"]] == [None, ["a", "bc"]]
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert body[length:] == outputs["p"].tobytes()
    with pytest.raises(InvalidInputError, match="no such output, only y, p"):
        write(Inference("", {}, ("z",)), "m", "7", outputs)
