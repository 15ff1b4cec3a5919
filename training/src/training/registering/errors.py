"""The error for a model that cannot be registered."""


class UnfitError(Exception):
    """A model cannot be served; the message says why."""
