"""Texts that are probably something else: numbers and dates in another form, and words with spaces around them."""

import re
from collections.abc import Sequence

_CURRENCY = r"(?:[$\u20ac\u00a3\u00a5]|EUR|USD|GBP|CHF)"
_GROUPED = r"\d{1,3}(?:([.,' \u00a0\u202f\u2019])\d{3})(?:\1\d{3})*(?:[.,]\d+)?"
_NUMBER = re.compile(rf"[+-]?\s*{_CURRENCY}?\s*[+-]?(?:{_GROUPED}|\d+(?:[.,]\d+)?)\s*(?:%|{_CURRENCY})?")
_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[AaPp]\.?[Mm]\.?)?"
_DAY = r"\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d)|\d{4}([./-])\d{1,2}\2\d{1,2}"
_TIME = re.compile(rf"(?:{_DAY})(?:[T, ]+{_CLOCK})?|{_CLOCK}")
_MOST_NAMED = 3
_WAY_OUT = "If they are names, kind: category in training.yaml says so."


def about_texts(texts: Sequence[str]) -> str | None:
    """Say what the different texts of a column look like, if they were probably not meant as text.

    Args:
        texts: The different texts, without the empty one.

    Returns:
        A sentence that continues `column NAME`, or None.
    """
    if not texts:
        return None
    stripped = [text.strip() for text in texts]
    if all(map(_NUMBER.fullmatch, stripped)) and not all(map(str.isdecimal, stripped)):
        return (
            f"holds numbers in a form that is read as text, such as {_named(texts)}, so a model learns each one as a "
            f"name. Write them with digits and a decimal point only. {_WAY_OUT}"
        )
    if all(map(_TIME.fullmatch, stripped)):
        return (
            f"holds dates or times in a form that is read as text, such as {_named(texts)}, so a model learns each one "
            f"as a name. Write dates as ISO 8601 (2024-01-31), and times of day as numbers. {_WAY_OUT}"
        )
    return about_spaces(texts)


def about_spaces(texts: Sequence[str]) -> str | None:
    """Say which texts begin or end with spaces, in a sentence that continues `column NAME`; None if there are none."""
    padded = [text for text in texts if text != text.strip()]
    if not padded:
        return None
    return (
        f"holds texts with spaces around them, such as {_named(padded)}. They differ from the same texts without "
        "spaces: remove the spaces."
    )


def _named(texts: Sequence[str]) -> str:
    return ", ".join(repr(text[:30]) for text in texts[:_MOST_NAMED])
