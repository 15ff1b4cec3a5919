"""The progress of steps. The terminal decides how to show it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Protocol


class Step:
    """One running step."""

    def __init__(self) -> None:
        self.outcome = ""


class Steps(Protocol):
    """Shows the progress of steps."""

    def step(self, name: str) -> contextlib.AbstractContextManager[Step]:
        """Run a step in a block, which writes its result to `outcome`."""

    def note(self, text: str) -> None:
        """Show a remark that does not stop the command."""


def headline(metrics: Mapping[str, float]) -> str:
    """Return a model's metrics in one line, without those of single classes, which have a `/` in their names."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if "/" not in name)


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:  # noqa: ARG002 # the protocol's
        """Run the block."""
        yield Step()

    def note(self, text: str) -> None:
        """Drop the note."""
