"""The tables of serving's settings and of its smoke test's."""

import msgspec

from serving.environment import Variable, variables
from serving.settings import Settings, SmokeSettings
from tools.derived.blocks import replaced, table

# The section of the README that says more.
_SECTIONS = {
    "EXTRA_MODELS": "several-models",
    "SHADOW_VERSION": "shadow",
    "EXPLAIN": "explanations",
    "PREDICTION_LOG": "prediction-log",
}


def written(text: str) -> str:
    """Return services/serving/README.md with both tables."""
    return replaced(replaced(text, "settings", _table(Settings)), "smoke-settings", _table(SmokeSettings))


def _table(kind: type[msgspec.Struct]) -> str:
    rows = [
        (f"`{found.name}`", f"`{found.default}`" if found.default else "-", _meaning(found))
        for found in variables(kind)
    ]
    return table(("variable", "default", "what for"), rows)


def _meaning(variable: Variable) -> str:
    choices = f" ({', '.join(f'`{choice}`' for choice in variable.choices)})" if variable.choices else ""
    section = _SECTIONS.get(variable.name)
    return variable.description + choices + (f" ([above](#{section}))" if section else "")
