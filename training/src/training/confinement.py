"""Confine a process that runs foreign code: no network, few files, and limits of CPU time, memory and file size.

On Linux the kernel enforces this. A seccomp filter refuses every new socket, and Landlock refuses every file except
those that Python and the process need. Elsewhere, or if the kernel lacks them, an audit hook of Python refuses sockets
and programs. Code that is written to bypass the hook can do so: `confine` returns which of them applies.
"""

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SIGKILL = 9
_FILTER_MODE = 2
# The architecture's number in seccomp, and the numbers of the calls `socket`, `connect`, `ptrace`, `process_vm_readv`,
# `process_vm_writev`, `setpgid`, `setsid`, `io_uring_setup` and `pidfd_getfd`.
_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 101, 310, 311, 109, 112, 425, 438)),
    "aarch64": (0xC00000B7, (198, 203, 117, 270, 271, 154, 157, 425, 438)),
}
_ALLOW, _KILL, _REFUSE_EACCES = 0x7FFF0000, 0x80000000, 0x00050000 | 13
_X32 = 0x40000000
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
# Rights of the first version of Landlock: execute, write, read a file, read a folder, and eight ways to make or remove.
_ALL_RIGHTS = (1 << 13) - 1
_READ = 1 | 1 << 2 | 1 << 3
_O_PATH = 0o10000000
_READABLE = (
    "/usr", "/lib", "/lib64", "/bin", "/opt", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/sys", "/dev",
)  # fmt: skip
_PROCESSES = Path("/proc")
_REFUSED = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile")


class Bounds(Struct, frozen=True):
    """Limits of a process: seconds of CPU time, bytes of memory that it writes to, and bytes of a file.

    `threads` is the limit of those of the process and of all processes that it starts. `confine` does not enforce it:
    the kernel's own limit counts all processes of a user, and does not apply to root. So the parent must watch
    `threads_of`.
    """

    cpu_seconds: int = 600
    memory_bytes: int = 4 * 2**30
    file_bytes: int = 2 * 2**30
    threads: int = 512


def confine(bounds: Bounds, writable: Path, readable: Iterable[Path]) -> str:
    """Limit and confine this process for good, and end it when its parent ends.

    Args:
        bounds: Its limits.
        writable: The folder that it may write to.
        readable: Paths that it may read in addition to Python and its packages.

    Returns:
        What confines it, in words.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (bounds.cpu_seconds, bounds.cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (bounds.file_bytes, bounds.file_bytes))
    # A limit for memory that is written to, not for addresses: libraries reserve far more of these than they use.
    resource.setrlimit(resource.RLIMIT_DATA, (bounds.memory_bytes, bounds.memory_bytes))
    kept = []
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            if _keep_to_files(libc, writable, readable):
                kept.append("the kernel (Landlock) blocks all files except Python's, its input and its own folder")
            if _keep_from_sockets(libc):
                kept.append("the kernel (seccomp) blocks all sockets")
    if len(kept) < 2:
        sys.addaudithook(_refuse)
        kept.append("Python blocks sockets and programs, which code written for the purpose can bypass")
    return "; ".join(kept)


def threads_of(group: int) -> int:
    """Return how many threads the processes of a group have, or 0 where there is no /proc, as on macOS."""
    if not _PROCESSES.is_dir():
        return 0
    threads = 0
    for place in _PROCESSES.iterdir():
        # A process may end meanwhile.
        with contextlib.suppress(OSError):
            if place.name.isdecimal() and os.getpgid(int(place.name)) == group:
                threads += sum(1 for _ in (place / "task").iterdir())
    return threads


def _refuse(event: str, _arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED):
        raise PermissionError(f"{event} is not allowed in the process that opens a model")


def _keep_from_sockets(libc: Any) -> bool:
    """Have the kernel refuse sockets, access to other processes' memory, and io_uring, which could also open sockets.

    New sessions and process groups are refused too, so that ending this process's group ends all that it started.
    """
    if platform.machine() not in _CALLS:
        return False
    architecture, calls = _CALLS[platform.machine()]
    # Instructions of BPF: (code, jump if true, jump if false, value).
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, _KILL), (0x20, 0, 0, 0)]
    program += [(0x35, 0, 1, _X32), (0x06, 0, 0, _KILL)]
    for call in calls:
        program += [(0x15, 0, 1, call), (0x06, 0, 0, _REFUSE_EACCES)]
    program.append((0x06, 0, 0, _ALLOW))
    content = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(content)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, header, 0, 0) == 0)


def _keep_to_files(libc: Any, writable: Path, readable: Iterable[Path]) -> bool:
    attributes = ctypes.create_string_buffer(struct.pack("Q", _ALL_RIGHTS), 8)
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(8), 0)
    if ruleset < 0:
        return False
    packages = [Path(place) for place in (*sys.path, sys.prefix, sys.base_prefix, sys.exec_prefix) if place]
    for place in {*map(Path, _READABLE), *packages, *readable}:
        _allow(libc, ruleset, place, _READ)
    _allow(libc, ruleset, writable, _ALL_RIGHTS)
    _allow(libc, ruleset, Path("/dev/null"), _READ | 2)
    return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)


def _allow(libc: Any, ruleset: int, place: Path, rights: int) -> None:
    try:
        opened = os.open(place, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not place.is_dir():
        # A rule for a file must not have rights of folders.
        rights &= 0b111
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, opened), 12)
    libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0)
    # The descriptor stays open: the rule is for an inode, and procfs makes another one when nobody holds the folder.
