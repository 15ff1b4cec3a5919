"""How to start this project's servers on one machine."""

from collections.abc import Mapping
from pathlib import Path

from embedded.processes import LOOPBACK, Server, free_port, program

# By default, MLflow's server starts helper processes for its own jobs, which nothing here uses.
_MLFLOW_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def mlflow_server(
    folder: Path,
    *,
    backend: str | None = None,
    artifacts: str | None = None,
    proxied: bool = True,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Describe an MLflow tracking server and registry.

    Args:
        folder: for its log, and by default for its database and artifacts.
        backend: a SQLAlchemy address of the metadata store; an SQLite file in the folder by default.
        artifacts: the artifact root: a folder or an s3:// address; a folder in `folder` by default.
        proxied: whether clients reach artifacts through the server; otherwise they use the store themselves.
        port: the TCP port; a free one by default.
        environment: further variables, such as S3 credentials.
    """
    port = port or free_port()
    artifacts = artifacts or str(folder / "artifacts")
    place = ["--artifacts-destination"] if proxied else ["--no-serve-artifacts", "--default-artifact-root"]
    backend = backend or f"sqlite:///{folder / 'mlflow.db'}"
    address = ["--host", LOOPBACK, "--port", str(port)]
    return Server(
        "MLflow",
        [program("mlflow"), "server", *address, "--workers", "1", *place, artifacts],
        url=f"http://{LOOPBACK}:{port}",
        ready_path="/health",
        log=folder / "mlflow.log",
        # In the environment, because the store's address may contain a password, and everybody can read command lines.
        environment={**_MLFLOW_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": backend, **(environment or {})},
    )


def serving(
    folder: Path, settings: Mapping[str, str], *, port: int | None = None, cpus: frozenset[int] | None = None
) -> Server:
    """Describe a serving process, ready once it has loaded its model.

    Args:
        folder: for its log and the models that it downloads.
        settings: its environment variables, as in services/serving/README.md.
        port: the TCP port; a free one by default.
        cpus: the processors that it may use; None for all.
    """
    port = port or free_port()
    own = {"HOST": LOOPBACK, "PORT": str(port), "MODEL_DIR": str(folder / f"models-{port}")}
    return Server(
        "serving",
        [program("serving"), "run"],
        url=f"http://{LOOPBACK}:{port}",
        ready_path="/health/ready",
        log=folder / f"serving-{port}.log",
        environment={**own, **settings},
        cpus=cpus,
    )
