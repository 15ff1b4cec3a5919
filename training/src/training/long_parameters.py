"""Settings that a run records and an evaluation takes up again: MLflow keeps so many letters in one parameter."""

from collections.abc import Mapping
from itertools import count
from typing import Any

# What is longer is cut off by MLflow, with a warning that nobody sees.
_MOST = 6000


def in_parts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of which a long text goes on under `NAME.2`, `NAME.3` and so on."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        found[name] = value
        if isinstance(value, str) and len(value) > _MOST:
            parts = [value[at : at + _MOST] for at in range(0, len(value), _MOST)]
            found |= {name: parts[0], **{f"{name}.{number}": part for number, part in enumerate(parts[1:], start=2)}}
    return found


def whole(recorded: Mapping[str, str], name: str) -> str:
    """The text that was recorded under a name, with all that it goes on with."""
    text = recorded[name]
    for number in count(2):
        part = recorded.get(f"{name}.{number}")
        if part is None:
            break
        text += part
    return text
