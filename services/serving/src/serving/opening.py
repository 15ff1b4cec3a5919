"""Opens the folder of a version, and lets its model answer once. This is synchronous and does not use the network.

It happens twice: in a separate process, which may fail (see `trial`), and then in the one that serves.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from modelformat.baseline import Baseline
from serving.baseline import read_baseline, typical_row
from serving.columns import Value
from serving.errors import InvalidInputError
from serving.features import RowReader
from serving.runtimes.base import Runtime, RuntimeOptions, choose_runtime, open_runtime
from serving.signature import ModelSpec, read_example, read_spec
from serving.warmup import Pace, warm_up


class Opened(msgspec.Struct, frozen=True, eq=False):
    """The content of a version's folder. `example` is a row that the model answers, if one is known."""

    spec: ModelSpec
    runtime: Runtime
    reader: RowReader
    example: tuple[Value, ...]
    pace: Pace
    baseline: Baseline | None


def open_folder(folder: Path, options: RuntimeOptions, chosen: Callable[[str], None] = lambda _: None) -> Opened:
    """Open a version, and let it answer once. `chosen` gets the name of its runtime before that is imported.

    Raises:
        ModelUnusableError: if the version cannot be served as it is.
    """
    spec = read_spec(folder)
    chosen(choose_runtime(spec, options))
    runtime = open_runtime(folder, spec, options)
    baseline = read_baseline(folder, spec)
    guesses = [typical_row(baseline, spec)] if baseline else []
    reader = RowReader(spec.columns, runtime.dtypes)
    own = read_example(folder, spec)
    if own is not None and not _fits(own, reader):
        own = None
    warmed = warm_up(runtime, spec, reader, own, [*guesses, spec.row_of(0), spec.row_of(1)])
    return Opened(spec, runtime, reader, warmed.example, warmed.pace, baseline)


def _fits(row: tuple[Value, ...], reader: RowReader) -> bool:
    try:
        reader.one(row)
    except InvalidInputError:
        return False
    return True
