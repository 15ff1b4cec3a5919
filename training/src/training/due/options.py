"""The options of the commands that ask whether a model is due."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from training.options import Json
from training.settings import texts


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DueOptions:
    """Which Prometheus and alerts to check."""

    prometheus: Annotated[str, Parameter(show_default=False)] = ""
    """Address of the Prometheus whose alerts count, such as http://HOST:9090. [default: no alerts are checked]"""
    alert_label: Annotated[list[str] | None, Parameter(negative="")] = None
    """A label that alerts must have, such as namespace=NAME; repeatable. [default: any]"""

    def labels(self) -> dict[str, str]:
        """Return the labels.

        Raises:
            BadInputError: One is not of the form key=value.
        """
        return texts("alert-label", self.alert_label or [])


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WhyOptions(DueOptions):
    """Why the model is trained."""

    reason: Annotated[str, Parameter(show_default=False)] = ""
    """Why the model is trained, in one sentence. It becomes a tag of the version, and a line of the commit that pins
    it."""
    if_due: Json = False
    """Check first whether training is due, as `training due` does. Train only if there is a reason, which the
    version records. Without a reason, nothing is trained and the exit code is 0."""
