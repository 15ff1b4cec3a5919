"""What a serving process and the process of a trial say to each other (see `trial`)."""

import msgspec

from serving.runtimes.base import RuntimeOptions


class Request(msgspec.Struct, frozen=True):
    """What the process of a trial is told: the folder of the version, what may be done with it, and who asks."""

    folder: str
    options: RuntimeOptions
    cpu_seconds: int
    memory_bytes: int
    parent: int


class Report(msgspec.Struct, frozen=True):
    """A line of what it says: which runtime it is about to import, and then that all is well, or what is not."""

    runtime: str = ""
    passed: bool = False
    refused: str = ""
    out_of_memory: bool = False
