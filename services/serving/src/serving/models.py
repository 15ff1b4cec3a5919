"""All registered models that one process serves: a Version Manager for each, with a common cache and folder."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from serving.artifacts.files import ModelFiles
from serving.backoff import Backoff
from serving.cache import CacheEvents, ModelCache
from serving.errors import UnknownVersionError
from serving.loader import LoadedModel, ModelLoader
from serving.metrics import Metrics
from serving.registry import Registry
from serving.runtimes.base import RuntimeOptions
from serving.settings import Settings, WantedModel
from serving.sources import Sources
from serving.spans import NO_SPANS, Spans
from serving.trial import Bounds
from serving.versions.base import Listener, VersionManager
from serving.versions.pinned import Pin, PinnedVersion
from serving.versions.staged import FollowedStage, Stage

if TYPE_CHECKING:
    from serving.shadow.version import ShadowVersion

# The longest delay between retries is this many times as long as for a model that requests wait for.
_SHADOW_PATIENCE = 10
# The most names that the error for an unknown name lists.
_NAMES_TOLD = 20


class Models:
    """The models of one process by their names, in the order of the settings.

    Attributes:
        main: The model for requests that name none.
        shadow: The version that the main one is compared with, if there is one. It does not answer requests, and
            nothing waits for it.
    """

    def __init__(self, main: VersionManager, *others: VersionManager, shadow: "ShadowVersion | None" = None) -> None:
        self.main = main
        self.shadow = shadow
        self._by_name = {versions.name: versions for versions in (main, *others)}

    def __iter__(self) -> Iterator[VersionManager]:
        return iter(self._by_name.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models, the main one first."""
        return tuple(self._by_name)

    @property
    def ready(self) -> bool:
        """Whether each of them has been loaded. Once true, it stays true."""
        return all(versions.current for versions in self)

    @property
    def problem(self) -> str:
        """A sentence that says why a model is not the wanted version; empty if all are."""
        if self.main.problem:
            return self.main.problem
        return next((f"{versions.name}: {versions.problem}" for versions in self if versions.problem), "")

    def require_all(self) -> None:
        """Make sure that each of them has been loaded.

        Raises:
            NotReadyError: naming the first that has not.
        """
        for versions in self:
            versions.latest()

    def find(self, name: str) -> VersionManager:
        """Return the versions of a model.

        Raises:
            UnknownVersionError: if there is no model with this name.
        """
        if name not in self._by_name:
            told = ", ".join(map(repr, self.names[:_NAMES_TOLD]))
            more = len(self._by_name) - _NAMES_TOLD
            others = f" and {more} more" if more > 0 else ""
            raise UnknownVersionError(f"This server has no model {name[:100]!r}, only {told}{others}.")
        return self._by_name[name]

    async def run(self) -> None:
        """Load all models, and follow the stages of those that are not pinned."""
        await asyncio.gather(*(versions.run() for versions in (*self, *filter(None, [self.shadow]))))


def open_models(
    settings: Settings,
    sources: Sources,
    folder: Path,
    metrics: Metrics,
    spans: Spans,
) -> Models:
    """Create the models that the settings name. No other server is contacted before `run`."""
    cache = ModelCache(settings.model_cache_size, settings.model_cache_bytes, metrics)
    metrics.models_loaded.set_function(lambda: len(cache))
    loader = model_loader(settings, sources, folder, spans)

    def registry_of(name: str) -> Registry:
        return registry(settings, sources, name, metrics.registry_error, spans)

    def manager(wanted: WantedModel, digest_setting: str, on_change: Listener = metrics.served) -> VersionManager:
        asked = registry_of(wanted.name)
        backoff = Backoff(settings.retry_min_seconds, settings.retry_max_seconds)
        if wanted.version:
            pin = pin_of(wanted, digest_setting)
            metrics.pinned(pin.name, pin.version, pin.digest)
            return PinnedVersion(pin, loader, asked, cache, backoff, on_change, spans)
        stage = Stage(wanted.name, wanted.stage, settings.model_poll_seconds)
        return FollowedStage(stage, loader, asked, cache, backoff, on_change, spans)

    def shadow_of(main: VersionManager, wanted: WantedModel) -> "ShadowVersion":
        # Imported here, so that only deployments that use it pay for it.
        from serving.shadow.version import ShadowVersion  # noqa: PLC0415

        # With a separate cache, because a cache keeps only one version of each name for certain.
        own = ModelCache(1, settings.model_cache_bytes, CacheEvents())
        backoff = Backoff(settings.retry_min_seconds, _SHADOW_PATIENCE * settings.retry_max_seconds)
        pin = pin_of(wanted, "SHADOW_DIGEST")
        return ShadowVersion(main, changed, pin, loader, registry_of(wanted.name), own, backoff, lambda _: None, spans)

    changed = asyncio.Event()

    def served(model: LoadedModel) -> None:
        metrics.served(model)
        changed.set()

    wanted, *others = settings.models
    main = manager(wanted, "MODEL_DIGEST", served)
    return Models(
        main,
        *(manager(other, f"EXTRA_MODELS[{index}].digest") for index, other in enumerate(others)),
        shadow=shadow_of(main, settings.shadow) if settings.shadow else None,
    )


def registry(
    settings: Settings,
    sources: Sources,
    name: str,
    on_error: Callable[[str], None] = lambda _: None,
    spans: Spans = NO_SPANS,
) -> Registry:
    """Create the registry client for one registered model."""
    return Registry(
        sources.mlflow,
        name,
        timeout=settings.registry_timeout_seconds,
        on_error=on_error,
        spans=spans,
        folders=settings.registry_folders == "allow",
    )


def pin_of(wanted: WantedModel, digest_setting: str) -> Pin:
    """Return the pin of a model whose version the settings name. `digest_setting` is the setting of its digest."""
    return Pin(wanted.name, wanted.version, wanted.digest, wanted.uri, wanted.release, digest_setting)


def model_loader(settings: Settings, sources: Sources, folder: Path, spans: Spans = NO_SPANS) -> ModelLoader:
    """Create the loader of versions, with a folder for their files and the settings' bounds."""
    # One more for each model, so that versions that are being loaded do not push others out of the folder.
    count = len(settings.models) + (settings.shadow is not None)
    keep = max(settings.model_cache_size, count) + count
    return ModelLoader(
        ModelFiles(
            folder,
            sources.stores,
            max_bytes=settings.max_model_bytes,
            keep=keep,
            seconds=settings.download_seconds,
            spans=spans,
        ),
        RuntimeOptions(settings.runtime, settings.pickle_models == "trust-and-run", settings.extra_trusted_types),
        spans,
        Bounds(settings.trial_seconds, settings.trial_cpu_seconds, settings.trial_memory_bytes),
    )
