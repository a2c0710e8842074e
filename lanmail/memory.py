"""How this process keeps its memory: what the interpreter and the C library do by default is meant for programs that end."""

from __future__ import annotations

import ctypes
import gc
import re

# mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _ARENA_MAX = -1, -2, -8

_DONTNEED = 4  # madvise(2)


def share_arenas() -> None:
    """Before the first thread: all threads allocate from two heaps, which grow and shrink in large steps.

    With a heap for each thread, its top given back at once, a message took forty mprotect calls, and each thread kept its own reserve.
    Where there is no glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 2)
        mallopt(_TRIM_THRESHOLD, 2 << 20)
        mallopt(_TOP_PAD, 256 << 10)


def collect_seldom() -> None:
    """Once everything is loaded: what is there now stays, and is not looked through again; and cycles, of which a message makes few,
    are looked for after every ten thousand objects instead of seven hundred (a tenth of all work)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def unmap_code() -> None:
    """Once everything is started: the libraries' code that only the start needed is not ours any longer (8 MB, most of it cryptography's).

    What is needed again is mapped again from the system's cache, where it stays as long as there is room. Only what nobody has written to,
    and nobody can: a page that the loader has changed would come back from the file without the change.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    try:
        with open("/proc/self/smaps", encoding="ascii", errors="replace") as file:
            areas = re.findall(
                r"^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \S+ +/[^\n]*\n(?:[A-Z]\w*:[^\n]*\n)*?Anonymous: +0 kB$",
                file.read(),
                re.M,
            )
    except OSError:
        return  # where /proc is not mounted
    if madvise is not None:
        for start, end in ((int(start, 16), int(end, 16)) for start, end in areas):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
