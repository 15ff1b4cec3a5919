"""The manifest next to the answers to a file: what was scored, and by which model."""

import msgspec

from serving.batch.places import Identity
from serving.errors import MALFORMED

SUFFIX = ".manifest.json"


class Model(msgspec.Struct, frozen=True):
    """The model that answered."""

    name: str
    version: str
    release: str
    digest: str
    runtime: str


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file: its address, its content and its rows."""

    address: str
    identity: Identity
    rows: int = 0


class Options(msgspec.Struct, frozen=True):
    """The options that the answers depend on."""

    format: str
    keep: str
    csv_separator: str


class Manifest(msgspec.Struct, frozen=True):
    """A file that was scored. The manifest is written last, so if it exists, the answers are complete.

    `rejected` is the file of the rows that were not answered, None if there are none. `input.rows` counts them too.
    """

    input: Part
    model: Model
    options: Options
    output: Part
    rejected: Part | None
    finished: str
    seconds: float
    serving: str

    def encoded(self) -> bytes:
        """Return it as JSON that is easy to read."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decoded(content: bytes | None) -> Manifest | None:
    """Parse a manifest. None if there is no content, or it is something else."""
    try:
        return msgspec.json.decode(content or b"", type=Manifest)
    except MALFORMED:
        return None
