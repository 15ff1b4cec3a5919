"""Runs the application under uvicorn: one process, no threads for requests, and a stop that drops no requests."""

import asyncio
import errno
import gc
import logging
import signal
import socket
import time
from pathlib import Path
from types import FrameType

import uvicorn

from serving.api.connections import GuardedProtocol, guarded
from serving.api.draining import Draining
from serving.app import create_app
from serving.environment import SettingsError
from serving.settings import Settings

logger = logging.getLogger(__name__)

_LINGER_SECONDS = 0.25
_LOOK_SECONDS = 1.0
# libuv accepts one connection from each listening socket in a turn of the event loop
# (https://github.com/libuv/libuv/pull/3696). Turns are long when there are many requests. A new connection, such as a
# probe's, would then wait a turn for each connection before it. So several sockets share one queue.
_LISTENERS = 32
_BACKLOG = 2048


class DrainingServer(uvicorn.Server):
    """A server that stops in two steps on SIGTERM: first it is not ready but still answers, then it ends.

    A second signal, or Ctrl-C, skips the first step. The process always ends with status 0.
    """

    def __init__(self, config: uvicorn.Config, draining: Draining, drain_seconds: float) -> None:
        super().__init__(config)
        self._draining = draining
        self._drain_seconds = drain_seconds
        self._last_look = 0.0
        self._stop_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's)
        """Handle a signal. uvicorn's own handler would raise it again at the end, and the process would fail."""
        if sig == signal.SIGTERM and not self._draining.active:
            self._draining.active = True
            self._stop_at = time.monotonic() + self._drain_seconds
            logger.info("told to stop", extra={"drain_seconds": self._drain_seconds})
        elif self.should_exit:
            self.force_exit = True
        else:
            self._draining.active = self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Check ten times a second whether it is time to stop, and once a second which connections have expired."""
        now = asyncio.get_running_loop().time()
        if now >= self._last_look + _LOOK_SECONDS:
            self._last_look = now
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.expire(now)
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and let callers that connected just before have their answers.

        uvicorn closes connections that are idle at this moment, including those whose request is still on its way.
        The gRPC server stops at the same time, so that both have the same grace period.
        """
        self._draining.ending.set()
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        if self.server_state.connections:
            await asyncio.sleep(_LINGER_SECONDS)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve until the process is told to stop.

    Raises:
        SettingsError: if a port cannot be used, or `create_app` raises it.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app.asgi,
        backlog=_BACKLOG,
        loop="uvloop",
        http=guarded(app.gate),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,
    )
    # uvicorn's warnings are about faulty requests, which callers can send as often as they like.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    listeners = _listeners(settings)
    if settings.grpc_port:
        # The gRPC server binds its port later, in the event loop, where nobody would see the reason of a failure.
        _listener(settings.host, settings.grpc_port, "GRPC_PORT").close()
    logger.info("listening", extra={"host": settings.host, "port": settings.port})
    # Imported modules stay in memory, so the garbage collector need not check them again.
    gc.collect()
    gc.freeze()
    try:
        DrainingServer(config, app.draining, settings.shutdown_drain_seconds).run(listeners)
    finally:
        if settings.unix_socket:
            Path(settings.unix_socket).unlink(missing_ok=True)


def _listeners(settings: Settings) -> list[socket.socket]:
    first = _listener(settings.host, settings.port, "PORT")
    listeners = [first, *(first.dup() for _ in range(_LISTENERS - 1))]
    if settings.unix_socket:
        listeners.append(_unix_listener(Path(settings.unix_socket)))
    if settings.metrics_port:
        listeners.append(_listener(settings.host, settings.metrics_port, "METRICS_PORT"))
    return listeners


def _listener(host: str, port: int, setting: str) -> socket.socket:
    """Listen on an address of either family, with or without brackets. `::` listens on both families."""
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise SettingsError(f"HOST and {setting} cannot be used to listen on: {error.strerror}") from None


def _unix_listener(path: Path) -> socket.socket:
    """Listen on a Unix socket for the process's user and group.

    A socket file without a listener is replaced: a killed process leaves it behind.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _is_answered(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"UNIX_SOCKET {path} cannot be used to listen on: {error.strerror}") from None
    return listener


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) != errno.ECONNREFUSED
