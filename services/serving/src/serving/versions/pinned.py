"""Pin mode: one version, named by git, and never another."""

import msgspec

from serving.backoff import Backoff
from serving.cache import ModelCache
from serving.errors import DigestMismatchError, UnknownVersionError
from serving.loader import LoadedModel, ModelLoader, ModelSource
from serving.registry import Registry
from serving.spans import NO_SPANS, Spans
from serving.versions.base import LATEST, Listener, VersionManager, registered_source


class Pin(msgspec.Struct, frozen=True):
    """The version to serve, with the digest that it must have; with an address, the registry is not used.

    `digest_setting` is where the digest was set, for the person who corrects it.
    """

    name: str
    version: str
    digest: str = ""
    uri: str = ""
    release: str = ""
    digest_setting: str = "MODEL_DIGEST"


class PinnedVersion(VersionManager):
    """Serves the pin, and answers 404 for every other version."""

    mode = "pin"

    def __init__(
        self,
        pin: Pin,
        loader: ModelLoader,
        registry: Registry,
        cache: ModelCache,
        backoff: Backoff,
        on_change: Listener,
        spans: Spans = NO_SPANS,
    ) -> None:
        super().__init__(pin.name, cache, backoff, on_change, spans)
        self._pin = pin
        self._loader = loader
        self._registry = registry

    async def get(self, wanted: str) -> LoadedModel:
        """Gives the pinned model, if that is what was asked for."""
        release = self._pin.release or (self.current.release if self.current else "")
        if wanted not in (LATEST, self._pin.version) and not (release and wanted == release):
            raise UnknownVersionError(
                f"This deployment is pinned to version {self._pin.version} of {self._pin.name!r} and serves no other."
            )
        return self.latest()

    async def run(self) -> None:
        """Tries until the pinned version is loaded."""
        while not await self._attempt(self._load):
            pass

    async def _load(self) -> None:
        source = await pinned_source(self._pin, self._registry)
        self._become(await self._cache.get_or_load(source.name, source.version, lambda: self._loader.load(source)))


async def pinned_source(pin: Pin, registry: Registry) -> ModelSource:
    """Finds what the loader needs of a pinned version; the registry is asked only where the pin has no address.

    Raises:
        DigestMismatchError: when the registry gives the version another digest.
        UnknownVersionError: when the version has not passed the gate, or is not complete yet.
        RegistryUnavailableError: when MLflow does not answer.
    """
    if pin.uri:
        return ModelSource(pin.name, pin.version, pin.uri, pin.digest, pin.release)
    source = await registered_source(registry, pin.name, await registry.by_number(pin.version))
    if pin.digest and source.digest and pin.digest != source.digest:
        raise DigestMismatchError(f"the registry gives version {pin.version} the digest {source.digest}, "
                                  f"but {pin.digest_setting} is {pin.digest}")  # fmt: skip
    return msgspec.structs.replace(source, digest=pin.digest or source.digest, release=pin.release or source.release)
