"""Proves that a confined process still runs after the kernel has reclaimed memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CACHES = Path("/proc/sys/vm/drop_caches")
_CONFINED = """
import sys
from pathlib import Path
from training.confinement import Bounds, confine
confine(Bounds(cpu_seconds=60, memory_bytes=1 << 32, file_bytes=1 << 20), Path(sys.argv[1]), [])
print("confined", flush=True)
sys.stdin.readline()
Path("/proc/self/maps").read_bytes()
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access(CACHES, os.W_OK), reason="only root may drop the kernel's caches, on Linux")
def test_a_confined_process_reads_about_itself_after_the_kernel_has_dropped_its_caches(tmp_path: Path) -> None:
    """Libraries read /proc/self to count threads. procfs then creates its inodes again, and a rule is for one inode."""
    command = [sys.executable, "-c", _CONFINED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "confined\n"
        CACHES.write_text("2")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(60) == 0
