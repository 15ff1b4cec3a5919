"""The priority of threads whose work may wait."""

import contextlib
import os
import sys
import threading

# If two threads want the same processor, one of niceness 10 gets a tenth of the share of one of niceness 0.
_NICENESS = 10


def step_back() -> None:
    """Lower the priority of the current thread, so that others go first when the processor is busy.

    A thread may lower its priority, but not raise it. If the whole process was started with `nice`, its priority may be
    as low already, and stays. If the priority may not be changed, the work is done anyway.
    """
    if sys.platform != "linux":
        # Only on Linux does each thread have a separate priority.
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)
