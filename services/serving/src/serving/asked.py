"""Who asks, for those who note answers later: known to whatever is done for a request, without being handed through."""

from contextvars import ContextVar

import msgspec


class Asked(msgspec.Struct, eq=False, gc=False):
    """A request: its id, whose API key it has (empty: none needed), and whether all its rows are logged by chance."""

    identity: bytes
    owner: str
    sampled: bool = False


ASKED: ContextVar[Asked] = ContextVar("ASKED")


def note(identity: bytes, owner: str) -> None:
    """Notes who asks in the task that answers."""
    ASKED.set(Asked(identity, owner))
