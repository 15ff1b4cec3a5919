"""Runs the application under uvicorn: one process, no threads for requests, and a stop that drops nothing."""

import asyncio
import gc
import logging
import signal
import socket
import time
from types import FrameType

import uvicorn

from serving.api.observed import Draining
from serving.app import create_app
from serving.settings import Settings

logger = logging.getLogger(__name__)

# Longer than proxies keep theirs (60 s at nginx), so that it is never this side that closes a connection in use.
_KEEP_ALIVE_SECONDS = 75
_LINGER_SECONDS = 0.25


class DrainingServer(uvicorn.Server):
    """Stops in two steps on SIGTERM: first not ready but still answering, then no more.

    A second signal, or Ctrl-C, leaves the first step out. The process ends with 0 either way.
    """

    def __init__(self, config: uvicorn.Config, draining: Draining, drain_seconds: float) -> None:
        super().__init__(config)
        self._draining = draining
        self._drain_seconds = drain_seconds
        self._stop_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's)
        """Takes a signal. uvicorn's own would note it down and raise it again at the end, which ends in failure."""
        if sig == signal.SIGTERM and not self._draining.active:
            self._draining.active = True
            self._stop_at = time.monotonic() + self._drain_seconds
            logger.info("told to stop", extra={"drain_seconds": self._drain_seconds})
        elif self.should_exit:
            self.force_exit = True
        else:
            self._draining.active = self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Looks, ten times a second, whether it is time to stop."""
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops listening, and lets those who connected just before have their answer.

        uvicorn closes connections that are idle at this moment, also those whose request is still on its way.
        """
        for server in self.servers:
            server.close()
        if self.server_state.connections:
            await asyncio.sleep(_LINGER_SECONDS)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serves until it is told to stop."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logger.info("listening", extra={"host": settings.host, "port": settings.port})
    # What is imported by now stays for good; the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    DrainingServer(config, app.draining, settings.shutdown_drain_seconds).run()
