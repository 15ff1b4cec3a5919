"""Answers for many rows as JSON, written without a Python object for each row.

The answers of classifiers differ in nothing but the class and six digits. So each class has its answer as a row of
bytes, all of one length, with the digits at the same place; rows of these are picked, and the digits are filled in.
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
# What fills the answers of shorter classes. JSON has no such byte, so it can be taken out of the whole afterwards. That
# takes a third of the time of everything else, so a few bytes are filled with spaces that may stay.
_FILLING = b"\0"
_MOST_SPACES = 8
# Of longer ones, filling and taking out would cost more than an object for each row.
_LONGEST_ANSWER = 256
# A number below 10 with six digits is written as two words of four bytes: `0.12`, and `3456`.
_UPPER_WORDS = np.frombuffer(b"".join(b"%d.%02d" % divmod(number, 100) for number in range(1000)), "<u4")
_LOWER_WORDS = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), "<u4")
# From so many numbers on, numpy rounds them faster than Python does. Of which size, and what makes their digits whole.
_MANY = 16
_POWERS = np.array([10.0**power for power in range(-6, 8)])
_SCALES = np.array([1.0, *(10.0 ** (6 - power) for power in range(-6, 7)), 1.0])
_encoder = msgspec.json.Encoder()


def predictions_of(result: Matrix, spec: ModelSpec) -> list[Prediction]:
    """Says of each row of a result what the model predicts, and how probable it is."""
    named = named_in(result, spec)
    if not spec.classes or spec.labels == "only":
        return [Prediction(name, None) for name in named]
    probabilities = of_places(result, len(spec.classes)).astype(np.float64).round(DECIMALS).tolist()
    return [Prediction(name, probability) for name, probability in zip(named, probabilities, strict=True)]


def named_in(result: Matrix, spec: ModelSpec) -> list[Label | float]:
    """Gives the class of each row of a result, or for regression the number."""
    classes = spec.classes
    if not classes:
        return [*numbers_of(result)]
    return [classes[place] for place in places(result, len(classes)).tolist()]


def numbers_of(result: Matrix) -> list[float]:
    """Gives predicted numbers with the digits that they have; those beyond are left over from their conversion."""
    if result.dtype != np.float32:
        return result.tolist()  # type: ignore[no-any-return]  # numpy says Any
    if len(result) < _MANY:
        return [_rounded(value) for value in result.tolist()]
    values = result.astype(np.float64)
    powers = np.searchsorted(_POWERS, np.abs(values), side="right")
    scale = _SCALES[powers]
    # Within these powers both steps are exact but for the rounding to digits, or to the next double.
    rounded: list[float] = (np.rint(values * scale) / scale).tolist()
    for index in np.flatnonzero((powers == 0) | (powers == len(_POWERS))).tolist():
        rounded[index] = _rounded(values[index])
    return rounded


def _rounded(value: float) -> float:
    # Single precision has seven digits.
    return float(f"{value:.7g}")


def written(result: Matrix, spec: ModelSpec) -> bytes:
    """Writes what `predictions_of` gives as JSON."""
    if not spec.classes:
        # Encoded in one go, and then parted: a number has no comma.
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
            # The same memory, of which four bytes of each row are one word.
            np.ndarray(len(rows), "<u4", rows, rows.shape[1] + at, rows.strides[:1])[:] = words
    text = rows.tobytes()
    if filled:
        text = text.replace(_FILLING, b"")
    return b"[" + text[:-1] + b"]"


# Where the digits stand in an answer, which ends in them, a brace and a comma.
_END = b"0.000000},"
_UPPER, _LOWER = -10, -6


@lru_cache(64)
def _answers(classes: bytes, with_digits: bool) -> tuple[Bytes | None, bool]:
    """Makes the answers for classes that are given as JSON, shape [classes, bytes], and tells whether some are filled.

    None where one is too long.
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
