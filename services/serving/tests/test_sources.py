"""A process does not import what it does not need, and clients only trust whom they need."""

import os
import ssl
import subprocess
import sys

import certifi

from services.serving.tests.conftest import Bundle
from serving.certificates import trusted

# Starts the application like a server, waits until it is ready, and prints which of the heavy modules are imported.
SERVE = """
import asyncio, os, sys
from serving.app import create_app
from serving.environment import read
from serving.settings import Settings

async def main():
    app = create_app(read(Settings, os.environ)).asgi
    started, stopped = asyncio.Event(), asyncio.Event()

    async def receive():
        if started.is_set():
            await stopped.wait()
            return {"type": "lifespan.shutdown"}
        return {"type": "lifespan.startup"}

    async def send(message):
        assert message["type"] in ("lifespan.startup.complete", "lifespan.shutdown.complete"), message
        started.set()

    running = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    await started.wait()
    answers = []

    async def ask(path):
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
                 "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [],
                 "server": ("x", 80), "client": ("x", 1), "state": {}}
        async def body():
            return {"type": "http.request", "body": b"", "more_body": False}
        async def note(message):
            answers.append(message.get("status"))
        await app(scope, body, note)
        return [status for status in answers if status][-1]

    async with asyncio.timeout(30):
        while await ask("/health/ready") != 200:
            await asyncio.sleep(0.05)
    stopped.set()
    await running

asyncio.run(main())
heavy = ("httpx", "botocore", "urllib3", "sklearn", "anyio._backends._asyncio")
print(*(name for name in heavy if name in sys.modules))
"""


def test_a_pinned_model_in_a_folder_needs_no_clients(iris: Bundle) -> None:
    environ = {**os.environ, "MODEL_NAME": "iris", **iris.pin()}
    done = subprocess.run(
        [sys.executable, "-c", SERVE], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_certificates_are_checked_and_the_usual_ones_are_loaded_by_the_first_connection() -> None:
    context = trusted()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == []


def test_those_of_a_file_are_trusted_at_once() -> None:
    context = trusted(certifi.where())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs()
