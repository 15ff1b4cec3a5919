"""Whether the process is about to stop."""

import asyncio


class Draining:
    """How far the process is with its stop.

    Attributes:
        active: Whether it has been told to stop. Callers are then asked to close their connections.
        ending: Set when its servers accept no more requests, and finish those in progress.
    """

    __slots__ = ("active", "ending")

    def __init__(self) -> None:
        self.active = False
        self.ending = asyncio.Event()
