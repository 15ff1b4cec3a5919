"""The two ways in which a command fails; each error has one sentence for the person who ran it."""


class TrainingError(Exception):
    """An error with a sentence for the terminal, and an exit code."""

    exit_code = 1


class BadInputError(TrainingError):
    """An input (data, option, file, model, version) cannot be used as it is."""

    exit_code = 2


class OutageError(TrainingError):
    """A service that the command needs (MLflow, its artifact store) does not answer."""

    exit_code = 1
