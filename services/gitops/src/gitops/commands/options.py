"""Types of options that several commands share, and how to resolve their values."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

from cyclopts import Parameter

from gitops.cluster.client import Cluster
from gitops.cluster.secrets import MLFLOW_GITOPS, MLFLOW_PASSWORD, MLFLOW_USER, BootstrapSecret, decoded
from gitops.errors import BadInputError
from gitops.pins.registry import MlflowLogin, MlflowRegistry, given_login
from gitops.platform.model import PIPELINE
from gitops.programs import ProgramFailedError

Json = Annotated[bool, Parameter(negative="", show_default=False)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
MlflowUrl = Annotated[str | None, Parameter(env_var="MLFLOW_TRACKING_URI")]
PrometheusUrl = Annotated[str, Parameter(env_var="GITOPS_PROMETHEUS_URL", show_default=False)]
_MLFLOW_PORT = 5000


def contexts_of(texts: Sequence[str]) -> dict[str, str]:
    """Return the contexts of `--context-of`, by cluster name in platform.yaml.

    Raises:
        BadInputError: A text is not CLUSTER=CONTEXT.
    """
    found = {}
    for text in texts:
        name, equals, context = text.partition("=")
        if not (name and equals and context):
            raise BadInputError(f"--context-of: {text!r} is not CLUSTER=CONTEXT.")
        found[name] = context
    return found


@contextmanager
def registry(url: str | None, cluster: Cluster, user: BootstrapSecret = MLFLOW_GITOPS) -> Iterator[MlflowRegistry]:
    """Connect to the registry at an address, or to the cluster's own through a port-forward.

    Args:
        url: The address. The user is then that of MLFLOW_TRACKING_USERNAME, if any.
        cluster: Where MLflow runs, if there is no address.
        user: The Secret in that cluster with the user to sign in as, if no other is given.

    Raises:
        OutageError: The cluster does not answer, or has no MLflow.
    """
    with ExitStack() as stack:
        if url:
            yield MlflowRegistry(url)
        else:
            forwarded = stack.enter_context(cluster.forwarded(PIPELINE, "mlflow", _MLFLOW_PORT))
            yield MlflowRegistry(forwarded, login=given_login() or _login(cluster, user))


def _login(cluster: Cluster, user: BootstrapSecret) -> MlflowLogin | None:
    """Return the user in the Secret; None if the Secret does not exist or may not be read."""
    try:
        values = decoded(cluster.find("secrets", user.name, user.namespace) or {})
    except ProgramFailedError:
        return None
    if values.get(MLFLOW_USER) and values.get(MLFLOW_PASSWORD):
        return MlflowLogin(values[MLFLOW_USER], values[MLFLOW_PASSWORD])
    return None
