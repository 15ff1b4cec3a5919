"""Kinds of options that several commands have, and what they stand for."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

from cyclopts import Parameter

from gitops.cluster.client import Cluster
from gitops.errors import BadInputError
from gitops.pins.registry import MlflowRegistry
from gitops.platform.model import PIPELINE

Json = Annotated[bool, Parameter(negative="", show_default=False)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
MlflowUrl = Annotated[str | None, Parameter(env_var="MLFLOW_TRACKING_URI")]
_MLFLOW_PORT = 5000


def contexts_of(texts: Sequence[str]) -> dict[str, str]:
    """The contexts of clusters by their names in platform.yaml, as `--context-of` gives them.

    Raises:
        BadInputError: One is not CLUSTER=CONTEXT.
    """
    found = {}
    for text in texts:
        name, equals, context = text.partition("=")
        if not (name and equals and context):
            raise BadInputError(f"--context-of: {text!r} is not CLUSTER=CONTEXT.")
        found[name] = context
    return found


@contextmanager
def registry(url: str | None, cluster: Cluster) -> Iterator[MlflowRegistry]:
    """The registry at an address, or the cluster's own through a port-forward.

    Raises:
        OutageError: The cluster does not answer, or has no MLflow.
    """
    with ExitStack() as stack:
        yield MlflowRegistry(url or stack.enter_context(cluster.forwarded(PIPELINE, "mlflow", _MLFLOW_PORT)))
