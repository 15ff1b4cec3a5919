"""Start a server, wait until it answers, and stop it with all processes that it started."""

import contextlib
import errno
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

LOOPBACK = "127.0.0.1"
NOBODYS_PORT = 1
NOBODY = f"http://{LOOPBACK}:{NOBODYS_PORT}"
"""An address where nothing listens, for a server that is down. A port that is only free now could be in use a second
later."""
# Below the ports that systems give to outgoing connections, which could take one before it is used, and below
# Kubernetes' NodePorts.
_PORTS = range(20_000, 30_000)
_PORTS_TRIED = 50
# A busy machine takes many times as long as an idle one, on which the slowest server starts in 15 s.
_START_SECONDS = 180.0
_STOP_SECONDS = 15.0
_END_SECONDS = 5.0
# Of each thread of a server and of its child processes, so that the log says what a server waits for.
_LINES_OF_STACKS = 120


class ServerFailedError(RuntimeError):
    """A server ended, or did not answer in time. The message has the last lines of its log."""


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports on the loopback address that nothing listens on now.

    Ask for all the ports of one server at once: two calls may return the same port.

    Raises:
        OSError: too few ports are free.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in random.SystemRandom().sample(_PORTS, _PORTS_TRIED + count):
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(errno.EADDRINUSE, f"fewer than {count} ports between {_PORTS.start} and {_PORTS.stop} are free")


def free_port() -> int:
    """Return a TCP port on the loopback address that nothing listens on now.

    Raises:
        OSError: no port is free.
    """
    return free_ports(1)[0]


def program(name: str) -> str:
    """Return the path of a command in this Python's environment, even if the environment is not activated."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


class Server:
    """A server process with its own process group, log file and address.

    As a context manager, it starts on entry and ends on exit, with all processes that it started.
    """

    def __init__(  # noqa: PLR0913  (starting a process needs all of them)
        self,
        name: str,
        command: Sequence[str],
        *,
        url: str,
        ready_path: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cpus: frozenset[int] | None = None,
        ready_statuses: frozenset[int] = frozenset({200}),
    ) -> None:
        """Describe a server without starting it.

        Args:
            name: its name in messages.
            command: the program and its arguments.
            url: its address, without a path.
            ready_path: the path to request until the answer has one of `ready_statuses`.
            log: the file to append its output to.
            environment: variables in addition to this process's own.
            cpus: the processors that it may use; None for all.
            ready_statuses: the HTTP statuses that mean "ready".
        """
        self.name = name
        self.url = url
        self.log = log
        self._command = list(command)
        self._environment = {"PYTHONFAULTHANDLER": "1", **os.environ, **(environment or {})}
        self._ready_url = url + ready_path
        self._ready_statuses = ready_statuses
        self._cpus = cpus
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server and wait until it is ready."""
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            ServerFailedError: it has not been started.
        """
        if self._process is None:
            raise ServerFailedError(f"{self.name} has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start the process; it may not answer yet."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        if self._cpus is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, self._cpus)

    def wait_ready(self, seconds: float = _START_SECONDS) -> float:
        """Wait until the server answers, and return how many seconds that took from the call.

        Raises:
            ServerFailedError: it ended, or did not answer in `seconds`.
        """
        started = time.perf_counter()
        # Loading all certificate authorities, or polling often, would slow down the server's start.
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with httpx.Client(timeout=2.0, trust_env=False, verify=trust) as client:
            while True:
                if (status := self.exit_status()) is not None:
                    raise ServerFailedError(f"{self.name} ended with status {status}.\n{self.last_lines()}")
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(self._ready_url).status_code in self._ready_statuses:
                        return time.perf_counter() - started
                if time.perf_counter() - started > seconds:
                    self._show_where_it_waits()
                    raise ServerFailedError(
                        f"{self.name} did not answer at {self._ready_url} in {seconds:.0f} s.\n"
                        f"{self.last_lines(_LINES_OF_STACKS)}"
                    )
                time.sleep(max(0.02, (time.perf_counter() - started) / 20))

    def _show_where_it_waits(self) -> None:
        """End the server and its child processes by SIGABRT: Python writes the stack of each thread to the log."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGABRT)
        _alive(family)

    def exit_status(self) -> int | None:
        """Return the status that the process ended with, or None while it runs or before it is started."""
        return None if self._process is None else self._process.poll()

    def terminate(self) -> None:
        """Tell the server to end (SIGTERM), without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> int | None:
        """End the server and all processes that it started; safe to call twice.

        Returns:
            The exit status, or None if it was never started.
        """
        if self._process is None:
            return None
        family = _all_of(self._process.pid)
        self.terminate()
        try:
            status = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait(_STOP_SECONDS)
        _end(family)
        return status

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would."""
        if self._process is None:
            return
        family = _all_of(self._process.pid)
        self._process.kill()
        self._process.wait(_STOP_SECONDS)
        _end(family)

    def family(self) -> list[psutil.Process]:
        """Return the server's process and those that it started, if they are alive."""
        return _family(self.pid)

    def last_lines(self, count: int = 15) -> str:
        """Return the end of the log, with its path."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"The end of {self.log}:", *lines[-count:]])


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _all_of(pid: int) -> list[psutil.Process]:
    """Return a server's family, and all of its session: once a server has ended, its children have no parent."""
    found = {process.pid: process for process in _family(pid)}
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == pid:
                found.setdefault(process.pid, process)
    return list(found.values())


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in _alive(processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _alive(processes)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait for processes to end, and return those that have not ended in time."""
    try:
        _, alive = psutil.wait_procs(processes, timeout=_END_SECONDS)
    except FileNotFoundError:
        # A process ended while psutil began to wait for it.
        _, alive = psutil.wait_procs(processes, timeout=_END_SECONDS)
    return list(alive)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C inside the block, so that everything that was started is stopped in both cases.

    SIGINT is set too, because a shell starts background processes of a script with SIGINT ignored.
    """

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
