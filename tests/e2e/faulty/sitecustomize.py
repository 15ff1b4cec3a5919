"""A fault in the serving image: FAULT=slow answers late, FAULT=failing answers every twentieth request with an error.

The first requests succeed, as with a fault that a smoke test does not find.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path
from typing import Any

SLOW_SECONDS = 1.5
FAILING_ONE_IN = 20


def _spoil(fault: str) -> None:
    from serving.predictor import Predictor  # noqa: PLC0415  (only where the server starts)

    well, numbers = Predictor.predict, itertools.count(1)

    async def predict(self: Predictor, request: Any) -> Any:
        number = next(numbers)
        if fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        elif number % FAILING_ONE_IN == 0:
            raise RuntimeError(f"request {number} fails on purpose")
        return await well(self, request)

    Predictor.predict = predict  # type: ignore[method-assign]


# Only in the process that serves, not in the process that tries models, nor in the smoke test.
if [Path(argument).name for argument in sys.orig_argv[1:]] == ["serving"]:
    _spoil(os.environ["FAULT"])
