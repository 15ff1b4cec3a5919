"""Delays grow to their cap, logs are one JSON object per line, and Prometheus can read the tallies."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.backoff import Backoff
from serving.errors import UnknownVersionError
from serving.logs import ConsoleFormatter, JsonFormatter
from serving.tally import CounterTally, HistogramTally
from serving.versions.memory import Memory


def test_delays_double_up_to_the_cap_and_start_again() -> None:
    backoff = Backoff(first=1.0, cap=8.0)
    waits = [backoff.next() for _ in range(100)]
    for wait, nominal in zip(waits, [1, 2, 4, 8, 8, 8], strict=False):
        assert 0.75 * nominal <= wait <= nominal
    assert max(waits) <= 8.0
    backoff.reset()
    assert backoff.next() <= 1.0


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "serving.x", "levelname": "INFO", "levelno": logging.INFO, "msg": message})
    vars(made).update(extra)
    return made


@given(st.text(), st.text())
def test_a_log_line_is_one_json_object_whatever_is_in_it(message: str, value: str) -> None:
    line = JsonFormatter().format(record(message.replace("%", ""), path=value))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["path"] == value
    assert entry["level"] == "info"
    assert entry["logger"] == "serving.x"


def test_an_exception_is_part_of_the_line() -> None:
    try:
        int("broken")
    except ValueError:
        failed = record("failed", exc_info=sys.exc_info(), thing=object())
    entry = json.loads(JsonFormatter().format(failed))
    assert "ValueError: invalid literal" in entry["exception"]
    assert "ValueError: invalid literal" in ConsoleFormatter().format(failed)


def test_a_line_for_people_cannot_be_forged() -> None:
    assert ConsoleFormatter().format(record("request", path="/x\n2026 INFO forged")).count("\n") == 0


@given(st.lists(st.floats(0, 20, allow_subnormal=False), max_size=50))
def test_a_histogram_counts_values_up_to_each_bound(values: list[float]) -> None:
    tally = HistogramTally("h", "help", "route", (0.1, 1.0, 10.0))
    for value in values:
        tally.by_label["/x"].observe(value)
    registry = CollectorRegistry()
    registry.register(tally)
    samples = {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    if not values:
        assert samples == {}
        return
    for bound in (0.1, 1.0, 10.0):
        assert samples["h_bucket", str(bound)] == sum(value <= bound for value in values)
    assert samples["h_bucket", "+Inf"] == samples["h_count", ""] == len(values)
    assert samples["h_sum", ""] == pytest.approx(sum(values))


def test_a_counter_without_labels_exists_before_the_first_event() -> None:
    registry = CollectorRegistry()
    registry.register(CounterTally("c", "help"))
    assert "c_total 0.0" in generate_latest(registry).decode()


def test_names_are_remembered_for_a_while_and_in_limited_number() -> None:
    memory = Memory(capacity=2)
    memory.put("a", "1", 60)
    memory.put("b", UnknownVersionError("no b"), 60)
    assert memory.fresh("a") == "1"
    with pytest.raises(UnknownVersionError, match="no b"):
        memory.fresh("b")
    assert memory.stale("b") is None
    memory.put("c", "3", 0)
    assert memory.fresh("c") is None
    assert memory.stale("c") == "3"
    assert memory.stale("a") is None
