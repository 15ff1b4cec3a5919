"""Name the steps while they run; the terminal decides how that looks."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Protocol


class Step:
    """One running step."""

    def __init__(self) -> None:
        self.outcome = ""


class Steps(Protocol):
    """What shows steps."""

    def step(self, name: str) -> contextlib.AbstractContextManager[Step]:
        """A step by name; what it came to is written to `outcome` inside the block."""

    def note(self, text: str) -> None:
        """Something worth knowing that stops nothing."""


def headline(metrics: Mapping[str, float]) -> str:
    """A model's metrics in one line, without those of single classes, which have a `/` in their name."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if "/" not in name)


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:  # noqa: ARG002 # the protocol's
        """Run the block."""
        yield Step()

    def note(self, text: str) -> None:
        """Drop the note."""
