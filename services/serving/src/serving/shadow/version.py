"""The shadow's version: pinned and loaded as the main one is, after it, and only where both take the same rows."""

import asyncio
from typing import Any

from serving.errors import ModelUnusableError
from serving.loader import LoadedModel
from serving.schemas import ShadowHealth
from serving.shadow.pair import Pair
from serving.versions.base import LOADING, VersionManager
from serving.versions.pinned import Pin, PinnedVersion


class ShadowVersion(PinnedVersion):
    """Loads the shadow of `main` once that is served, and pairs it with whatever version that changes to.

    Args:
        main: What is answered with.
        main_changed: Is set whenever that is another version.
        pin: The shadow.
        arguments: What every `PinnedVersion` takes after its pin.

    Attributes:
        version: The number that is pinned.
        pair: What to compare; None while there is nothing to.
    """

    served_message = "shadow loaded"
    not_served_message = "the shadow is not compared"

    def __init__(self, main: VersionManager, main_changed: asyncio.Event, pin: Pin, *arguments: Any) -> None:
        super().__init__(pin, *arguments)
        self.version = pin.version
        self.pair: Pair | None = None
        self._main = main
        self._main_changed = main_changed

    @property
    def health(self) -> ShadowHealth:
        """How it is, for people."""
        if self.pair:
            return ShadowHealth(self.version, "ready", "")
        return ShadowHealth(self.version, "loading" if self.problem == LOADING else "failed", self.problem)

    async def run(self) -> None:
        """Tries until the shadow is loaded and fits, and again whenever the main model is another version."""
        while True:
            await self._main_changed.wait()
            self._main_changed.clear()
            while not await self._attempt(self._load):
                pass

    def _become(self, model: LoadedModel) -> None:
        self.pair = None
        try:
            pair = Pair(self._main.latest(), model)
        except ModelUnusableError as error:
            raise ModelUnusableError(f"version {model.version} cannot be compared: {error}") from None
        super()._become(model)
        self.pair = pair
