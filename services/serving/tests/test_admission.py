"""How many requests may wait: as many as the settings allow, and no more than can be answered in time."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.admission import Admission


class Clock:
    """A clock whose time the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def serve(admission: Admission, clock: Clock, took: Iterable[float]) -> None:
    """Let requests arrive together, and answer them one after another."""
    times = list(took)
    for _ in times:
        admission.came()
    for seconds in times:
        clock.now += seconds
        admission.answered()


def room(admission: Admission) -> int:
    """Return how many requests may still come."""
    came = 0
    while not admission.full:
        admission.came()
        came += 1
    admission.left(came)
    return came


def test_requests_that_do_not_wait_for_the_processor_do_not_count() -> None:
    admission = Admission(2, 1.0)
    admission.came()
    admission.came()
    assert admission.full
    with admission.parked():
        assert admission.competing == 1
        assert not admission.full
    assert admission.full


@pytest.mark.parametrize(("seconds_each", "expected"), [(0.0001, 256), (0.001, 100), (0.002, 50), (0.05, 16)])
@pytest.mark.parametrize("together", [1, 10, 200])
def test_as_many_may_wait_as_are_answered_in_time(seconds_each: float, expected: int, together: int) -> None:
    clock = Clock()
    admission = Admission(256, 0.1, clock)
    for _ in range(2000 // together):
        serve(admission, clock, [seconds_each] * together)
        clock.now += 1  # no request waits, so this time does not count
    assert abs(room(admission) - expected) <= 1


def test_there_is_room_again_when_requests_take_less() -> None:
    clock = Clock()
    admission = Admission(256, 0.1, clock)
    serve(admission, clock, [0.01] * 200)
    assert room(admission) == 16
    serve(admission, clock, [0.0001] * 2000)
    assert room(admission) == 256


def test_a_single_slow_request_hardly_counts() -> None:
    clock = Clock()
    admission = Admission(256, 0.1, clock)
    serve(admission, clock, [0.0001] * 2000)
    serve(admission, clock, [0.02])
    assert room(admission) == 256


def test_callers_that_hang_up_are_forgotten() -> None:
    clock = Clock()
    admission = Admission(20, 0.1, clock)
    for _ in range(20):
        admission.came()
    admission.left(15)
    admission.left(0)
    clock.now += 0.001
    for _ in range(4):
        admission.answered()
    admission.left()
    assert admission.competing == 0
    assert room(admission) == 20


@example([[1e-310]], 256)  # so fast that any number would be answered in time
@given(st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=100), max_size=30), st.integers(1, 300))
def test_the_bound_stays_within_its_limits(bursts: list[list[float]], limit: int) -> None:
    clock = Clock()
    admission = Admission(limit, 0.1, clock)
    for burst in bursts:
        serve(admission, clock, burst)
        assert min(limit, 16) <= room(admission) <= limit
        assert admission.competing == 0
