"""Spans of the work in progress. They are discarded unless tracing is on (see `tracing`)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Attributes = Mapping[str, str | int]


class Spans:
    """Records pieces of work. This base class records nothing."""

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[None]:  # noqa: ARG002  (for subclasses)
        """Record the work inside the block as one span, within the one around it, with the error that it raises."""
        yield


NO_SPANS = Spans()
