"""Pin mode: serves exactly one version, which git names."""

import msgspec

from serving.backoff import Backoff
from serving.cache import ModelCache
from serving.errors import DigestMismatchError, UnknownVersionError
from serving.loader import LoadedModel, ModelLoader, ModelSource
from serving.registry import Registry
from serving.spans import NO_SPANS, Spans
from serving.versions.base import LATEST, Listener, VersionManager, registered_source


class Pin(msgspec.Struct, frozen=True):
    """The version to serve, and its digest. With an address, the registry is not used.

    `digest_setting` is the setting of the digest, for the error message.
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
        """Return the pinned model, if the caller names it."""
        release = self._pin.release or (self.current.release if self.current else "")
        if wanted not in (LATEST, self._pin.version) and not (release and wanted == release):
            raise UnknownVersionError(
                f"This deployment is pinned to version {self._pin.version} of {self._pin.name!r} and serves no other."
            )
        return self.latest()

    async def run(self) -> None:
        """Load the pinned version, with retries."""
        while not await self._attempt(self._load):
            pass

    async def _load(self) -> None:
        source = await pinned_source(self._pin, self._registry)
        self._become(await self._cache.get_or_load(source.name, source.version, lambda: self._loader.load(source)))


async def pinned_source(pin: Pin, registry: Registry) -> ModelSource:
    """Return the source of a pinned version. The registry is only asked if the pin has no address.

    Raises:
        DigestMismatchError: if the registry has another digest for the version.
        UnknownVersionError: if the version has not passed the gate, or is not complete yet.
        RegistryUnavailableError: if MLflow does not answer.
    """
    if pin.uri:
        return ModelSource(pin.name, pin.version, pin.uri, pin.digest, pin.release)
    source = await registered_source(registry, pin.name, await registry.by_number(pin.version))
    if pin.digest and source.digest and pin.digest != source.digest:
        raise DigestMismatchError(f"the registry gives version {pin.version} the digest {source.digest}, "
                                  f"but {pin.digest_setting} is {pin.digest}")  # fmt: skip
    return msgspec.structs.replace(source, digest=pin.digest or source.digest, release=pin.release or source.release)
