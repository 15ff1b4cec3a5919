"""The sources of models: MLflow and artifact stores, whose clients are created when they are first needed.

HTTP takes 4 MB of memory, and the code for S3 as much again. A process that serves a pinned model from a folder, whose
address is in the settings, needs neither.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from serving.artifacts.base import ArtifactStore
from serving.artifacts.folder import FolderStore
from serving.settings import Settings

if TYPE_CHECKING:
    import httpx

    from serving.artifacts.s3 import S3Store


class Sources:
    """The sources that the settings name. Nothing is contacted before it is needed.

    Attributes:
        stores: A function that returns the store, for each scheme of artifact addresses.
    """

    def __init__(self, settings: Settings) -> None:
        """Check the settings, without a request.

        Raises:
            SettingsError: if no certificates can be read from SSL_CERT_FILE.
        """
        self._settings = settings
        if settings.ssl_cert_file:
            from serving.certificates import trusted  # noqa: PLC0415  (see above)

            trusted(settings.ssl_cert_file)
        self.stores: dict[str, Callable[[], ArtifactStore]] = {
            "s3": lambda: self._s3,
            "mlflow-artifacts": lambda: self._proxied,
            "file": FolderStore,
        }

    def mlflow(self) -> "httpx.AsyncClient":
        """Return the client of MLflow, always the same one."""
        return self._mlflow

    async def aclose(self) -> None:
        """Close the connections, if any were opened."""
        opened = vars(self)
        if "_mlflow" in opened:
            await self._mlflow.aclose()
        if "_s3" in opened:
            await self._s3.aclose()

    @cached_property
    def _mlflow(self) -> "httpx.AsyncClient":
        from serving.registry import Login, mlflow_client  # noqa: PLC0415  (see above)

        settings = self._settings
        login = Login(
            settings.mlflow_tracking_username, settings.mlflow_tracking_password, settings.mlflow_tracking_token
        )
        return mlflow_client(
            settings.mlflow_tracking_uri, login, settings.registry_timeout_seconds, settings.ssl_cert_file
        )

    @cached_property
    def _proxied(self) -> ArtifactStore:
        from serving.artifacts.proxied import ProxiedStore  # noqa: PLC0415  (see above)

        return ProxiedStore(self._mlflow)

    @cached_property
    def _s3(self) -> "S3Store":
        from serving.artifacts.s3 import S3Store  # noqa: PLC0415  (see above)

        settings = self._settings
        return S3Store(settings.s3_endpoint_url, settings.aws_region, settings.s3_secret_name, settings.ssl_cert_file)
