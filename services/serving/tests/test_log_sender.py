"""Files wait for a store that fails, up to a bound, and the end of the process waits no longer than allowed."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from serving.backoff import Backoff
from serving.errors import StoreUnavailableError
from serving.log.files import File
from serving.log.sender import Sender
from serving.log.tally import LogTally

FILES = [File(str(number), b"x" * 10, 1 + number) for number in range(5)]


class Store:
    """A store that accepts files, unless the test makes it fail."""

    def __init__(self) -> None:
        self.fails = False
        self.error: Exception | None = None
        self.asked = 0
        self.files: list[str] = []
        # After this many attempts, the delay is longer than the test may take.
        self.often = asyncio.Event()

    async def put(self, path: str, body: bytes) -> None:
        self.asked += 1
        if self.asked == 9:
            self.often.set()
        if self.error:
            raise self.error
        if self.fails:
            raise StoreUnavailableError("not now")
        self.files.append(path)


def told(tally: LogTally) -> dict[str, float]:
    return {
        sample.labels.get("reason", sample.name.removeprefix("serving_prediction_log_")): sample.value
        for family in tally.collect()
        for sample in family.samples
    }


def run(script: Callable[[Sender, Store, "asyncio.Task[None]"], Awaitable[None]], most_bytes: int = 25) -> LogTally:
    tally = LogTally()

    async def main() -> None:
        store = Store()
        sender = Sender(store.put, Backoff(0.01, 30.0), tally, most_bytes)
        await script(sender, store, sender.start())

    asyncio.run(main())
    return tally


def test_files_that_the_store_refuses_wait_up_to_a_bound_and_are_sent_later() -> None:
    async def script(sender: Sender, store: Store, task: "asyncio.Task[None]") -> None:
        store.fails = True
        for file in FILES:
            await asyncio.to_thread(sender.offer, file)
        await asyncio.sleep(0.05)
        assert store.files == []
        assert store.asked > 1
        store.fails = False
        sender.end()
        await task
        assert store.files == ["0", "1"]
        sender.give_up()

    counted = told(run(script))
    assert (counted["rows_written_total"], counted["store"], counted["stopped"]) == (3, 12, 0)
    assert (counted["bytes_total"], counted["pending_bytes"]) == (20, 0)
    assert abs(counted["last_write_timestamp_seconds"] - time.time()) < 60


@pytest.mark.slow
def test_a_long_delay_between_attempts_ends_with_the_process() -> None:
    async def script(sender: Sender, store: Store, task: "asyncio.Task[None]") -> None:
        store.fails = True
        sender.offer(FILES[0])
        await store.often.wait()
        store.fails = False
        start = time.monotonic()
        sender.end()
        await task
        assert time.monotonic() - start < 1
        assert store.files == ["0"]

    run(script)


def test_rows_lost_at_the_end_or_offered_after_it_are_counted() -> None:
    async def script(sender: Sender, store: Store, task: "asyncio.Task[None]") -> None:
        store.fails = True
        sender.offer(FILES[1])
        await asyncio.sleep(0)
        task.cancel()
        sender.give_up()
        sender.offer(FILES[4])

    counted = told(run(script))
    assert (counted["stopped"], counted["pending_bytes"]) == (7, 0)


def test_an_unexpected_error_ends_an_attempt_and_not_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def script(sender: Sender, store: Store, task: "asyncio.Task[None]") -> None:
        store.error = RuntimeError("nobody foresaw this")
        sender.offer(FILES[0])
        await asyncio.sleep(0.05)
        assert store.asked > 1
        store.error = None
        sender.end()
        await task
        assert store.files == ["0"]

    assert told(run(script))["rows_written_total"] == 1
    assert [getattr(record, "reason", "") for record in caplog.records] == ["RuntimeError: nobody foresaw this"]
