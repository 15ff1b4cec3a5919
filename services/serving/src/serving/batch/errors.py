"""Errors about files. Each message names the file and what to do."""

from serving.errors import ServingError


class FileError(ServingError):
    """A file cannot be scored, or its answers cannot be stored. Other files are not affected."""


class InputChangedError(FileError):
    """A file changed after reading it began."""
