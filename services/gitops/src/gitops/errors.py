"""Errors that end a command; each carries one sentence for the person who ran it."""


class GitopsError(Exception):
    """A message for the terminal, and the exit code that goes with it."""

    exit_code = 1


class BadInputError(GitopsError):
    """An input (option, file, revision, model version) cannot be used as it is."""

    exit_code = 2


class OutageError(GitopsError):
    """A system that the command depends on (cluster, registry, MLflow) does not answer."""


class NotConvergedError(GitopsError):
    """The cluster did not reach the state in git."""


class NotWantedError(GitopsError):
    """The request is valid, but something forbids it now: a hold, a failed test, a time window."""

    exit_code = 3
