"""One service in one environment, with its expected names. They are listed here, not read from the code under test."""

from typing import Any

import msgspec

_ROWS: dict[str, list[Any]] = {
    "iris": [5.1, 3.5, 1.4, 0.2],
    # Text, numbers and a missing value.
    "penguins": ["Torgersen", 39.1, None, 181, 3750, "male"],
}


class Place(msgspec.Struct, frozen=True):
    """One service in one environment."""

    environment: str
    service: str
    legacy: str = ""
    """Its name before services had names: its objects are still called LEGACY-ENVIRONMENT."""

    def __str__(self) -> str:
        """Return the spelling that `gitops` uses."""
        return f"{self.environment}/{self.service}"

    @property
    def application(self) -> str:
        """Return the name of its Argo CD application."""
        return f"{self.service}-{self.environment}"

    @property
    def namespace(self) -> str:
        """Return the namespace of its objects."""
        return f"ml-pipeline-{self.environment}"

    @property
    def name(self) -> str:
        """Return the name of its Helm release, Deployment and Service."""
        return f"{self.legacy}-{self.environment}" if self.legacy else self.service

    @property
    def address(self) -> str:
        """Return the address of its API for pods."""
        return f"http://{self.name}.{self.namespace}"

    @property
    def release(self) -> str:
        """Return the file of its pins."""
        return f"envs/{self.environment}/{self.service}/release.yaml"

    @property
    def row(self) -> list[Any]:
        """Return a row to predict."""
        return _ROWS[self.service]


STAGING = Place("staging", "iris")
PRODUCTION = Place("production", "iris")
PENGUINS_STAGING = Place("staging", "penguins")
PENGUINS_PRODUCTION = Place("production", "penguins")
