"""The two ways in which a command ends without doing its work; both carry one sentence for the person who ran it."""


class TrainingError(Exception):
    """A sentence for the terminal, and the exit code that goes with it."""

    exit_code = 1


class BadInputError(TrainingError):
    """Something that was given (data, option, file, model, version) cannot be used as it is."""

    exit_code = 2


class OutageError(TrainingError):
    """Something that the command depends on (MLflow, its artifact store) does not answer."""

    exit_code = 1
