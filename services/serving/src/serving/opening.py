"""From the folder of a version to a model that has answered once. Nothing here waits, and nothing asks the network.

It happens twice: in a process of its own, which may fail (see `trial`), and then in the one that serves.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from serving.baseline import Baseline, read_baseline
from serving.runtimes.base import Runtime, RuntimeOptions, choose_runtime, open_runtime
from serving.signature import ModelSpec, Value, read_example, read_spec
from serving.warmup import Pace, warm_up


class Opened(msgspec.Struct, frozen=True, eq=False):
    """What was found in the folder of a version; `example` is a row that it answers, where one is known."""

    spec: ModelSpec
    runtime: Runtime
    example: tuple[Value, ...]
    pace: Pace
    baseline: Baseline | None


def open_folder(folder: Path, options: RuntimeOptions, chosen: Callable[[str], None] = lambda _: None) -> Opened:
    """Opens a version and has it answer once; `chosen` hears the name of its runtime before that is imported.

    Raises:
        ModelUnusableError: when the version cannot be served as it is.
    """
    spec = read_spec(folder)
    chosen(choose_runtime(spec, options))
    runtime = open_runtime(folder, spec, options)
    baseline = read_baseline(folder, spec)
    guesses = [baseline.typical_row(spec)] if baseline else []
    warmed = warm_up(runtime, spec, read_example(folder, spec), [*guesses, spec.row_of(0), spec.row_of(1)])
    return Opened(spec, runtime, warmed.example, warmed.pace, baseline)
