"""The JSON schema of platform.yaml, by which editors complete and check it: `make derived` writes the file."""

import json
from typing import Any

import msgspec

from gitops.platform.model import Platform


def text() -> str:
    """The schema file's content."""
    schema: dict[str, Any] = msgspec.json.schema(Platform)
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "platform.yaml"}
    return json.dumps(heading | schema, indent=2) + "\n"
