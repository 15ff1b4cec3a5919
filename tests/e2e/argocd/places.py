"""One service in one environment, with the names that it must have: written down here, not asked of what is tested."""

import msgspec

_ROWS = {
    "iris": [5.1, 3.5, 1.4, 0.2],
    "wine": [14.23, 1.71, 2.43, 15.6, 127.0, 2.8, 3.06, 0.28, 2.29, 5.64, 1.04, 3.92, 1065.0],
}


class Place(msgspec.Struct, frozen=True):
    """One service in one environment."""

    environment: str
    service: str
    legacy: str = ""
    """What it was called before services had names: its objects are still called LEGACY-ENVIRONMENT."""

    def __str__(self) -> str:
        """As `gitops` takes it."""
        return f"{self.environment}/{self.service}"

    @property
    def application(self) -> str:
        """Its Argo CD application."""
        return f"{self.service}-{self.environment}"

    @property
    def namespace(self) -> str:
        """Where its objects are."""
        return f"ml-pipeline-{self.environment}"

    @property
    def name(self) -> str:
        """Its Helm release, Deployment and Service."""
        return f"{self.legacy}-{self.environment}" if self.legacy else self.service

    @property
    def address(self) -> str:
        """Where pods find its API."""
        return f"http://{self.name}.{self.namespace}"

    @property
    def release(self) -> str:
        """The file of its pins."""
        return f"envs/{self.environment}/{self.service}/release.yaml"

    @property
    def row(self) -> list[float]:
        """Something to predict."""
        return _ROWS[self.service]


STAGING = Place("staging", "iris")
PRODUCTION = Place("production", "iris")
WINE_STAGING = Place("staging", "wine")
WINE_PRODUCTION = Place("production", "wine")
