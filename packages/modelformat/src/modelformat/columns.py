"""The kinds of columns, and their names in the signature and the metadata of a model (docs/model-format.md)."""

from typing import Literal

from msgspec import Struct

Kind = Literal["number", "integer", "boolean", "category", "datetime"]
Unknown = Literal["accept", "refuse"]

# MLflow's names for the kinds, as training writes them into signatures.
SIGNATURE_TYPES: dict[Kind, str] = {
    "number": "double", "integer": "long", "boolean": "boolean", "category": "string", "datetime": "datetime",
}  # fmt: skip
# The kinds by the names in signatures, including names that only other programs write.
KINDS: dict[str, Kind] = {
    "float": "number",
    "integer": "integer",
    **{name: kind for kind, name in SIGNATURE_TYPES.items()},
}
# A missing text. No category has this name.
NO_TEXT = ""


class ColumnMetadata(Struct, frozen=True, omit_defaults=False):
    """The entry of a column in `metadata.columns`; it must agree with the signature.

    A prediction log must not keep the values of a `sensitive` column.
    """

    name: str
    kind: Kind
    optional: bool = False
    categories: tuple[str, ...] = ()
    unknown: Unknown = "accept"
    sensitive: bool = False
