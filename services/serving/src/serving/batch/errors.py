"""What can go wrong with files; each message names the file and the way out."""

from serving.errors import ServingError


class FileError(ServingError):
    """One file cannot be scored, or its answers cannot be kept; others may be."""


class InputChangedError(FileError):
    """A file is not the one any more that was begun with."""
