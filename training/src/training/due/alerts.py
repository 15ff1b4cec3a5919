"""The alerts of Prometheus that fire for a model, read with limits of time, size and attempts."""

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

import msgspec
import requests
from msgspec import Struct

from training.addresses import CONNECT_SECONDS, READ_SECONDS, shown
from training.errors import BadInputError, OutageError

# The waits between attempts: there is one attempt more than waits.
_PAUSES = (0.5, 1.0)
_SECONDS = 30.0
_MOST_BYTES = 16 << 20
_CHUNK = 1 << 16
# The label with the registered model's name in the metrics of the serving API.
MODEL_LABEL = "model_name"


class Alert(Struct, frozen=True, rename="camel"):
    """An alert as Prometheus reports it: `active_at` is when its condition became true, `state` whether it fires."""

    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    active_at: datetime

    @property
    def name(self) -> str:
        """The name of its rule."""
        return self.labels.get("alertname", "")

    @property
    def summary(self) -> str:
        """Its summary, without a final full stop."""
        return " ".join(self.annotations.get("summary", "").split()).rstrip(".")


class _Alerts(Struct, frozen=True):
    alerts: list[Alert]


class _Answered(Struct, frozen=True):
    status: str
    data: _Alerts | None = None
    error: str = ""


def firing(
    address: str, model: str, labels: Mapping[str, str], pause: Callable[[float], None] = time.sleep
) -> list[Alert]:
    """Return the alerts that fire for a model now, the oldest first.

    Args:
        address: The address of Prometheus; PROMETHEUS_USERNAME and PROMETHEUS_PASSWORD are sent if they are set.
        model: The registered model.
        labels: Further labels that an alert must have, such as the namespace.
        pause: Waits for a number of seconds.

    Raises:
        BadInputError: The address is not valid, or contains a password.
        OutageError: Prometheus does not answer, or the answer is not one of Prometheus.
    """
    wanted = {**labels, MODEL_LABEL: model}
    found = [alert for alert in _asked(address, pause) if alert.state == "firing"]
    matching = [alert for alert in found if all(alert.labels.get(name) == value for name, value in wanted.items())]
    return sorted(matching, key=lambda alert: alert.active_at)


def _asked(address: str, pause: Callable[[float], None]) -> list[Alert]:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInputError(f"--prometheus: {shown(address)!r} is not an address such as http://HOST:9090.")
    if parts.password:
        raise BadInputError(
            f"--prometheus: {shown(address)} contains a password, which would be visible in the list of processes; "
            "leave it out, and set PROMETHEUS_USERNAME and PROMETHEUS_PASSWORD."
        )
    where = shown(address)
    for wait in (*_PAUSES, None):
        try:
            return _once(address, where)
        except OutageError:
            if wait is None:
                raise
            pause(wait)
    raise AssertionError  # the last iteration returns or raises


def _once(address: str, where: str) -> list[Alert]:
    user = os.environ.get("PROMETHEUS_USERNAME")
    login = (user, os.environ.get("PROMETHEUS_PASSWORD", "")) if user else None
    started, content = time.monotonic(), bytearray()
    try:
        url = f"{address.rstrip('/')}/api/v1/alerts"
        with requests.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), auth=login) as answer:
            for chunk in answer.iter_content(_CHUNK):
                content += chunk
                if len(content) > _MOST_BYTES or time.monotonic() - started > _SECONDS:
                    raise OutageError(
                        f"Prometheus at {where} sends too much data, or takes more than {_SECONDS:.0f} s."
                    )
            status = answer.status_code
        if status == requests.codes.unauthorized:
            raise BadInputError(
                f"Prometheus at {where} requires a password (401): set PROMETHEUS_USERNAME and PROMETHEUS_PASSWORD."
            )
        found = msgspec.json.decode(bytes(content), type=_Answered)
    except requests.RequestException as error:
        raise OutageError(f"Prometheus at {where} does not answer ({type(error).__name__}).") from error
    except msgspec.MsgspecError as error:
        raise OutageError(f"The server at {where} is not Prometheus ({status}): check its address.") from error
    if found.data is None:
        raise OutageError(f"Prometheus at {where} refuses the query: {found.error or found.status}.")
    return found.data.alerts
