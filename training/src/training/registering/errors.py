"""Why a model cannot be taken."""


class UnfitError(Exception):
    """A model is none that could be served; the message says why."""
