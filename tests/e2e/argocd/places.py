"""One service in one environment, with the names that it must have: written down here, not asked of what is tested."""

from typing import Any

import msgspec

_ROWS: dict[str, list[Any]] = {
    "iris": [5.1, 3.5, 1.4, 0.2],
    # Text, numbers and a gap.
    "penguins": ["Torgersen", 39.1, None, 181, 3750, "male"],
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
    def row(self) -> list[Any]:
        """Something to predict."""
        return _ROWS[self.service]


STAGING = Place("staging", "iris")
PRODUCTION = Place("production", "iris")
PENGUINS_STAGING = Place("staging", "penguins")
PENGUINS_PRODUCTION = Place("production", "penguins")
