"""The current request as a context variable, so that code that logs its answer need not get it as an argument."""

from contextvars import ContextVar

import msgspec


class Asked(msgspec.Struct, eq=False, gc=False):
    """A request: its id, the owner of its API key (empty without one), and whether sampling logs all its rows."""

    identity: bytes
    owner: str
    sampled: bool = False


ASKED: ContextVar[Asked] = ContextVar("ASKED")


def note(identity: bytes, owner: str) -> None:
    """Set the current request, in the task that answers it."""
    ASKED.set(Asked(identity, owner))
