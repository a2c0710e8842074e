"""How this process keeps its memory: what the interpreter and the C library do by default is meant for programs that end."""

from __future__ import annotations

import ctypes
import gc

# mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def share_arenas() -> None:
    """Before the first thread: all threads allocate from two heaps, which grow and shrink in large steps.

    With a heap for each thread, its top given back at once, a message took forty mprotect calls, and each thread kept its own reserve.
    A piece of a large message comes from the heap too: mapped and unmapped each time, all its pages were zeroed each time.
    Where there is no glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 2)
        mallopt(_TRIM_THRESHOLD, 2 << 20)
        mallopt(_TOP_PAD, 256 << 10)
        mallopt(_MMAP_THRESHOLD, 1 << 20)


def collect_seldom() -> None:
    """Once everything is loaded: what is there now stays, and is not looked through again; and cycles, of which a message makes few,
    are looked for after every ten thousand objects instead of seven hundred (a tenth of all work)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
