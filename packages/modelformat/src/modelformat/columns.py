"""What a column can hold, and how the signature and the metadata of a model say it (docs/model-format.md)."""

from typing import Literal

from msgspec import Struct

Kind = Literal["number", "integer", "boolean", "category", "datetime"]
Unknown = Literal["accept", "refuse"]

# MLflow's names for the kinds, as training writes them into signatures.
SIGNATURE_TYPES: dict[Kind, str] = {
    "number": "double", "integer": "long", "boolean": "boolean", "category": "string", "datetime": "datetime",
}  # fmt: skip
# Those that others write, too, and what they mean.
KINDS: dict[str, Kind] = {
    "float": "number",
    "integer": "integer",
    **{name: kind for kind, name in SIGNATURE_TYPES.items()},
}
# A missing text, which no category can be.
NO_TEXT = ""


class ColumnMetadata(Struct, frozen=True, omit_defaults=False):
    """What `metadata.columns` says of a column; it has to agree with the signature.

    `sensitive` tells that no log of predictions may keep its values.
    """

    name: str
    kind: Kind
    optional: bool = False
    categories: tuple[str, ...] = ()
    unknown: Unknown = "accept"
    sensitive: bool = False
