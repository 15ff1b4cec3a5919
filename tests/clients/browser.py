"""A browser that is controlled through the WebDriver protocol (chromedriver), if this machine has one."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

DRIVER = shutil.which("chromedriver")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_SECONDS = 60
_ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"]


class Browser:
    """One window of a browser."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client = client
        self._path = f"/session/{session}"

    def open(self, url: str) -> None:
        """Open an address."""
        self._ask("url", url=url)

    def fill(self, css: str, text: str) -> None:
        """Replace the text of a field. In a list, select the option with that text."""
        found = self._find(css)
        if self._client.get(f"{self._path}/element/{found}/name").json()["value"] == "select":
            self._ask(f"element/{self._find(f'{css} option[value={text!r}]')}/click")
            return
        self._ask(f"element/{found}/clear")
        self._ask(f"element/{found}/value", text=text)

    def click(self, css: str) -> None:
        """Click on an element."""
        self._ask(f"element/{self._find(css)}/click")

    def run(self, script: str) -> Any:
        """Run the body of a function in the page, and return its result."""
        return self._ask("execute/sync", script=script, args=[])

    def wait(self, script: str) -> Any:
        """Run the body of a function in the page until its result is truthy, and return it."""
        deadline = time.monotonic() + _SECONDS
        while not (found := self.run(script)):
            assert time.monotonic() < deadline, f"gave up waiting for: {script}"
            time.sleep(0.05)
        return found

    def close(self) -> None:
        """Close the browser."""
        self._client.delete(self._path)

    def _find(self, css: str) -> str:
        return str(self._ask("element", using="css selector", value=css)[_ELEMENT])

    def _ask(self, what: str, **body: Any) -> Any:
        answer = self._client.post(f"{self._path}/{what}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a separate browser, and close it at the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert DRIVER
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=_SECONDS) as client:
            made = Browser(client, _session(client))
            try:
                yield made
            finally:
                made.close()
    finally:
        driver.terminate()
        driver.wait()


def _session(client: httpx.Client) -> str:
    capabilities = {"alwaysMatch": {"goog:chromeOptions": {"args": _ARGUMENTS}}}
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            answer = client.post("/session", json={"capabilities": capabilities})
        except httpx.ConnectError:
            assert time.monotonic() < deadline, "chromedriver does not listen"
            time.sleep(0.05)
            continue
        assert answer.status_code == 200, answer.text
        return str(answer.json()["value"]["sessionId"])
