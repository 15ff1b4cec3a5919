"""Servers start, become ready, report why they failed, and leave no process behind."""

import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import psutil
import pytest

from embedded.processes import LOOPBACK, Server, ServerFailedError, free_port, free_ports
from tests.support.waiting import until

_PARENT_WITH_CHILD = """
    import http.server, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(child.pid).encode())
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(folder: Path, program: str, *, environment: dict[str, str] | None = None) -> Server:
    port = free_port()
    return Server(
        "the test server",
        [sys.executable, "-c", textwrap.dedent(program), str(port)],
        url=f"http://{LOOPBACK}:{port}",
        ready_path="/",
        log=folder / "server.log",
        environment=environment,
    )


@pytest.mark.slow
def test_a_server_is_ready_inside_the_block_and_gone_with_its_children_after_it(tmp_path: Path) -> None:
    with server(tmp_path, _PARENT_WITH_CHILD) as running:
        child = int(httpx.get(running.url, trust_env=False).text)
        assert {process.pid for process in running.family()} == {running.pid, child}
    assert not psutil.pid_exists(running.pid)
    assert not psutil.pid_exists(child)
    with pytest.raises(httpx.ConnectError):
        httpx.get(running.url, trust_env=False)


@pytest.mark.slow
def test_the_children_of_a_killed_server_end(tmp_path: Path) -> None:
    with server(tmp_path, _PARENT_WITH_CHILD) as running:
        child = int(httpx.get(running.url, trust_env=False).text)
        running.kill()
        assert running.exit_status() == -9
        assert not psutil.pid_exists(child)


@pytest.mark.slow
def test_the_children_of_a_server_that_has_ended_end(tmp_path: Path) -> None:
    orphaning = """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        sys.exit(3)
    """
    ended = server(tmp_path, orphaning)
    with pytest.raises(ServerFailedError, match="ended with status 3"), ended:
        pytest.fail("it never became ready")
    assert not psutil.pid_exists(int((tmp_path / "server.log").read_text()))


def test_a_server_that_ends_at_once_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    failing = server(tmp_path, "import sys; print('no such database', file=sys.stderr); sys.exit(3)")
    with pytest.raises(ServerFailedError, match=r"(?s)the test server ended with status 3.*no such database"), failing:
        pytest.fail("it never became ready")


def test_a_server_that_never_answers_shows_where_it_waits_and_is_stopped(tmp_path: Path) -> None:
    silent = server(
        tmp_path,
        """
        import time
        def waits_for_the_database():
            print("still busy", flush=True)
            time.sleep(600)
        waits_for_the_database()
        """,
    )
    silent.start()
    try:
        until(lambda: silent.log.read_text() == "still busy\n", seconds=60)
        said = r"(?s)did not answer at http://127\.0\.0\.1:\d+/ in 0 s.*still busy.*in waits_for_the_database"
        with pytest.raises(ServerFailedError, match=said):
            silent.wait_ready(seconds=0.3)
    finally:
        silent.stop()
    assert not psutil.pid_exists(silent.pid)


@pytest.mark.slow
def test_stopping_twice_or_before_the_start_is_fine(tmp_path: Path) -> None:
    never = server(tmp_path, "")
    assert never.stop() is None
    assert never.exit_status() is None
    with pytest.raises(ServerFailedError, match="has not been started"):
        _ = never.pid
    with server(tmp_path, _PARENT_WITH_CHILD) as running:
        running.stop()
        running.stop()


def test_variables_reach_the_server_and_its_output_the_log(tmp_path: Path) -> None:
    program = "import os; print('got', os.environ['MARK']); raise SystemExit(1)"
    with (
        pytest.raises(ServerFailedError, match="got this one"),
        server(tmp_path, program, environment={"MARK": "this one"}),
    ):
        pytest.fail("it never became ready")
    assert (tmp_path / "server.log").read_text() == "got this one\n"


def test_free_ports_can_be_listened_on() -> None:
    port = free_port()
    listener = subprocess.Popen([sys.executable, "-c", f"import socket; socket.create_server(('{LOOPBACK}', {port}))"])
    assert listener.wait(30) == 0


def test_ports_of_one_call_differ() -> None:
    """A server with two listeners on one port fails to start. Eight separate calls would do that once in 350 starts."""
    assert all(len(set(free_ports(100))) == 100 for _ in range(5))
