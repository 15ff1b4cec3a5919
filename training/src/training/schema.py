"""The JSON schema of a model's training.yaml, for editors: types from the structs, sentences from their docstrings."""

from typing import Any

import msgspec
from docstring_parser import parse
from msgspec import Struct

from training.due.settings import DueSettings
from training.model_folder import ModelFile, Resources, Schedule
from training.settings import (
    ColumnSettings,
    CsvSettings,
    Directional,
    GateSettings,
    Invariance,
    OutcomesSettings,
    Range,
    SearchSettings,
    SplitSettings,
)

_STRUCTS: tuple[type[Struct], ...] = (
    ModelFile,
    Schedule,
    DueSettings,
    Resources,
    CsvSettings,
    OutcomesSettings,
    ColumnSettings,
    SplitSettings,
    SearchSettings,
    Range,
    GateSettings,
    Directional,
    Invariance,
)


def model_file_schema() -> dict[str, Any]:
    """Return the schema as JSON values; `training/training.schema.json` holds its output."""
    schema = msgspec.json.schema(ModelFile)
    for struct in _STRUCTS:
        described = schema["$defs"][struct.__name__]
        described["description"] = parse(struct.__doc__ or "").short_description
        for name, sentence in _sentences(struct).items():
            described["properties"][name]["description"] = sentence
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "training.yaml: one model as code",
        **schema,
    }


def _sentences(struct: type[Struct]) -> dict[str, str]:
    """Return each field's description from the docstrings of a struct and its bases, by its name in the file."""
    by_attribute = {
        param.arg_name: " ".join((param.description or "").split())
        for base in reversed(struct.__mro__)
        if issubclass(base, Struct) and base is not Struct
        for param in parse(base.__doc__ or "").params
    }
    return {
        field.encode_name: by_attribute[field.name]
        for field in msgspec.structs.fields(struct)
        if field.name in by_attribute
    }
