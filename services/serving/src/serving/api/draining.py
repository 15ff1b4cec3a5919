"""Whether the process is about to stop."""


class Draining:
    """Set when the process has been told to stop. Callers are then asked to close their connections."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active = False
