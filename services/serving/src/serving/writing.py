"""Writes answers for many rows as JSON, without a Python object for each row.

The answers of a classifier differ only in the class and in six digits. So for each class there is an answer as a row of
bytes. All have the same length, with the digits at the same position. The rows are selected by class, and the digits
are written into them.
"""

from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelformat.mlmodel import Label
from serving.labels import of_places, places
from serving.runtimes.base import Matrix
from serving.schemas import Prediction
from serving.signature import ModelSpec

Bytes = NDArray[np.uint8]

DECIMALS = 6
# The padding of the answers for shorter labels. JSON never has this byte, so it can be removed at the end. Removing
# it takes a third of the time of everything else, so short gaps are padded with spaces instead, which may stay.
_FILLING = b"\0"
_MOST_SPACES = 8
# Padding and removing longer answers would cost more than an object for each row.
_LONGEST_ANSWER = 256
# A number below 10 with six digits is written as two words of four bytes: `0.12`, and `3456`.
_UPPER_WORDS = np.frombuffer(b"".join(b"%d.%02d" % divmod(number, 100) for number in range(1000)), "<u4")
_LOWER_WORDS = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), "<u4")
# numpy rounds this many numbers or more faster than Python does. The powers find the size of a number, and its scale
# makes its significant digits a whole number.
_MANY = 16
_POWERS = np.array([10.0**power for power in range(-6, 8)])
_SCALES = np.array([1.0, *(10.0 ** (6 - power) for power in range(-6, 7)), 1.0])
_encoder = msgspec.json.Encoder()


def predictions_of(result: Matrix, spec: ModelSpec) -> list[Prediction]:
    """Return the prediction and its probability for each row of a result."""
    named = named_in(result, spec)
    if not spec.classes or spec.labels == "only":
        return [Prediction(name, None) for name in named]
    probabilities = of_places(result, len(spec.classes)).astype(np.float64).round(DECIMALS).tolist()
    return [Prediction(name, probability) for name, probability in zip(named, probabilities, strict=True)]


def named_in(result: Matrix, spec: ModelSpec) -> list[Label | float]:
    """Return the class of each row of a result, or for regression the number."""
    classes = spec.classes
    if not classes:
        return [*numbers_of(result)]
    return [classes[place] for place in places(result, len(classes)).tolist()]


def numbers_of(result: Matrix) -> list[float]:
    """Return predicted numbers with the digits of their precision. Further digits would come only from conversion."""
    if result.dtype != np.float32:
        return result.tolist()  # type: ignore[no-any-return]  # numpy says Any
    if len(result) < _MANY:
        return [_rounded(value) for value in result.tolist()]
    values = result.astype(np.float64)
    powers = np.searchsorted(_POWERS, np.abs(values), side="right")
    scale = _SCALES[powers]
    # Within these powers, each step is exact except for the rounding to digits, or to the nearest double.
    rounded: list[float] = (np.rint(values * scale) / scale).tolist()
    for index in np.flatnonzero((powers == 0) | (powers == len(_POWERS))).tolist():
        rounded[index] = _rounded(values[index])
    return rounded


def _rounded(value: float) -> float:
    # Single precision has seven digits.
    return float(f"{value:.7g}")


def written(result: Matrix, spec: ModelSpec) -> bytes:
    """Return the JSON of what `predictions_of` returns."""
    if not spec.classes:
        # Encoded at once and then split at the commas, which numbers do not contain.
        texts = _encoder.encode(numbers_of(result))[1:-1]
        return (
            b'[{"prediction":' + texts.replace(b",", b',"probability":null},{"prediction":') + b',"probability":null}]'
        )
    best = places(result, len(spec.classes))
    with_digits = spec.labels != "only"
    answers, filled = _answers(_encoder.encode(spec.classes), with_digits)
    if answers is None:
        return _encoder.encode(predictions_of(result, spec))
    rows = answers.take(best, axis=0)
    if with_digits:
        probabilities = result[np.arange(len(result)), best].astype(np.float64)
        millionths = np.rint(probabilities * 10**DECIMALS)
        if not (millionths.min() >= 0 and millionths.max() < 10 * 10**DECIMALS):
            return _encoder.encode(predictions_of(result, spec))
        upper, lower = np.divmod(millionths.astype(np.int32), 10_000)
        for at, words in ((_UPPER, _UPPER_WORDS.take(upper)), (_LOWER, _LOWER_WORDS.take(lower))):
            # A view of the same memory, in which four bytes of each row are one word.
            np.ndarray(len(rows), "<u4", rows, rows.shape[1] + at, rows.strides[:1])[:] = words
    text = rows.tobytes()
    if filled:
        text = text.replace(_FILLING, b"")
    return b"[" + text[:-1] + b"]"


# The positions of the digits from the end of an answer. It ends with the digits, a brace and a comma.
_END = b"0.000000},"
_UPPER, _LOWER = -10, -6


@lru_cache(64)
def _answers(classes: bytes, with_digits: bool) -> tuple[Bytes | None, bool]:
    """Return the answers for classes that are given as JSON, shape [classes, bytes], and whether some have padding.

    None if an answer is too long.
    """
    end = b',"probability":' + (_END if with_digits else b"null},")
    texts = [b'{"prediction":' + bytes(label) for label in msgspec.json.decode(classes, type=list[msgspec.Raw])]
    longest, shortest = max(map(len, texts)), min(map(len, texts))
    size = longest + len(end)
    if size > _LONGEST_ANSWER:
        return None, False
    stays = longest - shortest <= _MOST_SPACES
    begun = [text + end[:1] + b" " * (longest - len(text)) + end[1:] if stays else text + end for text in texts]
    filled = b"".join(text.rjust(size, _FILLING) for text in begun)
    return np.frombuffer(filled, np.uint8).reshape(-1, size), not stays
