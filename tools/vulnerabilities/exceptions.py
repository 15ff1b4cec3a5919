"""Known vulnerabilities that are accepted for now: each with a reason, and a date for the next review."""

from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta, Struct

FILE = Path(".vulnerabilities.yaml")


class Left(Struct, frozen=True, forbid_unknown_fields=True):
    """An accepted vulnerability, by any of its names (CVE, GHSA, PYSEC, GO); from `until` on it counts again."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$")]
    reason: Annotated[str, Meta(min_length=10)]
    until: date


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    exceptions: list[Left] = []


class ExceptionsError(Exception):
    """The file is invalid; the message says why."""


def read(root: Path) -> list[Left]:
    """Read the file; return nothing if it does not exist.

    Raises:
        ExceptionsError: It is invalid.
    """
    try:
        return msgspec.convert(yaml.safe_load((root / FILE).read_text(encoding="utf-8")) or {}, _File).exceptions
    except FileNotFoundError:
        return []
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ExceptionsError(f"{FILE} is not valid: {error}") from None
