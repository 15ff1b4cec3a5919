"""The messages between a serving process and the process of a trial (see `trial`)."""

import msgspec

from serving.runtimes.base import RuntimeOptions


class Request(msgspec.Struct, frozen=True):
    """The request to the process of a trial: the version's folder, how to open it, the limits, and the parent."""

    folder: str
    options: RuntimeOptions
    cpu_seconds: int
    memory_bytes: int
    parent: int


class Report(msgspec.Struct, frozen=True):
    """A line of the process's output: the runtime that it is about to import, and then its success or the error."""

    runtime: str = ""
    passed: bool = False
    refused: str = ""
    out_of_memory: bool = False
