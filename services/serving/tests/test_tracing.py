"""If tracing is off, it is not even imported. If it cannot work, the error says so in a sentence.

tests/integration/test_serving_tracing.py tests it at work.
"""

import subprocess
import sys

import pytest

from serving.api.front import Front
from serving.app import create_app
from serving.environment import SettingsError, read
from serving.settings import Settings

LOOK = """
import sys
from serving.app import create_app
from serving.environment import read
from serving.settings import Settings
create_app(read(Settings, {}))
# Litestar itself checks whether constants of `opentelemetry.semconv` exist.
theirs = ("opentelemetry.sdk", "opentelemetry.trace", "opentelemetry.exporter", "google", "requests")
ours = ("serving.tracing", "serving.api.traced")
print(*[name for name in sys.modules if name.startswith(theirs + ours)])
"""


def test_without_tracing_requests_go_through_the_plain_classes() -> None:
    assert type(create_app(read(Settings, {})).asgi) is Front


def test_without_tracing_none_of_it_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serving.tracing", None)
    monkeypatch.setitem(sys.modules, "serving.api.traced", None)
    with pytest.raises(SettingsError, match=r"TRACING is true, but .* is not installed.*extra `traces`"):
        create_app(read(Settings, {"TRACING": "true"}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "takes an address that starts with http://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector:4317", "takes an address that starts with http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "sent as http/protobuf only"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "sent as http/protobuf only"),
    ],
)
def test_unsupported_addresses_and_protocols_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} is '{value}'.*{message}"):
        create_app(read(Settings, {"TRACING": "true"}))
