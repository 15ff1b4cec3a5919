"""Long settings in a run: MLflow limits the length of a parameter, so they are split over several."""

from collections.abc import Mapping
from itertools import count
from typing import Any

# MLflow cuts off longer texts, with a warning that nobody sees.
_MOST = 6000


def in_parts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters, with long texts split: they continue in `NAME.2`, `NAME.3` and so on."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        found[name] = value
        if isinstance(value, str) and len(value) > _MOST:
            parts = [value[at : at + _MOST] for at in range(0, len(value), _MOST)]
            found |= {name: parts[0], **{f"{name}.{number}": part for number, part in enumerate(parts[1:], start=2)}}
    return found


def whole(recorded: Mapping[str, str], name: str) -> str:
    """Return the text that was recorded under a name, with its further parts."""
    text = recorded[name]
    for number in count(2):
        part = recorded.get(f"{name}.{number}")
        if part is None:
            break
        text += part
    return text
