"""The JSON schema of platform.yaml, for completion and checks in editors. `make derived` writes the file."""

import json
from typing import Any

import msgspec

from gitops.platform.model import Platform


def text() -> str:
    """Return the content of the schema file."""
    schema: dict[str, Any] = msgspec.json.schema(Platform)
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "platform.yaml"}
    return json.dumps(heading | schema, indent=2) + "\n"
