"""The shadow's version: pinned and loaded like the main one, after it, and only if both take the same rows."""

import asyncio
from typing import Any

from serving.errors import ModelUnusableError
from serving.loader import LoadedModel
from serving.schemas import ShadowHealth
from serving.shadow.pair import Pair
from serving.versions.base import LOADING, VersionManager
from serving.versions.pinned import Pin, PinnedVersion


class ShadowVersion(PinnedVersion):
    """Loads the shadow of `main` when that is served, and pairs it again whenever the main version changes.

    Args:
        main: The versions of the main model.
        main_changed: Set whenever the main model is another version.
        pin: The shadow.
        arguments: The arguments of every `PinnedVersion` after its pin.

    Attributes:
        version: The pinned number.
        pair: What to compare, None while the shadow is not loaded.
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
        """Its state, for people."""
        if self.pair:
            return ShadowHealth(self.version, "ready", "")
        return ShadowHealth(self.version, "loading" if self.problem == LOADING else "failed", self.problem)

    async def run(self) -> None:
        """Load the shadow, with retries until it fits, and again whenever the main model is another version."""
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
