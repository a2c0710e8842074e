"""docs/limits.md as the tests read it: its rows, and the answers in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tests.live import ROOT

HOST = "srvlinux.iscb-corporation.com"
_ROW = re.compile(r"\| `([a-z0-9_]+)` \| (.*?) \| (.*?) \| `([\w.]+)` \|")
_ANSWER = re.compile(r"`((?:[45][0-9]{2} |-ERR )[^`]*)`")


@dataclass(frozen=True)
class Row:
    """answers: what the client is told, as the page has it. test: the full name of the test at this limit's edge."""

    parameter: str
    default: str
    answers: tuple[str, ...]
    test: str

    def answer(self, start: str, client: str = "127.0.0.1") -> str:
        """The answer that begins so, to a client of that address."""
        (found,) = (answer for answer in self.answers if answer.startswith(start))
        return found.replace("HOST", HOST).replace("CLIENT", client)


@cache
def rows() -> dict[str, Row]:
    """By parameter. AssertionError for a line of a table of parameters that cannot be read."""
    found = {}
    for line in (ROOT / "docs/limits.md").read_text("utf-8").splitlines():
        if line.startswith("| `"):
            match = _ROW.fullmatch(line)
            assert match is not None, line
            parameter, default, past, test = match.groups()
            found[parameter] = Row(parameter, default, tuple(_ANSWER.findall(past)), test)
    return found
