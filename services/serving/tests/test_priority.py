"""Threads whose work may wait lower their priority, and work at any priority that the process was started with."""

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from serving.explaining.queue import Limits, Queue
from serving.explaining.tally import ExplainTally
from serving.priority import step_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a separate priority for each thread")

# Run as a user who may not raise a priority, which root may.
ASK = """
import asyncio, os, sys
from serving.explaining.queue import Limits, Queue
from serving.explaining.tally import ExplainTally
async def main():
    queue = Queue(Limits(1, 5.0), ExplainTally())
    async with asyncio.timeout(10):
        print(await queue.run(lambda check: "explained"))
os.nice(15)
if os.geteuid() == 0:
    os.setuid(65534)
asyncio.run(main())
"""


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def in_a_thread(nice: int, work: Any) -> list[int]:
    """Run work in a thread of some priority, and return its priority afterwards."""
    found: list[int] = []

    def act() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(nice, niceness()))
        found.append(work() or niceness())

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    return found


def test_a_thread_lowers_its_priority_and_never_raises_it() -> None:
    before = niceness()
    assert in_a_thread(0, step_back) == [max(before, 10)]
    assert in_a_thread(17, step_back) == [max(before, 17)]
    assert niceness() == before


def test_work_in_the_queue_has_low_priority_too() -> None:
    async def main() -> int:
        found, _ = await Queue(Limits(1, 5.0), ExplainTally()).run(lambda _: niceness())
        return found

    assert in_a_thread(0, lambda: asyncio.run(main())) == [max(niceness(), 10)]


def test_a_process_that_was_started_with_low_priority_explains() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, check=False)
    assert "explained" in done.stdout, done.stderr
