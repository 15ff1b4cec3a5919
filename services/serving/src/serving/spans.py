"""Spans of the work in progress; they go nowhere unless tracing is on (see `tracing`)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Attributes = Mapping[str, str | int]


class Spans:
    """Takes note of pieces of work. This one does not."""

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[None]:  # noqa: ARG002  (for those who do)
        """Marks the work inside the block as one piece, part of the one around it; what it raises is noted."""
        yield


NO_SPANS = Spans()
