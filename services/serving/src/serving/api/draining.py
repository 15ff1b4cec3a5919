"""Whether the process is about to stop."""


class Draining:
    """Whether the process has been told to stop, and wants callers to leave."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active = False
