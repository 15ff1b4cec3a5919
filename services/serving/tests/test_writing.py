"""Answers for many rows are the same whether they are written at once or one by one."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelformat.mlmodel import Label
from serving.signature import ModelSpec
from serving.writing import numbers_of, predictions_of, written

singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
shares = arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(0, 1, width=32))
labels = st.one_of(
    st.lists(st.text(max_size=12), min_size=3, max_size=3, unique=True),
    st.lists(st.integers(-(2**53), 2**53), min_size=3, max_size=3, unique=True),
)


def spec(classes: "list[Label]", labels: str = "largest") -> ModelSpec:
    task = "classification" if classes else "regression"
    content = {"task": task, "columns": (), "classes": tuple(classes), "target": "y", "labels": labels}
    return ModelSpec(**content, onnx_file="", sklearn_file="", sklearn_format="")  # type: ignore[arg-type]


def one_after_the_other(result: np.ndarray, about: ModelSpec) -> object:
    return json.loads(msgspec.json.encode(predictions_of(result, about)))


@given(shares, labels)
@example(
    np.array([[1.0000001, 0, 0], [0.4, 0.6, 0], [0.1, 0.2, 0.9999999]], np.float32), ["a", '\0\\"', "a longer é one"]
)
def test_classes_and_their_probabilities(result: np.ndarray, classes: "list[Label]") -> None:
    text = written(result, spec(classes))
    assert json.loads(text) == one_after_the_other(result, spec(classes))
    assert b"\0" not in text
    assert b"  " * 8 not in text or any(" " in str(label) for label in classes)


@given(shares, st.integers(0, 2))
def test_classes_that_the_model_names_itself(result: np.ndarray, place: int) -> None:
    named = np.column_stack([result, np.full(len(result), place, np.float32)])
    about = spec(["no", "perhaps", "yes"], "predicted")
    assert json.loads(written(named, about)) == one_after_the_other(named, about)
    about = spec(["no", "perhaps", "yes"], "only")
    assert json.loads(written(result, about)) == one_after_the_other(result, about)


@pytest.mark.parametrize("odd", [-0.25, 12.5, 1e9])
def test_a_value_that_is_not_a_probability_is_written_too(odd: float) -> None:
    result = np.array([[odd, -1.0], [0.25, 0.75]])
    assert json.loads(written(result, spec([False, True]))) == one_after_the_other(result, spec([False, True]))


def test_labels_of_any_length() -> None:
    result = np.array([[0.2, 0.8], [0.7, 0.3]])
    about = spec(["x" * 1000, "y"])
    assert json.loads(written(result, about)) == one_after_the_other(result, about)


def test_labels_that_are_equal_in_python_stay_different() -> None:
    result = np.array([[0.25, 0.75]])
    assert written(result, spec([False, True])).startswith(b'[{"prediction":true,')
    assert written(result, spec([0, 1])).startswith(b'[{"prediction":1,')


@given(st.lists(singles, min_size=1, max_size=40))
@example([0.0, -0.0, 1e-6, 9.999999e-7, 1e7, 9999999.0, 9999999.5, 16777217.0, 3.4028235e38, 1e-45, 0.1, 1 / 3] * 2)
@example([value * 10.0**power for power in range(-7, 9) for value in (1.0, 0.99999994, 1.0000001, 2.5)])
def test_numbers_have_the_digits_of_their_precision(values: list[float]) -> None:
    result = np.array(values, np.float32)
    expected = [float(f"{value:.7g}") for value in result.tolist()]
    assert numbers_of(result) == expected
    assert [each["prediction"] for each in json.loads(written(result, spec([])))] == expected
    assert numbers_of(result.astype(np.float64)) == result.tolist()
    assert json.loads(written(result, spec([]))) == one_after_the_other(result, spec([]))
