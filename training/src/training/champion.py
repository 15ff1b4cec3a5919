"""Fetch the registered model that a new one is compared with."""

import contextlib
from collections.abc import Iterator

from training.bundle import Bundle, BundleError
from training.gate import Champion
from training.registry import Registry
from training.tracking import Tracking


@contextlib.contextmanager
def loaded_champion(tracking: Tracking, registry: Registry, name: str | None, alias: str) -> Iterator[Champion | None]:
    """Yield the version with an alias, downloaded for the length of the block, or None.

    Raises:
        OutageError: MLflow or its artifact store does not answer.
    """
    version = registry.champion(name, alias) if name else None
    if version is None:
        yield None
        return
    with tracking.downloaded(version.uri) as folder:
        try:
            bundle: Bundle | BundleError = Bundle(folder)
        except BundleError as error:
            bundle = error
        yield Champion(version.title, bundle, version.created / 1000)
