"""Which lines of the program an input reaches, and from which ones: what reaches new ones is worth changing further."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

import lanmail

_OURS = os.path.dirname(lanmail.__file__) + os.sep


class Reached:
    """Use it as a context; ``new`` says whether anything was reached in it that never was before. Of one thread."""

    def __init__(self) -> None:
        self._known: set[tuple[str, int, int]] = set()
        self._now: set[tuple[str, int, int]] = set()

    def __enter__(self) -> Reached:
        self._now = set()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    @property
    def new(self) -> bool:
        fresh = self._now - self._known
        self._known |= fresh
        return bool(fresh)

    def __len__(self) -> int:
        return len(self._known)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS):
            return None
        now = self._now
        before = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                now.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line
