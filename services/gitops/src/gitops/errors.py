"""The ways in which a command ends without doing its work; each carries one sentence for the person who ran it."""


class GitopsError(Exception):
    """A sentence for the terminal, and the exit code that goes with it."""

    exit_code = 1


class BadInputError(GitopsError):
    """Something that was given (option, file, revision, model version) cannot be used as it is."""

    exit_code = 2


class OutageError(GitopsError):
    """Something that the command depends on (cluster, registry, MLflow) does not answer."""


class NotConvergedError(GitopsError):
    """The cluster did not come to run what git says."""


class NotWantedError(GitopsError):
    """What was asked for can be done, and something says not to do it now: a hold, a failed test, a set time."""

    exit_code = 3
