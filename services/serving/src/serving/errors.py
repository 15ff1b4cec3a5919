"""What can go wrong, told in sentences that a caller may read: no addresses, paths or stack traces in them."""

import msgspec

# What decoding JSON into a Struct raises, whatever the bytes are.
MALFORMED = (msgspec.MsgspecError, UnicodeError, RecursionError)


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with a request: the field, such as `features[2]`, and why.

    `unknown_in` is the column where the reason is a category that the model does not know.
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
    """The request holds more rows than the limit."""


class UnknownVersionError(ServingError):
    """The model or version that was asked for does not exist, or is not to be had from this deployment."""


class UnavailableError(ServingError):
    """It cannot be done now, and may work later."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverloadedError(UnavailableError):
    """More requests are waiting already than can be answered soon."""

    def __init__(self) -> None:
        super().__init__("Too many requests are already waiting; try again shortly.", retry_after=1)


class NotReadyError(UnavailableError):
    """No model is loaded yet."""


class RegistryUnavailableError(UnavailableError):
    """MLflow does not answer, or refuses to."""


class StoreUnavailableError(UnavailableError):
    """The artifact store does not answer, or refuses to."""


class ModelUnusableError(ServingError):
    """A model version that cannot be served as it is; only another version or another setting helps."""


class DigestMismatchError(ModelUnusableError):
    """The files of a version are not those that were named by its digest."""
