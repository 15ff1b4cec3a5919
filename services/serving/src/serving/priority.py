"""The priority of threads that may wait."""

import contextlib
import os
import sys
import threading

# Beside a thread of priority 0, the scheduler gives one of 10 a tenth of a processor that both want.
_NICENESS = 10


def step_back() -> None:
    """Has all other threads go before the one that calls this, where the processor is short.

    A thread may lower its priority and not raise it. So one that is as low already, because the whole process was
    started with `nice`, stays as it is; and where nobody may change anything, the work is done all the same.
    """
    if sys.platform != "linux":
        # There, and only there, each thread has a priority of its own.
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)
