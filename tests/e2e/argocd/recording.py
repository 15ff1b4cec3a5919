"""Record commands as a person sees them at a terminal, in the asciicast format, version 2.

https://docs.asciinema.org/manual/asciicast/v2/
"""

import codecs
import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.kube import CommandError

WIDTH, HEIGHT = 138, 32
# Several characters are typed in one frame of the picture.
_TYPED_AT_ONCE = 8
_TYPING = 0.25
_READING = 2.5
_CHUNK = 65536
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Recording:
    """One session at a terminal, written to a file while it runs."""

    def __init__(self, file: Path) -> None:
        """Create the file."""
        self._file = file
        self._clock = 0.0
        file.parent.mkdir(parents=True, exist_ok=True)
        head = {"version": 2, "width": WIDTH, "height": HEIGHT, "env": {"TERM": "xterm-256color"}}
        file.write_text(json.dumps(head) + "\n")

    def say(self, text: str) -> None:
        """Show a comment at the prompt, for the viewer."""
        self._type(f"# {text}", colour="90")

    def run(self, line: str, *, cwd: Path, environment: Mapping[str, str], seconds: float) -> str:
        """Run a command line at a terminal, and return its output without colours.

        Raises:
            CommandError: The command failed or took too long.
        """
        self._type(line, colour="1")
        started, process, screen = time.monotonic(), *_at_terminal(shlex.split(line), cwd, environment)
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        printed = ""
        try:
            while chunk := _read(screen):
                text = decode(chunk)
                printed += text
                self._event(time.monotonic() - started, text)
            code = process.wait(max(1.0, seconds - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            process.kill()
            raise CommandError(f"{line}: no end after {seconds:g} s\n{printed}") from None
        finally:
            os.close(screen)
        self._clock += time.monotonic() - started + _READING
        printed = _ESCAPES.sub("", printed).replace("\r\n", "\n")
        if code:
            raise CommandError(f"{line}: exit code {code}\n{printed}")
        return printed

    def _type(self, text: str, *, colour: str) -> None:
        self._event(0.0, "\x1b[36m$\x1b[0m ")
        for start in range(0, len(text), _TYPED_AT_ONCE):
            self._clock += _TYPING
            self._event(0.0, f"\x1b[{colour}m{text[start : start + _TYPED_AT_ONCE]}\x1b[0m")
        self._clock += _TYPING
        self._event(0.0, "\r\n")

    def _event(self, after: float, text: str) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps([round(self._clock + after, 3), "o", text]) + "\n")


def _at_terminal(
    command: list[str], cwd: Path, environment: Mapping[str, str]
) -> "tuple[subprocess.Popen[bytes], int]":
    """Start a command at a separate terminal. The number is the file descriptor of its screen."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    variables = {**os.environ, **environment, "TERM": "xterm-256color", "COLUMNS": str(WIDTH), "GIT_PAGER": "cat"}
    process = subprocess.Popen(
        command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    return process, screen


def _read(screen: int) -> bytes:
    """Read new output from a screen. Return nothing once the command has ended."""
    try:
        return os.read(screen, _CHUNK)
    except OSError:
        return b""
