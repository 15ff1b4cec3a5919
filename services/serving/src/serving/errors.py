"""Errors. Callers may read their messages, which contain no addresses, paths or stack traces."""

import msgspec

# All errors of decoding JSON into a Struct, for any bytes.
MALFORMED = (msgspec.MsgspecError, UnicodeError, RecursionError)


class FieldError(msgspec.Struct, frozen=True):
    """One problem of a request: the field, such as `features[2]`, and the reason.

    If the reason is a category that the model does not know, `unknown_in` is its column.
    """

    field: str
    reason: str
    unknown_in: str = ""


class ServingError(Exception):
    """The base of all errors that this package raises on purpose."""


class InvalidInputError(ServingError):
    """The request does not fit the API or the model's signature."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(
            "; ".join(f"{error.field}: {error.reason}" if error.field else error.reason for error in errors)
        )
        self.errors = errors


class TooManyRowsError(ServingError):
    """The request has more rows than the limit."""


class UnknownVersionError(ServingError):
    """The requested model or version does not exist, or this deployment does not provide it."""


class UnavailableError(ServingError):
    """It is not possible now, but may be later."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverloadedError(UnavailableError):
    """More requests wait than can be answered soon."""

    def __init__(self) -> None:
        super().__init__("Too many requests are already waiting; try again shortly.", retry_after=1)


class NotReadyError(UnavailableError):
    """No model is loaded yet."""


class RegistryUnavailableError(UnavailableError):
    """MLflow does not answer, or refuses the request."""


class StoreUnavailableError(UnavailableError):
    """The artifact store does not answer, or refuses the request."""


class ModelUnusableError(ServingError):
    """A model version that cannot be served as it is. Only another version or another setting helps."""


class DigestMismatchError(ModelUnusableError):
    """The files of a version do not have the expected digest."""
