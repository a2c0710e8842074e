"""A configuration as text for a person: what ``twist lanmail --check`` and ``lanmail config`` print."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lanmail.config.openings import openings
from lanmail.config.parameters import PARAMETERS
from lanmail.config.problems import Problem, Severity
from lanmail.config.settings import Reading

_HEADINGS = {
    Severity.ERROR: "# Errors; each of them keeps the server from starting:",
    Severity.WARNING: "# Warnings:",
    Severity.NOTE: "# Of no effect here, and harmless:",
}


def describe(reading: Reading, *, everything: bool = False, ground: Sequence[str] = ()) -> str:
    """What differs from its default (or, with ``everything``, every parameter), then what is wrong, what is
    left open, and a verdict of one line.

    ground: what is doubtful about the place where the queue lies (spool/ground.py).

    The text is a main.cf: all but the parameters stands behind ``#``.
    """
    lines = [] if reading.unread else [_heading(reading, everything)]
    for name in () if reading.unread else PARAMETERS:
        if everything or not reading.settings.written[name].is_default:
            lines += assignment(reading, name)
    for severity, heading in _HEADINGS.items():
        if found := [problem for problem in reading.problems if problem.severity is severity]:
            lines += ["", heading, *(f"#   {problem}" for problem in found)]
    if not (reading.unread or reading.errors):
        lines += ["", "# Who may send as whom, and whose passwords can be read:"]
        lines += [f"#   {line}" for line in openings(reading.settings)]
    if ground:
        lines += ["", "# The place of the queue:", *(f"#   warning: {doubt}" for doubt in ground)]
    return "\n".join([*lines, "", f"# {verdict(reading)}"]).lstrip("\n")


def assignment(reading: Reading, name: str) -> list[str]:
    """A parameter as it was written, or its default; where that refers to others, what it comes to, in a comment."""
    written = reading.settings.written[name]
    if written.text == written.expanded or not written.expanded:
        return [f"{name} = {written.text}".rstrip()]
    return [f"{name} = {written.text}", f"#   that is: {written.expanded}"]


def verdict(reading: Reading) -> str:
    """What there is to think of, and whether it keeps a server from starting.

    It does not promise a start: the ports, the endpoints, the log and the folder of the state are tried only then.
    """
    if reading.unread:
        return f"{reading.file} cannot be read; the server would not start with it"
    counts = [
        _count(found, word) for word, found in (("error", reading.errors), ("warning", reading.warnings)) if found
    ]
    if reading.errors:
        return f"{reading.file}: {', '.join(counts)}; the server would not start with it"
    found = f"no errors and {', '.join(counts)}" if counts else "nothing is wrong"
    return f"{reading.file}: {found} in the file; ports and rights are seen when it starts"


def refusal(reading: Reading) -> list[str]:
    """What a start says that ends here: the errors, then the warnings, then a line of how it ended."""
    lines = [problem.marked for problem in (*reading.errors, *reading.warnings)]
    if reading.unread:
        return [*lines, "nothing was started"]
    return [*lines, f"{_count(reading.errors, 'error')} in {os.path.abspath(reading.file)}; nothing was started"]


def _count(found: Sequence[Problem], word: str) -> str:
    return f"{len(found)} {word}{'' if len(found) == 1 else 's'}"


def _heading(reading: Reading, everything: bool) -> str:
    if everything:
        return f"# {reading.file}: every parameter"
    if all(written.is_default for written in reading.settings.written.values()):
        return f"# {reading.file}: every parameter has its default"
    return f"# {reading.file}: what it sets; every other parameter has its default (lanmail config --all shows them)"
